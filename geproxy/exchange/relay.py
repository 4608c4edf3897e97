"""The copy loops, and the only place that spawns the second greenlet. Parses nothing.

Wherever octets must go both ways at once -- a tunnel, a request body while its response may come early -- one more
greenlet runs one more blocking loop. Each catches at its own top, and wakes the other by `wake()`, never by closing.
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

COPIED_AT_ONCE = 64 * 1024      # octets, for a slow reader: what it does not take is kept (3.13: 1,000 held 145 MB)
MOMENT = 1.0            # seconds that the rest of a small body may take
CHUNKS = 256            # that are read at once, about: what one turn does not get through is kept in memory


def copy_body(body, source, sink, limits, start=None, chunked=False, watch=None, probe=None):
    """Copy a body from `source` to `sink` to its end, waiting as necessary.

    `limits`: Limits (reading, writing), idle times; `start`: a function that gives the octets to send in front, called
    when they are; `chunked`: send it in chunked coding; `watch`, `probe`: the Watch on a client that may leave in the
    meantime, and its probe. Raises what the body, the streams or the limits do.
    """
    reading, writing = limits
    long = False                        # much has come at once
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
    """How many octets of a body to read at once: small chunks are much work, and what is read is kept until it is done.
    """
    if body.left is not None:
        return body.left
    return max(HEAD_PIECE, min(SCRATCH_SIZE, CHUNKS * body.chunk)) if body.chunk else SCRATCH_SIZE


def piece_size(sink, most):
    """How many octets to read at once. What the sink does not take of them is kept in memory until it does."""
    if sink.at_once < SCRATCH_SIZE:
        most = min(most, FREE if budget.short else COPIED_AT_ONCE)
    return most if sink.pace is None else min(most, sink.pace.piece(monotonic()))


def _feed(body, got, source, chunked):
    """Octets have arrived -> the content among them, as it is to be sent; what is behind the body goes back."""
    data, count = got
    content = body.feed(data, count)
    if body.used is not None and body.used < count:
        source.unread(bytes(data[body.used:count]))
    return chunks.encode_chunk(content) if chunked and len(content) else content


def swallow(body, source, limit, pace):
    """Read the rest of a body that nobody wants, while that lasts no longer than `limit`, or a moment, and the peer
    sends it. `pace`: a limits.Pace for its octets, or None."""
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
        pass                    # then the connection ends behind the answer


def _wait_for_more(source, limit, watch, probe):
    deadline = monotonic() + limit.seconds
    if watch is None:
        source.wait(limit, deadline)
    elif not watch.wait(source, deadline, probe):
        raise limit.error('waited %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))


class BodyUpload(object):
    """A request body on its way to the origin, in a second greenlet: the response may come before its end."""

    def __init__(self, body, client, origin, limits):
        """Start it. `limits`: see `copy_body`."""
        self.error = None               # what ended it too early
        self.finished = None            # when all of it was sent, in monotonic seconds
        self.over = Event()             # it has ended, one way or the other
        self._parts = (body, client, origin, limits)
        self._greenlet = gevent.spawn(self._run)

    def _run(self):
        body, client, origin, limits = self._parts
        try:
            copy_body(body, client, origin, limits, chunked=body.framing == chunks.CHUNKED_LINE)
            self.finished = monotonic()
        except (errors.UpstreamLost, errors.UploadStalled) as error:
            self.error = error          # the origin may have said why: its response is still read
        except errors.ProxyError as error:
            self.error = error
            origin.wake()               # nobody must take for whole what is not
        finally:
            self.over.set()
            deadlines.look_again(client)        # it can be waited for again

    def wait(self, seconds):
        """Wait for its end, no longer than `seconds`; true if all of it was sent."""
        self.over.wait(seconds)
        return self.finished is not None

    def stop(self):
        """End it, whatever it does, and wait until it has ended."""
        self._greenlet.kill()
