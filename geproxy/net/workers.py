"""Greenlets that do one job after the other, because a new greenlet costs half as much as a request.

On Python 3.13 a new greenlet costs 50 us instead of 5: each gets 16 KiB of memory from the kernel and gives it back.
"""
from __future__ import absolute_import, division, print_function

import gevent
from gevent.event import Event
from gevent.hub import Waiter

KEPT = 256          # idle greenlets; each has about 20 KiB

# All state here is that of the one event loop of the process: see one_hub.
_idle = []          # a Waiter for each idle greenlet; the one that worked last is last
_spare = [0]        # how many greenlets were idle all the time since `prune`


class Interrupted(BaseException):
    """Thrown into the greenlet of an exchange to end it. It is no ProxyError, so code for errors does not catch it."""

    def __init__(self, error):
        """`error`: the ProxyError that the client gets."""
        BaseException.__init__(self, str(error))
        self.error = error


def serve(job, *arguments):
    """Run a function in a greenlet, starting now. Only the hub may call this, for an event of its loop.

    `job`: the function; `arguments`: passed to it.
    """
    waiter = _take()
    if waiter is None:
        gevent.spawn(_work, [(job, arguments)])
    else:
        waiter.switch((job, arguments))


def spawn(job, *arguments):
    """Run a function in another greenlet. Return the Job. The caller waits for it or kills it.

    `job`: the function; `arguments`: passed to it.
    """
    made = Job(job, arguments)
    waiter = _take()
    if waiter is None:
        gevent.spawn(_work, [(made.do, ())])
    else:
        gevent.get_hub().loop.run_callback(waiter.switch, (made.do, ()))
    return made


def interrupt(find):
    """Throw an exception into the greenlet of a job, from another greenlet.

    `find`: a function that the hub calls just before: returns (greenlet, exception), or None if the job has ended by
    then. `Greenlet.kill` cannot be used here: it acts later, when the greenlet may be idle or do the next job.
    """
    gevent.get_hub().loop.run_callback(_interrupt, find)


def _interrupt(find):
    found = find()
    if found is not None:
        greenlet, exception = found
        greenlet.throw(exception)


class Job(object):
    """A job of another greenlet, with `join` and `kill` like those of a gevent.Greenlet."""
    __slots__ = ('_job', '_arguments', '_greenlet', '_over', '_killed')

    def __init__(self, job, arguments):
        """`job`: a function; `arguments`: a tuple, passed to it."""
        self._job, self._arguments = job, arguments
        self._greenlet = None
        self._over = Event()
        self._killed = False

    def do(self):
        """Run the job. Called in its greenlet."""
        self._greenlet = gevent.getcurrent()
        try:
            if not self._over.is_set():
                self._job(*self._arguments)
        finally:
            self._over.set()
        if self._killed:
            raise gevent.GreenletExit()     # the kill is still on its way, and must not hit the next job

    def join(self):
        """Wait until the job has ended."""
        self._over.wait()

    def kill(self):
        """Stop the job, and wait until it has ended."""
        if not self._over.is_set():
            self._killed = True
            if self._greenlet is not None:
                self._greenlet.kill()
            self._over.set()


def prune():
    """End the greenlets that were idle since this was called last."""
    _end(_spare[0])
    _spare[0] = len(_idle)


def end():
    """End all idle greenlets."""
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
    job, arguments = todo.pop()             # so that nothing keeps the job alive
    while job is not None:
        job(*arguments)
        job = arguments = None
        if len(_idle) < KEPT:
            waiter = Waiter()
            _idle.append(waiter)
            try:
                job, arguments = waiter.get()
            except BaseException:       # it was killed, so it must not get another job
                if waiter in _idle:
                    _idle.remove(waiter)
                raise
