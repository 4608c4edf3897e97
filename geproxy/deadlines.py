"""Waits for sockets, each until its deadline. Reads and writes nothing.

A watcher of the hub's loop waits, and switches to the greenlet itself: there is neither a gevent Waiter nor a timer
per wait, but one timer that looks at all deadlines.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent import getcurrent
from gevent.hub import Waiter, get_hub

from geproxy import supervise
from geproxy.compat import monotonic, native_poll

# What a wait may last: the option's name, seconds, and the error when they are over.
Limit = collections.namedtuple('Limit', 'name seconds error')

SWEEP = 0.25                    # seconds between two looks at the deadlines: they are kept that precisely
READ, WRITE = 1, 2              # libev's
POLLIN, POLLOUT = 1, 4          # poll(2)'s, on all systems
_EXPIRED = object()             # what a greenlet gets at its deadline
_deadlines = {}                 # of those that wait now: {greenlet: (monotonic seconds, streams, poll's event)}
_sweeper = []
_poll = native_poll()           # of one socket at a time


def start():
    """Begin to look at the deadlines, for as long as the process lives. May be called again."""
    if not _sweeper:
        _sweeper.append(get_hub().loop.timer(SWEEP, SWEEP, ref=False))
        _sweeper[0].start(sweep)


def sweep():
    """Tell those whose deadlines have passed."""
    now = monotonic()
    for greenlet, waits in [item for item in _deadlines.items() if item[1][0] < now]:
        # Data that came in time goes first: a process that was stopped, or has much to do, may not have seen it yet.
        if _deadlines.get(greenlet) is waits and not _has_come(waits):
            del _deadlines[greenlet]
            greenlet.switch(_EXPIRED)


def _any_ready(waits):
    return any(_is_ready(stream.socket, waits[2]) for stream in waits[1])


_has_come = supervise.guard('a look at a deadline', _any_ready)     # one that fails must not keep the others waiting


def hurry(stream, deadline):
    """Whoever waits for `stream`, if anybody does, shall not wait beyond `deadline` (monotonic seconds)."""
    for greenlet in (stream.reading, stream.writing):
        waits = _deadlines.get(greenlet)
        if waits is not None and stream in waits[1]:        # it may wait for another by now
            _deadlines[greenlet] = (min(waits[0], deadline),) + waits[1:]


def wait_readable(streams, deadline):
    """Wait until one of `streams`, a tuple, is readable, or has ended: that one, or None at the deadline (monotonic
    seconds).

    A stream has a `socket`, its `reader`, a watcher, and remembers as `reading` the last greenlet that waited for it.
    """
    greenlet = getcurrent()
    switch = greenlet.switch
    for stream in streams:
        stream.reading = greenlet
        stream.reader.start(switch, stream)
    _deadlines[greenlet] = deadline, streams, POLLIN
    others = get_hub().switch
    try:
        first = others()
        while first not in streams and first is not _EXPIRED:
            first = others()            # it waited for that before, and it came too late: it means nothing now
        return None if first is _EXPIRED else first
    finally:
        _deadlines.pop(greenlet, None)
        for stream in streams:
            stream.reader.stop()


def wait_writable(stream, deadline):
    """Wait until a stream, with a `writer` and `writing`, takes octets again: that stream, or None at the deadline."""
    greenlet = stream.writing = getcurrent()
    stream.writer.start(greenlet.switch, stream)
    _deadlines[greenlet] = deadline, (stream,), POLLOUT
    others = get_hub().switch
    try:
        first = others()
        while first is not stream and first is not _EXPIRED:
            first = others()
        return None if first is _EXPIRED else stream
    finally:
        _deadlines.pop(greenlet, None)
        stream.writer.stop()


def wait_connected(sockets, deadline):
    """Wait for the first of plain sockets in the middle of connecting that is settled: that one, or None.

    By a timer of its own: a sweep would be too coarse for the moment to try the next address.
    """
    waiter = Waiter()
    loop = get_hub().loop
    timer = loop.timer(max(0.0, deadline - monotonic()))
    watchers = [(loop.io(sock.fileno(), WRITE), sock) for sock in sockets]
    try:
        timer.start(waiter.switch, None)
        for watcher, sock in watchers:
            watcher.start(waiter.switch, sock)
        # As above: the timer may be told before what came in time.
        return waiter.get() or next((sock for sock in sockets if _is_ready(sock, POLLOUT)), None)
    finally:
        timer.stop()
        for watcher, _sock in watchers:
            watcher.stop()


def _is_ready(sock, event):
    """True if poll(2) has that event, or the end, of a socket now: 1.6 us; to try, and fail, would take 3.6 (3.13)."""
    _poll.register(sock, event)
    try:
        return bool(_poll.poll(0))
    finally:
        _poll.unregister(sock)
