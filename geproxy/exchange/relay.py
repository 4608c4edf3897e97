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
from geproxy.net import deadlines, workers
from geproxy.net.deadlines import wait_readable
from geproxy.net.memory import FREE, budget
from geproxy.net.stream import HEAD_PIECE, SCRATCH_SIZE
from geproxy.net.turns import give_way

CAREFUL = 64 * 1024     # octets at once for who may not take them: 1,000 slow readers had 145 MB of rests (3.13, 2026)
MOMENT = 1.0            # seconds that the rest of a small body may take
CHUNKS = 256            # that are read at once, about: what one turn does not get through is kept in memory
UNLIMITED = float('inf')        # a deadline, where others count


class Watch(object):
    """Waits for the origin, and notices meanwhile that the client leaves (DESIGN, 2).

    A client that closed and one that ended only its own direction look alike: a FIN came. The difference shows
    when something is sent to it, so what must be sent first anyway is sent ahead, as a probe: the first octet of the
    status line, or a leading zero of the next chunk size. Who has gone answers that with a reset.
    """
    __slots__ = ('upload', '_client', '_linger', '_room', '_until')

    def __init__(self, client, linger, room):
        """`linger`: the TimeLimit for a client that has ended its direction; `room`: octets of pipelined requests that
        are read ahead while waiting."""
        self.upload = None      # the BodyUpload that reads the client, if one does
        self._client = client
        self._linger = linger
        self._room = room
        self._until = None      # when to give up a half-closed client

    def wait(self, origin, deadline, probe=None):
        """Wait until `origin` is readable: True, or False at the deadline. Raises ClientLost.

        `probe`: a function that sends the client an octet which it is to get next in any case.
        """
        client = self._client
        while not origin.buffer:
            if self.upload is not None and self.upload.over.is_set():
                self.upload = None          # nobody reads the client any more
            if self.upload is None and not client.ended and len(client.buffer) < self._room:
                first = wait_readable((origin, client), deadline)
                if first is not client:
                    return first is origin
                client.fill_ahead()
                continue
            until = deadline
            if client.ended:
                until = min(until, self.check(monotonic(), probe))
            if deadlines.watching(client, wait_readable, (origin,), until) is not None:
                return True
            self.check_reset()
            if monotonic() >= deadline:
                return False
        return True

    def wait_for_upload(self, origin):
        """Wait until `origin` is readable, or the upload is over. Raises ClientLost."""
        while self.upload is not None and not origin.buffer:
            if self.upload.over.is_set():
                self.upload = None
            elif deadlines.watching(self._client, wait_readable, (origin,), UNLIMITED) is not None:
                return
            self.check_reset()

    def renew(self):
        """Something was sent to the client: its time as a half-closed one begins anew."""
        self._until = None

    def check_reset(self):
        """Raise ClientLost if the client has reset its connection: for when it cannot be waited for."""
        if self._client.is_gone():
            raise self._linger.error('the client reset its connection before it had its whole answer')

    def check(self, now, probe):
        """Return when to give up a client that has ended its direction. Raises ClientLost if it has gone, or has waited
        for too long.

        `now`: monotonic seconds, as what is returned; `probe`: see `wait`.
        """
        if self._until is None:
            self._until = now + self._linger.seconds
            if probe is not None:
                probe()
        self.check_reset()
        if now >= self._until:
            raise self._linger.error('a half-closed client waited %.3g s ([timeouts] linger)' % self._linger.seconds)
        return self._until


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
            got = source.read_now(_piece(sink, _most(body)))
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


def _piece(sink, most):
    """How many octets to read at once. What the sink does not take of them is kept in memory until it does."""
    if sink.at_once < SCRATCH_SIZE:
        most = min(most, FREE if budget.short else CAREFUL)
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
                    source.pay(pace, got[1])
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


