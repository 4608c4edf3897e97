"""Signals that come before there is anybody to act on them: kept for later, or obeyed at once. By default each would
end a process, and a SIGHUP, say, may come at any time. Comes before patching, so it imports nothing that is patched.
"""
from __future__ import absolute_import, division, print_function

import os
import signal

KEPT = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
OBEYED = (signal.SIGTERM, signal.SIGINT)

_before = {}        # {number: what would have happened}
_kept = []          # numbers, as they came


def hold():
    """From now on."""
    for numbers, act in ((KEPT, _keep), (OBEYED, _end)):
        for number in numbers:
            _before[number] = signal.signal(number, act)


def release():
    """What would have happened happens again, for what does not serve."""
    for number, act in _before.items():
        signal.signal(number, signal.SIG_DFL if act is None else act)


def take():
    """The numbers of those that were kept, each once; none of them is from now on."""
    numbers = sorted(set(_kept))
    del _kept[:]
    return numbers


def _keep(number, _frame):
    _kept.append(number)


def _end(number, _frame):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)        # whoever started it is told what ended it
    os._exit(128 + number)              # process 1, as in a container, is spared by what has no handler
