"""Keeps tasks running after an exception: loops of greenlets and native threads, and callbacks of the event loop.

Each exception is counted. It is reported with its traceback once for each place where it is raised. Starts no greenlet
and no thread.
"""
from __future__ import absolute_import, division, print_function

import sys
import traceback

from gevent import Timeout

PAUSE = 1.0             # seconds before a loop that failed is started again
MOST_SAID = 100         # tracebacks that are reported in all

failures = {}           # {name of a task: how often it has failed}, since the process began
_said = set()           # (name, where) of the failures that were reported


def keep_running(name, loop, say, sleep):
    """Run `loop()` until it returns. Start it again, after a pause, each time it raises.

    `name`: of the task, for the log and the metrics; `loop`: a function that can be called again after an exception at
    any point; `say`: a function that takes the report, native text; `sleep`: gevent.sleep in a greenlet,
    compat.native_sleep in a thread.
    """
    pause, note = PAUSE, failed         # Python 2 takes globals away from threads while it ends
    while True:
        try:
            return loop()
        except (Exception, Timeout):
            note(name, say)
        sleep(pause)


def guard(name, do, say=None):
    """Return a function that calls `do` and catches its exceptions. Use it for a task that is called again and again.

    `name`, `say`: as for `keep_running`; without `say` the report goes to standard error. The function returns the
    result of `do`, or None after an exception.
    """
    def guarded(*arguments):
        try:
            return do(*arguments)
        except (Exception, Timeout):
            failed(name, say or _complain)
    return guarded


def failed(name, say):
    """Count the exception that is being handled. Report it if it is the first one from its place.

    `name`, `say`: as for `keep_running`.
    """
    failures[name] = failures.get(name, 0) + 1
    place = name, tuple(entry[:2] for entry in traceback.extract_tb(sys.exc_info()[2]))
    if place in _said or len(_said) >= MOST_SAID:
        return
    _said.add(place)
    text = '%s failed, and goes on; please report this:\n%s' % (name, traceback.format_exc().rstrip())
    try:
        say(text)
    except Exception:
        _complain('%s; the log could not be told' % text)


def _complain(text):
    sys.stderr.write('geproxy: %s\n' % text)
    sys.stderr.flush()
