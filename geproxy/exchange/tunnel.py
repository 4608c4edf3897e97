"""Copies octets both ways through a tunnel (RFC 9110, 9.3.6). Does not look at them."""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import zero_copy
from geproxy.exchange.relay import A_BUG, COPIED_AT_ONCE, piece_size
from geproxy.http1.taps import DOWN, UP
from geproxy.net import workers
from geproxy.net.deadlines import wait_readable
from geproxy.net.memory import FREE, budget
from geproxy.net.stream import SCRATCH_SIZE
from geproxy.net.turns import give_way


class Tunnel(object):
    """Copies octets both ways until both directions have ended.

    One greenlet serves both directions as long as few octets come at a time and their reader takes them at once. So an
    idle tunnel has one greenlet. When a direction must wait for its reader, or many octets come at once, each direction
    gets a greenlet of its own.
    """

    def __init__(self, client, origin, idle, linger, tap=None):
        """Make a tunnel; `run` starts it.

        `client`, `origin`: Streams; `idle`: the TimeLimit for silence in both directions; `linger`: the same once one
        direction has ended; `tap`: the object that sees all octets, see taps, or None.
        """
        self._limits = (idle, linger)
        self._open = [client, origin]   # the Streams that have not ended their direction
        self._active = monotonic()      # when octets last went through, either way
        self._error = None              # the first error; all others are its consequences
        self._client, self._origin = client, origin
        self._tap = tap

    def run(self):
        """Copy until both directions have ended. Raises TunnelIdle, ClientLost or UpstreamLost."""
        sink, rest = None, b''
        if self._client.pace is None and self._origin.pace is None:
            sink, rest = self._take_turns()
            if sink is None:
                return
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
        """Serve both directions in turn until one must wait for its reader, or many octets come at once.

        Return (the Stream to wait for, octets that it has not taken yet), or (None, b'') if the tunnel has ended.
        """
        client, origin, streams, tap = self._client, self._origin, self._open, self._tap
        while streams:
            source = streams[0] if streams[0].buffer else streams[-1] if streams[-1].buffer else None
            if source is None:
                source = wait_readable(streams, self._active + self._limits[len(streams) == 1].seconds)
                if source is None:
                    self._check_silence()
                    continue
            sink = origin if source is client else client
            got = source.read_now(FREE if budget.short else COPIED_AT_ONCE)
            if got is None:
                continue
            data, count = got
            if not count:
                self._end(source, sink)
                continue
            self._active = monotonic()
            if tap is not None:
                self._show(source, data, count)
            sent = sink.send_now(memoryview(data)[:count])
            if sent < count or count >= zero_copy.LONG:
                return sink, bytes(data[sent:count])
        return None, b''

    def _copy(self, source, sink, rest):
        """Copy one direction to its end.

        `source`, `sink`: Streams; `rest`: octets to send first. An error is kept in `_error`, because the greenlet that
        runs this may not be the one that has to raise it.
        """
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
            # The other direction may go on, but not stay silent as long as a whole tunnel may.
            for stream in (source, sink):
                stream.shorten_wait(monotonic() + self._limit().seconds, self._limit())
        except errors.ProxyError as error:
            self._break_off(error, source, sink)
        except Exception:
            self._break_off(errors.InternalError(A_BUG), source, sink)
            raise                           # gevent prints it, or the caller reports it

    def _break_off(self, error, source, sink):
        """End both directions because of an error of the one from `source` to `sink`. `error`: a ProxyError."""
        self._error = self._error or error
        # The other greenlet reads from `sink` and writes to `source`. `sink` gets no FIN, because a broken end must not
        # look like a clean one.
        source.shut_down()
        sink.shut_down_reading()
        sink.shorten_wait(monotonic(), self._limit())

    def _other(self, stream):
        return self._origin if stream is self._client else self._client

    def _show(self, source, data, count):
        self._tap.tunnel(UP if source is self._client else DOWN, memoryview(data)[:count])

    def _end(self, source, sink):
        self._open.remove(source)
        self._active = monotonic()      # the time of the other direction starts now
        sink.end()

    def _wait(self, streams):
        """Wait until one of `streams` is readable, and return it. Raises TunnelIdle."""
        while True:
            first = wait_readable(streams, self._deadline())
            if first is not None:
                return first
            self._check_silence()

    def _check_silence(self):
        """Raise TunnelIdle if nothing has gone through for too long."""
        if self._deadline() <= monotonic():
            limit = self._limit()
            raise limit.error('nothing went through for %.3g s ([timeouts] %s)' % (limit.seconds, limit.name))

    def _limit(self):
        return self._limits[0 if len(self._open) == 2 else 1]

    def _deadline(self):
        """Return when the silence is too long, in monotonic seconds. Time in which a throttle holds octets back does
        not count."""
        active = self._active
        for stream in (self._client, self._origin):
            if stream.pace is not None:
                active = max(active, stream.pace.until)
        return active + self._limit().seconds

    def _pass_on(self, source, sink, long):
        """Wait for octets, and pass on those that are there. Return how many; 0 at the end.

        `long`: True if many octets came the last time.
        """
        while True:
            pipe = zero_copy.fill(source, sink) if long and self._tap is None else None
            if pipe is not None:
                self._active = monotonic()
                return zero_copy.empty(pipe, sink, self._limit())
            got = source.read_now(piece_size(sink, SCRATCH_SIZE))
            if got is not None:
                data, count = got
                if count:
                    self._active = monotonic()
                    if self._tap is not None:
                        self._show(source, data, count)
                    sink.send(memoryview(data)[:count], self._limit())
                return count
            self._wait((source,))
