"""Native threads that take jobs which would stall the event loop: look-ups, hashes, files. Knows no job.

No thread is started before there is a job, and none by importing anything. A job that raises harms no thread: what it
raised is handed back. gevent starts the threads anew after a fork.
"""
from __future__ import absolute_import, division, print_function

from gevent.threadpool import ThreadPool

MOST_STUCK = 4          # threads of a Background that may hang; until one comes back, no job should be begun


class Background(object):
    """At most so many threads at work, and those that were given up, which hang in their last job."""

    def __init__(self, threads):
        """`threads`: how many jobs are done at once. A further one would stall its caller until one has ended."""
        self._threads = threads
        self._pool = None
        self._given_up = []             # results of jobs that were given up, and may hang still

    def do(self, job, *arguments):
        """Have job(*arguments) called in a thread, and return its result at once, a gevent AsyncResult.

        The `value` of the result is (what the job returned, None), or (None, the exception that it raised). Whoever
        waits for it may use its `wait` with a time-out, or `rawlink`, which has the hub call a function of the result.
        Raises compat.native_lock_error if no thread can be started.
        """
        if self._pool is None:
            self._pool = ThreadPool(self._threads)
        return self._pool.spawn(_outcome, job, arguments)

    def give_up(self, result):
        """Leave a job alone that takes too long, and use other threads from now on. `result`: what `do` returned."""
        self._given_up.append(result)
        self._pool = None

    def is_stuck(self):
        """Return True if so many given-up jobs hang that no other should be begun."""
        self._given_up = [result for result in self._given_up if not result.ready()]
        return len(self._given_up) >= MOST_STUCK


def _outcome(job, arguments):
    """In a thread: gevent would print what is raised, so nothing is."""
    try:
        return job(*arguments), None
    except Exception as error:
        return None, error
