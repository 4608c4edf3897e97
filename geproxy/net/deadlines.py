"""Waits for sockets, each until its deadline. Reads and writes nothing.

A watcher of the hub's loop waits, and switches to the greenlet itself: there is neither a gevent Waiter nor a timer
per wait, but one timer that looks at all deadlines.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent import getcurrent
from gevent.hub import Waiter, get_hub

from geproxy.compat import monotonic, native_poll
from geproxy.net import supervise
from geproxy.net.transport import POLLIN, POLLOUT, WRITE

# What a wait may last: the option's name, seconds, and the error when they are over.
TimeLimit = collections.namedtuple('TimeLimit', 'name seconds error')

SWEEP = 0.25                    # seconds between two looks at the deadlines: they are kept that precisely
_EXPIRED = object()             # what a greenlet gets at its deadline
# All state here is that of the one event loop of the process: see one_hub.
# Of those that wait now: {greenlet: (monotonic seconds, streams, poll's event, the TimeLimit that has shortened it)}
_deadlines = {}
_sweeper = []
_poll = native_poll()           # of one socket at a time
_resets = native_poll()         # of those in _watched: asked for no event, it tells of resets only
_watched = {}                   # {file descriptor: [the greenlets whose wait ends when that is reset]}


def start():
    """Begin to look at the deadlines, for as long as the process lives. May be called again."""
    if not _sweeper:
        _sweeper.append(get_hub().loop.timer(SWEEP, SWEEP, ref=False))
        _sweeper[0].start(sweep)


def sweep():
    """Tell those whose deadlines have passed."""
    now = monotonic()
    if _watched:
        for descriptor, _event in _resets.poll(0):
            _expire(_watched[descriptor])
    for greenlet, waits in [item for item in _deadlines.items() if item[1][0] < now]:
        # Data that came in time goes first: a process that was stopped, or has much to do, may not have seen it yet.
        if _deadlines.get(greenlet) is waits and not _has_come(waits):
            del _deadlines[greenlet]
            for stream in waits[1]:
                stream.hurried = waits[3]
            greenlet.switch(_EXPIRED)


def _any_ready(waits):
    event = waits[2]
    return any(event == POLLIN and stream.pending is not None and stream.pending() or _is_ready(stream.transport, event)
               for stream in waits[1])


_has_come = supervise.guard('a look at a deadline', _any_ready)     # one that fails must not keep the others waiting


def _expire(greenlets):
    """Let greenlets, those that wait, find at the next look that their time is over."""
    for greenlet in greenlets:
        waits = _deadlines.get(greenlet)
        if waits is not None:
            _deadlines[greenlet] = (float('-inf'),) + waits[1:]


def hurry(stream, deadline, limit):
    """Let the greenlet that waits for `stream`, if there is one, wait no longer than until `deadline` (monotonic
    seconds). `limit`: the TimeLimit that demands it; the stream has it as `hurried` if the wait ends because of it."""
    for greenlet in (stream.reading, stream.writing):
        waits = _deadlines.get(greenlet)
        if waits is not None and stream in waits[1]:        # it may wait for another by now
            if deadline < waits[0]:
                _deadlines[greenlet] = (deadline,) + waits[1:3] + (limit,)


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
    _deadlines[greenlet] = deadline, streams, POLLIN, None
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
    _deadlines[greenlet] = deadline, (stream,), POLLOUT, None
    others = get_hub().switch
    try:
        first = others()
        while first is not stream and first is not _EXPIRED:
            first = others()
        return None if first is _EXPIRED else stream
    finally:
        _deadlines.pop(greenlet, None)
        stream.writer.stop()


def watching(stream, wait, *arguments):
    """As wait(*arguments), one of the above, but also None, within SWEEP seconds, once the peer of `stream` has reset
    its connection, or `look_again` was called. The caller checks which of these it was.

    For a stream that cannot be waited for, as its octets are not to be read now, or it has sent its last. One poll(2)
    for all of them costs 0.05 us each; a greenlet that looks for itself, 5 us (3.11, 2026).
    """
    descriptor = stream.transport.fileno()
    greenlet = getcurrent()
    _watched.setdefault(descriptor, []).append(greenlet)
    _resets.register(descriptor, 0)
    try:
        return wait(*arguments)
    finally:
        _watched[descriptor].remove(greenlet)
        if not _watched[descriptor]:
            _resets.unregister(descriptor)
            del _watched[descriptor]


def look_again(stream):
    """End the wait, if there is one, in which `stream` is watched."""
    _expire(_watched.get(stream.transport.fileno(), ()))


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
