"""Greenlets that do one job after the other: to make one anew costs as much as half a request. Knows no job.

On Python 3.13 it is 50 us instead of 5: 16 KiB of memory are fetched from the kernel for each, and given back.
"""
from __future__ import absolute_import, division, print_function

import gevent
from gevent.event import Event
from gevent.hub import Waiter

KEPT = 256          # with nothing to do; each has about 20 KiB

# All state here is that of the one event loop of the process: see one_hub.
_idle = []          # what each waits for that has nothing to do; who worked last is last
_spare = [0]        # how many had nothing to do all the time


class Interrupted(BaseException):
    """Thrown into an exchange from outside. No ProxyError, so that no part of the way takes it for its own failure."""

    def __init__(self, error):
        """`error`: the ProxyError that the client is told."""
        BaseException.__init__(self, str(error))
        self.error = error


def serve(job, *arguments):
    """Have job(*arguments) done, beginning now. Only the hub may call it, as for an event of its loop."""
    waiter = _take()
    if waiter is None:
        gevent.spawn(_work, [(job, arguments)])
    else:
        waiter.switch((job, arguments))


def spawn(job, *arguments):
    """Have job(*arguments) done by another greenlet -> Job. Whoever called waits for it or kills it."""
    made = Job(job, arguments)
    waiter = _take()
    if waiter is None:
        gevent.spawn(_work, [(made.do, ())])
    else:
        gevent.get_hub().loop.run_callback(waiter.switch, (made.do, ()))
    return made


def interrupt(find):
    """Throw an exception into the greenlet of a job, from elsewhere. `Greenlet.kill` must not be used for that: it acts
    later, when the greenlet may have nothing to do, or do the next job.

    `find`: called by the hub when it is to happen: gives (greenlet, exception), or None if the job is over by then.
    """
    gevent.get_hub().loop.run_callback(_interrupt, find)


def _interrupt(find):
    found = find()
    if found is not None:
        greenlet, exception = found
        greenlet.throw(exception)


class Job(object):
    """What another greenlet does. It has the two methods of a gevent.Greenlet that there is a use for."""
    __slots__ = ('_job', '_arguments', '_greenlet', '_over', '_killed')

    def __init__(self, job, arguments):
        self._job, self._arguments = job, arguments
        self._greenlet = None
        self._over = Event()
        self._killed = False

    def do(self):
        """Do it."""
        self._greenlet = gevent.getcurrent()
        try:
            if not self._over.is_set():
                self._job(*self._arguments)
        finally:
            self._over.set()
        if self._killed:
            raise gevent.GreenletExit()     # it is still on its way, and must not hit the next job

    def join(self):
        """Wait until it is done."""
        self._over.wait()

    def kill(self):
        """End it, if it is not done, and wait until it has ended."""
        if not self._over.is_set():
            self._killed = True
            if self._greenlet is not None:
                self._greenlet.kill()
            self._over.set()


def prune():
    """End the greenlets that had nothing to do since this was called last."""
    _end(_spare[0])
    _spare[0] = len(_idle)


def end():
    """End all that have nothing to do."""
    _end(len(_idle))


def _end(count):
    for waiter in _idle[:count]:
        gevent.get_hub().loop.run_callback(waiter.switch, (None, ()))
    del _idle[:count]


def _take():
    if not _idle:
        return None
    waiter = _idle.pop()
    _spare[0] = min(_spare[0], len(_idle))
    return waiter


def _work(todo):
    job, arguments = todo.pop()             # nothing of it is kept
    while job is not None:
        job(*arguments)
        job = arguments = None
        if len(_idle) < KEPT:
            waiter = Waiter()
            _idle.append(waiter)
            try:
                job, arguments = waiter.get()
            except BaseException:       # somebody killed it nevertheless: it must not be given another job
                if waiter in _idle:
                    _idle.remove(waiter)
                raise
