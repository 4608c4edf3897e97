"""Native threads for jobs that would block the event loop: look-ups, hashes, files. Knows no job.

A thread is started only when there is a job, never by an import. An exception in a job does not end its thread: it
becomes a part of the result. gevent starts the threads again after a fork.
"""
from __future__ import absolute_import, division, print_function

from gevent.threadpool import ThreadPool

MOST_STUCK = 4          # threads of a Background that may hang; until one comes back, no job should be begun


class Background(object):
    """A limited number of threads that work, and threads that were given up because their job hangs."""

    def __init__(self, threads):
        """`threads`: how many jobs may run at once. The caller of one more would wait until a job has ended."""
        self._threads = threads
        self._pool = None
        self._given_up = []             # results of jobs that were given up, and may hang still

    def do(self, job, *arguments):
        """Call job(*arguments) in a thread. Return its result at once, a gevent AsyncResult.

        `job`: a function; `arguments`: passed to it. The `value` of the result is (return value of the job, None), or
        (None, the exception that it raised). To get it, use its `wait` with a time-out, or `rawlink`: then the hub
        calls a function with the result. Raises compat.native_lock_error if no thread can be started.
        """
        if self._pool is None:
            self._pool = ThreadPool(self._threads)
        return self._pool.spawn(_outcome, job, arguments)

    def give_up(self, result):
        """Give up a job that takes too long, and use other threads from now on. `result`: the one that `do` returned.
        """
        self._given_up.append(result)
        self._pool = None

    def is_stuck(self):
        """Return True if so many jobs hang that no other should begin."""
        self._given_up = [result for result in self._given_up if not result.ready()]
        return len(self._given_up) >= MOST_STUCK


def _outcome(job, arguments):
    """Call a job in a thread. Return exceptions instead of raising them, because gevent would print them."""
    try:
        return job(*arguments), None
    except Exception as error:
        return None, error
