"""Turns: no greenlet works for long while others wait. Reads no socket and knows no stream.

A loop that waits lets others run. A loop that finds its socket ready each time, or works on what is in a buffer, does
not: such a loop calls `give_way`. A greenlet that has worked for a whole turn then joins a queue. Each turn of the
hub's loop looks at all sockets first, and serves one greenlet of that queue, however many there are. So those that
wait for their sockets are served between any two turns of those that always have something to do.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent import getcurrent
from gevent.hub import get_hub

from geproxy.compat import monotonic

TURN = 0.001                    # seconds that a greenlet may work before others have their turn; that costs 10 us
_NEXT = object()                # what a greenlet gets when it is its turn

# All state here is that of the one event loop of the process: see one_hub.
_queue = collections.OrderedDict()      # {greenlet: None}, the one that has waited longest first
_turn = [None, None, 0.0]       # the greenlet that asked last, in which turn of the hub's loop, and since when it works
_watchers = []                  # see _start


def give_way():
    """Let others have their turn, if this greenlet has worked for TURN seconds since it last waited. May wait.

    To be called wherever a loop goes on without having waited. The first call in a turn starts its clock, so a loop
    that waits pays nothing, and one that does not pays two looks at clocks.
    """
    greenlet, hub = getcurrent(), get_hub()
    if _turn[0] is greenlet and _turn[1] == hub.loop.iteration:
        if monotonic() - _turn[2] < TURN:
            return
        _wait(greenlet, hub)
    _turn[:] = greenlet, hub.loop.iteration, monotonic()


def wait_turn():
    """Join the queue in any case: for what is known to be much work before it begins. Waits."""
    greenlet, hub = getcurrent(), get_hub()
    _wait(greenlet, hub)
    _turn[:] = greenlet, hub.loop.iteration, monotonic()


def is_crowded():
    """Return True if greenlets wait for their turn."""
    return bool(_queue)


def _wait(greenlet, hub):
    """Wait for the next turn of this greenlet, the current one."""
    _queue[greenlet] = None
    _start(hub)
    try:
        while hub.switch() is not _NEXT:
            pass                # it waited for that before, and it came too late: it means nothing now
    finally:
        _queue.pop(greenlet, None)


def _start(hub):
    """Serve the queue behind each look at the sockets, for as long as there is one.

    Not by gevent.sleep(0), of which gevent runs up to 1,000 between two looks; not by a timer of no seconds, which
    libev rounds up to a millisecond. A watcher that is idle keeps the loop from sleeping.
    """
    if not _watchers:
        _watchers[:] = hub.loop.check(), hub.loop.idle()
    if not _watchers[0].active:
        _watchers[0].start(_serve)
        _watchers[1].start(_go_on)


def _serve():
    """Called by the hub: the next one, please."""
    if _queue:
        _queue.popitem(last=False)[0].switch(_NEXT)
    if not _queue:
        for watcher in _watchers:
            watcher.stop()


def _go_on():
    """Called by the hub when nothing else is to be done: `_serve` will be called, too."""
