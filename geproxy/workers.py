"""Greenlets that do one job after the other: to make a new one costs as much as half a request. Knows no job."""
from __future__ import absolute_import, division, print_function

import gevent
from gevent.hub import Waiter

KEPT = 256          # with nothing to do; each has about 20 KiB


class Workers(object):
    """Those of one server."""

    def __init__(self):
        self._idle = []             # what each waits for that has nothing to do; who worked last is last
        self._spare = 0             # how many had nothing to do all the time

    def spawn(self, job, *arguments):
        """Have job(*arguments) done by a greenlet. Only the hub may call it, as for an event of its loop."""
        if self._idle:
            waiter = self._idle.pop()
            self._spare = min(self._spare, len(self._idle))
            waiter.switch((job, arguments))
        else:
            gevent.spawn(self._work, [(job, arguments)])

    def prune(self):
        """End those that had nothing to do since this was called last."""
        self._end(self._spare)
        self._spare = len(self._idle)

    def end(self):
        """End all that have nothing to do."""
        self._end(len(self._idle))

    def _end(self, count):
        for waiter in self._idle[:count]:
            gevent.get_hub().loop.run_callback(waiter.switch, (None, ()))
        del self._idle[:count]

    def _work(self, todo):
        job, arguments = todo.pop()         # nothing of it is kept
        while job is not None:
            job(*arguments)
            job = arguments = None
            if len(self._idle) < KEPT:
                waiter = Waiter()
                self._idle.append(waiter)
                job, arguments = waiter.get()
