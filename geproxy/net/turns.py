"""Lets greenlets take turns, so that none works for long while others wait. Reads no socket and knows no stream.

A loop that waits lets other greenlets run. A loop that always finds its socket ready, or works on a full buffer, does
not: such a loop calls `give_way`. Then a greenlet that has worked for a whole turn joins a queue. Each round of the
event loop looks at all sockets first, and then serves one greenlet of the queue. So greenlets that wait for sockets are
served between any two turns of those that always have work.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent import getcurrent, sleep
from gevent.hub import get_hub
from gevent.lock import Semaphore

from geproxy.compat import monotonic

TURN = 0.001                    # seconds that a greenlet may work before it gives way, which costs 10 us
_NEXT = object()                # what a greenlet is switched to with when it is its turn

# All state here is that of the one event loop of the process: see one_hub.
_queue = collections.OrderedDict()      # {greenlet: None}, the one that has waited longest first
_turn = [None, None, 0.0]       # the greenlet that called last, in which round of the event loop, and since when
_lined_up = [0]                 # greenlets in Fair.work
_watchers = []                  # see _start


def give_way():
    """Let others run if this greenlet has worked for TURN seconds since it last waited. May wait.

    Call it wherever a loop goes on without having waited. The first call in a round of the event loop starts the clock.
    """
    greenlet, hub = getcurrent(), get_hub()
    if _turn[0] is greenlet and _turn[1] == hub.loop.iteration:
        if monotonic() - _turn[2] < TURN:
            return
        _wait(greenlet, hub)
    _turn[:] = greenlet, hub.loop.iteration, monotonic()


def wait_turn():
    """Wait for the next turn in any case. Call it before work that is known to be long."""
    greenlet, hub = getcurrent(), get_hub()
    _wait(greenlet, hub)
    _turn[:] = greenlet, hub.loop.iteration, monotonic()


def is_crowded():
    """Return True if greenlets wait for their turn."""
    return bool(_queue or _lined_up[0])


def _wait(greenlet, hub):
    """Wait for the next turn of this greenlet, the current one."""
    _queue[greenlet] = None
    _start(hub)
    try:
        while hub.switch() is not _NEXT:
            pass                # a late answer to an earlier wait of this greenlet: ignored
    finally:
        _queue.pop(greenlet, None)


def _start(hub):
    """Serve the queue after each look at the sockets, until the queue is empty.

    gevent.sleep(0) would not do: gevent runs up to 1,000 of them between two looks. Nor would a timer of 0 seconds,
    which libev rounds up to a millisecond. The idle watcher keeps the loop from sleeping.
    """
    if not _watchers:
        _watchers[:] = hub.loop.check(), hub.loop.idle()
    if not _watchers[0].active:
        _watchers[0].start(_serve)
        _watchers[1].start(_go_on)


def _serve():
    """Switch to the next greenlet of the queue. Called by the hub."""
    if _queue:
        _queue.popitem(last=False)[0].switch(_NEXT)
    if not _queue:
        for watcher in _watchers:
            watcher.stop()


def _go_on():
    """Do nothing. Called by the hub when it has nothing else to do; it then calls `_serve`, too."""


class Fair(object):
    """Turns for long work of many owners, such as clients. Each owner has one at a time, so much work of one owner
    delays the others by one turn only, and takes half of the processor at most."""

    def __init__(self):
        self._lines = {}        # {owner: [the lock of the one that has its turn, how many work or wait]}

    def waiting(self, owner):
        """Return how many jobs of an owner are done or waited for now. `owner`: as for `work`."""
        return self._lines[owner][1] if owner in self._lines else 0

    def work(self, owner, job):
        """Return job(), called when its turn has come. May wait. Raises what `job` does.

        `owner`: anything that can be a key; `job`: a function that does not wait.
        """
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = [Semaphore(), 0]
        line[1] += 1
        _lined_up[0] += 1
        try:
            with line[0]:
                wait_turn()
                return self._work(line, job)
        finally:
            line[1] -= 1
            _lined_up[0] -= 1
            if not line[1]:
                del self._lines[owner]

    @staticmethod
    def _work(line, job):
        began = monotonic()
        try:
            return job()
        finally:
            if line[1] > 1:
                sleep(monotonic() - began)
