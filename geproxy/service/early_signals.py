"""Handles signals that arrive while Python still starts: some are kept for the server, others end the process at once.

Without handlers each of them would end the process, and a SIGHUP, for instance, may come at any time. This module comes
before patching, so it imports nothing that gevent patches.
"""
from __future__ import absolute_import, division, print_function

import os
import signal

KEPT = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
OBEYED = (signal.SIGTERM, signal.SIGINT)

_before = {}        # {number: the handler that it had}
_arrived = []       # numbers of KEPT signals, as they came


def hold():
    """Install the handlers: from now on KEPT signals are remembered, and OBEYED ones end the process."""
    for numbers, handler in ((KEPT, _keep), (OBEYED, _end)):
        for number in numbers:
            _before[number] = signal.signal(number, handler)


def release():
    """Install the earlier handlers again, for a command that does not serve."""
    for number, handler in _before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def take():
    """Return the numbers of the signals that were kept, each once, as a sorted list, and forget them."""
    numbers = sorted(set(_arrived))
    del _arrived[:]
    return numbers


def _keep(number, _frame):
    _arrived.append(number)


def _end(number, _frame):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)        # by the signal itself, so that the parent process sees what ended this one
    os._exit(128 + number)              # for process 1, as in a container: the kernel spares it from default handlers
