"""The terminal that a command runs on: its size, and single keys typed there. Leaves it as it was."""
from __future__ import absolute_import, division, print_function

import contextlib
import fcntl
import os
import select
import signal
import struct
import termios

LINES = 23              # assumed where a terminal does not tell
_QUIT = (b'q', b'Q', b'\x04', b'')      # q, Control-D, and a terminal that is gone
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def size():
    """Return (lines, columns) of the terminal at standard output; columns is None if there is none."""
    try:
        lines, columns = struct.unpack('HHHH', fcntl.ioctl(1, termios.TIOCGWINSZ, b'\0' * 8))[:2]
    except (IOError, OSError):
        lines = columns = 0
    return lines or LINES, columns or None


def fit(line):
    """Return a line of native text cut to the width of the terminal, with '...' at the end if something was cut."""
    columns = size()[1]
    return line if not columns or len(line) <= columns else line[:columns - 3] + '...'


@contextlib.contextmanager
def keys(wanted):
    """For a with block: read single keys without showing them; the value is a function that tells if q was typed.

    `wanted`: False for a function that always returns False. At the end, also by Control-C, SIGTERM or SIGHUP, the
    terminal is set back to what it was.
    """
    if not wanted or not os.isatty(0):
        yield lambda: False
        return
    before = termios.tcgetattr(0)
    raw = list(before)
    raw[3] &= ~(termios.ICANON | termios.ECHO)

    def restore():
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        except termios.error:
            pass                        # the terminal is gone

    def end(number, _frame):
        restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    try:
        for number in _SIGNALS:
            signal.signal(number, end)
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        yield lambda: bool(select.select([0], [], [], 0)[0]) and os.read(0, 100)[:1] in _QUIT
    finally:
        restore()
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
