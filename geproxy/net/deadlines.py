"""Waits for connections, each wait with a deadline. Reads and writes nothing.

A watcher of the event loop switches directly to the waiting greenlet. A wait has no gevent Waiter and no timer of its
own: a single timer checks all deadlines (`sweep`).
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent import getcurrent
from gevent.hub import Waiter, get_hub

from geproxy.compat import monotonic, native_poll
from geproxy.net import supervise
from geproxy.net.transport import POLLIN, POLLOUT, WRITE

# How long a wait may last: `name` of the option, `seconds`, and `error`, the class to raise when they are over.
TimeLimit = collections.namedtuple('TimeLimit', 'name seconds error')

SWEEP = 0.25                    # seconds between two looks at the deadlines, which are kept that precisely
_EXPIRED = object()             # what a waiting greenlet is switched to with at its deadline
# All state here is that of the one event loop of the process: see one_hub.
# All waits now: {greenlet: (deadline in monotonic seconds, streams, event of poll(2), the TimeLimit that shortened it)}
_deadlines = {}
_sweeper = []
_poll = native_poll()           # for one socket at a time
_resets = native_poll()         # for all in _watched; registered for no event, it reports resets only
_watched = {}                   # {file descriptor: [the greenlets whose wait ends when that is reset]}


def start():
    """Start the timer that looks at the deadlines, unless it runs. It runs as long as the process."""
    if not _sweeper:
        _sweeper.append(get_hub().loop.timer(SWEEP, SWEEP, ref=False))
        _sweeper[0].start(sweep)


def sweep():
    """End the waits whose deadlines have passed. Called by the timer."""
    now = monotonic()
    if _watched:
        for descriptor, _event in _resets.poll(0):
            _expire(_watched[descriptor])
    for greenlet, waits in [item for item in _deadlines.items() if item[1][0] < now]:
        # Data that arrived before the deadline wins over it. A process that was stopped or is busy sees both at once.
        if _deadlines.get(greenlet) is waits and not _has_come(waits):
            del _deadlines[greenlet]
            for stream in waits[1]:
                stream.shortened_by = waits[3]
            greenlet.switch(_EXPIRED)


def _any_ready(waits):
    event = waits[2]
    return any(stream.transport.poll(0) if event == POLLIN and stream.pending is not None else
               _is_ready(stream.transport, event) for stream in waits[1])


_has_come = supervise.guard('a look at a deadline', _any_ready)     # a failure of one must not delay the others


def _expire(greenlets):
    """End the waits of these greenlets at the next sweep."""
    for greenlet in greenlets:
        waits = _deadlines.get(greenlet)
        if waits is not None:
            _deadlines[greenlet] = (float('-inf'),) + waits[1:]


def shorten_wait(stream, deadline, limit):
    """End the waits for a stream at `deadline` if they would last longer.

    `stream`: a Stream; `deadline`: monotonic seconds; `limit`: the TimeLimit that is the reason: the stream gets it as
    `shortened_by` if the wait ends because of it.
    """
    for greenlet in (stream.reading, stream.writing):
        waits = _deadlines.get(greenlet)
        if waits is not None and stream in waits[1]:        # it may wait for another by now
            if deadline < waits[0]:
                _deadlines[greenlet] = (deadline,) + waits[1:3] + (limit,)


def wait_readable(streams, deadline):
    """Wait until one of several streams is readable or has ended. Return it, or None at the deadline.

    `streams`: a tuple or list of Streams; `deadline`: monotonic seconds. A Stream has a `transport`, a `reader`, which
    is its watcher, and `reading`, the greenlet that waited for it last.
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
            first = others()            # a late answer to an earlier wait of this greenlet: ignored
        return None if first is _EXPIRED else first
    finally:
        _deadlines.pop(greenlet, None)
        for stream in streams:
            stream.reader.stop()


def wait_writable(stream, deadline):
    """Wait until a stream takes octets again. Return it, or None at the deadline.

    `stream`: a Stream, with `writer`, a watcher that is made when it is first needed, and `writing`, as above;
    `deadline`: monotonic seconds.
    """
    if stream.writer is None:
        stream.writer = get_hub().loop.io(stream.transport.fileno(), WRITE)
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
    """Return wait(*arguments), but stop waiting when another stream is reset.

    `stream`: the Stream to watch; `wait`, `arguments`: one of the functions above, and its arguments. Also return None
    within SWEEP seconds after the peer of `stream` has reset its connection, or after `look_again`: the caller checks
    which of these has happened.

    Use this for a stream on which no wait is possible, because its octets must not be read now, or because its peer has
    ended its direction. One poll(2) for all such streams costs 0.05 us for each stream; a greenlet that polls costs 5
    us (3.11, 2026).
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
    """End the wait in which `stream`, a Stream, is watched (see `watching`), if there is one."""
    _expire(_watched.get(stream.transport.fileno(), ()))


def wait_connected(sockets, deadline):
    """Wait until one of several connecting sockets is connected or has failed. Return it, or None at the deadline.

    `sockets`: native sockets; `deadline`: monotonic seconds. It has its own timer, because a sweep is too coarse for
    the moment to try the next address.
    """
    waiter = Waiter()
    loop = get_hub().loop
    timer = loop.timer(max(0.0, deadline - monotonic()))
    watchers = [(loop.io(sock.fileno(), WRITE), sock) for sock in sockets]
    try:
        timer.start(waiter.switch, None)
        for watcher, sock in watchers:
            watcher.start(waiter.switch, sock)
        # As in `sweep`: the timer may fire before a connection is seen that came in time.
        return waiter.get() or next((sock for sock in sockets if _is_ready(sock, POLLOUT)), None)
    finally:
        timer.stop()
        for watcher, _sock in watchers:
            watcher.stop()


def _is_ready(sock, event):
    """Return True if poll(2) reports `event`, or the end, for a socket now. 1.6 us; a read that fails takes 3.6 (3.13).
    """
    _poll.register(sock, event)
    try:
        return bool(_poll.poll(0))
    finally:
        _poll.unregister(sock)
