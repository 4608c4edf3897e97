"""Copies message bodies from one stream to another. Parses nothing; for tunnels see `tunnel`.

A response may come before its request body has ended. So a request body that has not arrived yet is sent by a second
greenlet (BodyUpload). That greenlet catches its own errors. It ends the wait of the other greenlet by
`Stream.shut_down()`, never by closing the stream.
"""
from __future__ import absolute_import, division, print_function

import gevent
from gevent.event import Event

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import zero_copy
from geproxy.http1 import chunks
from geproxy.net import deadlines, unwanted
from geproxy.net.memory import FREE, budget
from geproxy.net.stream import HEAD_PIECE, SCRATCH_SIZE
from geproxy.net.turns import give_way

COPIED_AT_ONCE = 64 * 1024      # octets read at once for a slow reader: those that it does not take stay in memory
A_BUG = 'a bug; standard error has its traceback'
MOMENT = 1.0            # seconds in which the rest of an unwanted body must arrive
CHUNKS = 256            # about how many chunks to read at once: those that are not processed in a turn stay in memory


def copy_body(body, source, sink, limits, start=None, chunked=False, watch=None, probe=None):
    """Copy a body from one Stream to another. Waits. Raises the errors of all its arguments.

    `body`: one of framing, or Tapped; `source`, `sink`: the Streams; `limits`: two TimeLimits, for a pause in reading
    and in writing; `start`: a function that returns the octets to send first, called just before, or None; `chunked`:
    True to send in chunked coding; `watch`, `probe`: a ClientWatch and its probe, or None.
    """
    reading, writing = limits
    long = False                        # True if many octets came at once the last time
    while not body.done:
        count = zero_copy.pass_body(body, source, sink, writing, chunked) if long and start is None else 0
        if not count:
            got = source.read_now(piece_size(sink, _most(body)))
            if got is None:
                if start is not None:
                    sink.send(start(), writing)
                    start = None
                _wait_for_more(source, reading, watch, probe)
                continue
            count = got[1]
            if not count:
                body.ended()
                continue
            content = _feed(body, got, source, chunked)
            if not len(content):
                continue
            if start is not None:
                content = start() + chunks.bytes_of(content)
                start = None
            sink.send(content, writing)
        long = count >= zero_copy.LONG
        if watch is not None:
            watch.renew()
        if not body.done:
            give_way()
    end = chunks.last_chunk(body.trailers) if chunked else b''
    if start is not None:
        end = start() + end
    if end:
        sink.send(end, writing)


def _most(body):
    """Return how many octets of a body to read at once: fewer for small chunks, because these are much work."""
    if body.left is not None:
        return body.left
    return max(HEAD_PIECE, min(SCRATCH_SIZE, CHUNKS * body.chunk)) if body.chunk else SCRATCH_SIZE


def piece_size(sink, most):
    """Return how many octets to read at once. Those that the sink does not take at once are kept in memory.

    `sink`: the Stream that gets them; `most`: octets.
    """
    if sink.at_once < SCRATCH_SIZE:
        most = min(most, FREE if budget.short else COPIED_AT_ONCE)
    return most if sink.pace is None else min(most, sink.pace.piece(monotonic()))


def _feed(body, got, source, chunked):
    """Feed a body with octets that have arrived. Return its content in the form to send.

    `got`: as returned by Stream.read_now. Octets after the end of the body go back to `source`.
    """
    data, count = got
    content = body.feed(data, count)
    if body.used is not None and body.used < count:
        source.unread(bytes(data[body.used:count]))
    return chunks.encode_chunk(content) if chunked and len(content) else content


def discard_body(body, source, limit, pace):
    """Read the rest of an unwanted body, so that the connection can carry another request. Waits.

    `body`, `source`: the body and its Stream; `limit`: a TimeLimit, which is cut to MOMENT seconds; `pace`: a
    rates.Pace for the octets, or None. Returns early if the peer ends or the time is over.
    """
    deadline = source.until = monotonic() + min(MOMENT, limit.seconds)
    try:
        while not body.done:
            got = source.read_now(_most(body))
            if got is None:
                source.wait(limit, deadline)
            elif not got[1] or monotonic() >= deadline:
                return
            else:
                _feed(body, got, source, False)
                if pace is not None:
                    unwanted.pay(source, pace, got[1])
                give_way()
    except limit.error:
        pass                    # the body is not done, so the connection ends after the answer


def _wait_for_more(source, limit, watch, probe):
    deadline = monotonic() + limit.seconds
    if watch is None:
        source.wait(limit, deadline)
    elif not watch.wait(source, deadline, probe):
        raise limit.error('waited %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))


class BodyUpload(object):
    """Copies a request body to the origin, in a second greenlet, because the response may come before its end."""

    def __init__(self, body, client, origin, limits):
        """Start the upload.

        `body`: the request body; `client`, `origin`: Streams; `limits`: see `copy_body`.
        """
        self.error = None               # the ProxyError that ended the upload too early
        self.finished = None            # when all of the body was sent, in monotonic seconds; None before
        self.over = Event()             # set when the upload has ended, complete or not
        self._parts = (body, client, origin, limits)
        self._greenlet = gevent.spawn(self._run)

    def _run(self):
        body, client, origin, limits = self._parts
        try:
            copy_body(body, client, origin, limits, chunked=body.framing == chunks.CHUNKED_LINE)
            self.finished = monotonic()
        except (errors.UpstreamLost, errors.UploadStalled) as error:
            self.error = error          # the response may say why the origin reads no more, so it is still read
        except errors.ProxyError as error:
            self.error = error
            origin.shut_down()          # the origin must not think that the body is complete
        except Exception:
            self.error = errors.InternalError(A_BUG)
            origin.shut_down()
            raise                       # gevent prints it
        finally:
            self.over.set()
            deadlines.look_again(client)        # from now on another greenlet can wait for the client

    def wait(self, seconds):
        """Wait for the end of the upload, `seconds` at most. Return True if all of it was sent."""
        self.over.wait(seconds)
        return self.finished is not None

    def stop(self):
        """Stop the upload, and wait until its greenlet has ended."""
        self._greenlet.kill()