class Tunnel(object):
    """Octets both ways, blindly, until both directions have ended (RFC 9110, 9.3.6).

    One greenlet serves both for as long as what comes is little, and taken at once: an idle tunnel has no other.
    """

    def __init__(self, client, origin, idle, linger):
        """`idle`: the TimeLimit for silence in both directions; `linger`: the same once one direction has ended."""
        self._limits = (idle, linger)
        self._open = [client, origin]   # those that have not ended their direction
        self._active = monotonic()      # when octets last went through, either way
        self._error = None              # the first; what comes after is what it led to
        self._client, self._origin = client, origin

    def run(self):
        """Relay until it is over. Raises TunnelIdle, or what ended it: ClientLost, UpstreamLost."""
        sink, rest = None, b''
        if self._client.pace is None and self._origin.pace is None:
            sink, rest = self._take_turns()
        jobs = [(source, self._other(source), rest if self._other(source) is sink else b'') for source in self._open]
        if len(jobs) == 2:
            self._run_both(*jobs)
        elif jobs:
            self._copy(*jobs[0])
        if self._error is not None:
            raise self._error

    def _run_both(self, up, down):
        greenlet = workers.spawn(self._copy, *up)
        try:
            self._copy(*down)
            if self._error is None:
                greenlet.join()
        finally:
            greenlet.kill()

    def _take_turns(self):
        """Both directions in turn, until one has to wait for its reader, or much comes at once -> (its sink, octets
        that it is still to get), or (None, b'') if the tunnel is over."""
        client, origin = self._client, self._origin
        while self._open:
            source = self._open[0] if self._open[0].buffer else self._open[-1] if self._open[-1].buffer else None
            if source is None:
                seconds = self._limits[0 if len(self._open) == 2 else 1].seconds
                source = wait_readable(self._open, self._active + seconds)
                if source is None:
                    self._check_silence()
                    continue
            sink = origin if source is client else client
            got = source.read_now(FREE if budget.short else CAREFUL)
            if got is None:
                continue
            data, count = got
            if not count:
                self._end(source, sink)
                continue
            self._active = monotonic()
            sent = sink.send_now(memoryview(data)[:count])
            if sent < count or count >= zero_copy.LONG:
                return sink, bytes(data[sent:count])
        return None, b''

    def _copy(self, source, sink, rest):
        """One direction; `rest`: octets that go first. The error that ended it is kept, as it may belong to the other
        greenlet's story."""
        try:
            if source is self._client:
                sink.source = source
            if rest:
                sink.send(rest, self._limit())
            count = len(rest)
            while True:
                give_way()
                count = self._pass_on(source, sink, count >= zero_copy.LONG)
                if not count:
                    break
            self._end(source, sink)
            # The other direction may go on, but not sit silent as long as a whole tunnel may.
            for stream in (source, sink):
                stream.hurry(monotonic() + self._limit().seconds, self._limit())
        except errors.ProxyError as error:
            self._error = self._error or error
            # The other greenlet reads from `sink` and writes to `source`. No FIN: a broken end must not look clean.
            source.wake()
            sink.wake_reader()
            sink.hurry(monotonic(), self._limit())

    def _other(self, stream):
        return self._origin if stream is self._client else self._client

    def _end(self, source, sink):
        self._open.remove(source)
        self._active = monotonic()      # the other direction has its time from now on
        sink.end()

    def _wait(self, streams):
        """Wait until one of `streams` is readable: that one."""
        while True:
            first = wait_readable(streams, self._deadline())
            if first is not None:
                return first
            self._check_silence()

    def _check_silence(self):
        """Raises TunnelIdle if nothing has gone through for too long."""
        if self._deadline() <= monotonic():
            limit = self._limit()
            raise limit.error('nothing went through for %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))

    def _limit(self):
        return self._limits[0 if len(self._open) == 2 else 1]

    def _deadline(self):
        """When the silence will have lasted too long. Octets that a throttle holds back are no silence."""
        active = self._active
        for stream in (self._client, self._origin):
            if stream.pace is not None:
                active = max(active, stream.pace.until)
        return active + self._limit().seconds

    def _pass_on(self, source, sink, long):
        """Wait for octets, and pass on what is there -> how many; 0 at the end. `long`: much came the last time."""
        while True:
            pipe = zero_copy.fill(source, sink) if long else None
            if pipe is not None:
                self._active = monotonic()
                return zero_copy.empty(pipe, sink, self._limit())
            got = source.read_now(_piece(sink, SCRATCH_SIZE))
            if got is not None:
                data, count = got
                if count:
                    self._active = monotonic()
                    sink.send(memoryview(data)[:count], self._limit())
                return count
            self._wait((source,))
