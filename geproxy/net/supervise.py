"""Keeps what must run as long as the process: loops of greenlets and native threads, and callbacks of the event loop.

After an exception each goes on. The exception is reported with its traceback, once for each place where it arises, and
counted every time. Starts nothing by itself.
"""
from __future__ import absolute_import, division, print_function

import sys
import traceback

from gevent import Timeout

PAUSE = 1.0             # seconds before a loop that failed is started again
MOST_SAID = 100         # tracebacks, in all: more than that is a flood, and helps nobody

failures = {}           # {name of a task: how often it has failed}, since the process began
_said = set()           # (name, where) of the failures that were reported


def keep(name, loop, say, sleep):
    """Run `loop()` until it returns; start it again, after a pause, whenever it raises.

    `name`: of the task, for the log and the metrics; `loop`: must be able to start anew wherever it was interrupted;
    `say`: takes the report as native text; `sleep`: gevent.sleep in a greenlet, compat.native_sleep in a thread.
    """
    pause, note = PAUSE, failed         # Python 2 takes globals away from threads while it ends
    while True:
        try:
            return loop()
        except (Exception, Timeout):
            note(name, say)
        sleep(pause)


def guard(name, do, say=None):
    """Return a function that calls `do` and lets none of its exceptions out: for tasks that are called again and again.

    `name`, `say`: as for `keep`; without `say` the report goes to standard error. The function returns what `do` does,
    or None after an exception.
    """
    def guarded(*arguments):
        try:
            return do(*arguments)
        except (Exception, Timeout):
            failed(name, say or _complain)
    return guarded


def failed(name, say):
    """Count the exception that is being handled, and report it if it is the first one from that place."""
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
