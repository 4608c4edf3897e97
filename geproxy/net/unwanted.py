"""Reads octets and throws them away, so that the peer can read its answer before the connection ends."""
from __future__ import absolute_import, division, print_function

import gevent

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net.deadlines import SWEEP, wait_readable

# Octets of the client that are read after a last response. Many clients send their whole request before they read. So
# they learn why a file of up to that size was refused. A flood costs some milliseconds and ends.
MOST = 16 * 1024 * 1024
FIRST = 16 * 1024       # octets of the first read; of further ones as many as the stream reads at once


def linger(stream, seconds, make_pace=None):
    """Read from a stream until its peer ends its direction, time is over, or MOST octets have come. Waits.

    To close at once could destroy a response that the peer has not read yet (RFC 9112, 9.6).

    `stream`: a Stream whose own direction has ended; `seconds`: how long at most; `make_pace`: a function that is
    called when the first octets come, and returns the limits.Pace for them, or None.
    """
    skipped, stream.buffer = len(stream.buffer), b''
    stream.until = monotonic() + seconds
    pace, most = None, FIRST
    try:
        while not stream.ended and skipped < MOST and wait_readable((stream,), stream.until) is not None:
            got = stream.read_now(most)
            count = got[1] if got else 0
            skipped += count
            most = MOST
            if count and make_pace is not None:
                pace, make_pace = make_pace(), None
            if count and pace is not None:
                pay(stream, pace, count)
                most = pace.piece(monotonic())
            if monotonic() >= stream.until:
                break
    except errors.ProxyError:
        pass                    # reset: nothing left to wait for


def pay(stream, pace, count):
    """Wait until a pace has room for `count` octets that were read, but not beyond `stream.until`. Raises what the pace
    does.

    `stream`: the Stream that they came from; `pace`: a limits.Pace.
    """
    now = monotonic()
    pace.take(count, now)
    while now < min(pace.until, stream.until):
        gevent.sleep(min(pace.until - now, stream.until - now, SWEEP))      # `until` may be moved meanwhile
        now = monotonic()
