"""``python -m geproxy help [CHAPTER]``: the manual, on a host without internet, too."""
from __future__ import absolute_import, division, print_function

import argparse
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import textwrap

from geproxy import compat, wording
from geproxy.commands import chapters, terminal_text
from geproxy.observe.log import complain

WIDTH = 80                      # columns, if there is no terminal that says how many it has
WIDEST = 110                    # columns: longer lines are hard to read
NO_PROGRAM = (126, 127)         # exit codes of a shell that cannot start a program


def main(arguments):
    """Show a chapter of the manual, or the list of chapters.

    `arguments`: native texts, with the name of the command first. Return the exit code: 0, or 2 for an unknown chapter.
    """
    parser = argparse.ArgumentParser(
        prog='geproxy help', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Show a chapter of the manual; without CHAPTER: list the chapters.\nOn a terminal, a long text is '
        'shown by the program in the variable PAGER\n(default: less).',
        epilog=textwrap.fill('Chapters: %s. For the options of a command: geproxy COMMAND --help.' % ', '.join(
            chapters.NAMES), WIDTH - 2, break_on_hyphens=False))
    parser.add_argument('chapter', metavar='CHAPTER', nargs='*', help='the name of a chapter, see below')
    name = '-'.join(parser.parse_args(arguments[1:]).chapter).lower() or chapters.CONTENTS
    if name == chapters.CONTENTS:
        _show(contents())
        return 0
    if name not in chapters.NAMES:
        complain('the manual has no chapter %r%s. Its chapters are: %s. (For a command: geproxy COMMAND --help)' % (
            name, wording.did_you_mean(name, chapters.NAMES), ', '.join(chapters.NAMES)))
        return 2
    _show(terminal_text.rendered(chapters.text(name), _width()))
    return 0


def contents():
    """Return the list of chapters, Unicode: what each is about, and the command that shows it."""
    rows = ''.join('| geproxy help %s | %s |\n' % (name, chapters.summary(name)) for name in chapters.NAMES)
    head = '# Manual of geproxy\n\nIf the shell does not find `geproxy`, type `python -m geproxy` instead.\n\n'
    return terminal_text.rendered(head + '| | |\n| --- | --- |\n' + rows, _width())


def _width():
    """Return how many columns a line may have."""
    try:
        columns = struct.unpack('HHHH', fcntl.ioctl(1, termios.TIOCGWINSZ, b'\0' * 8))[1]
    except (IOError, OSError):
        columns = 0             # no terminal
    return min(columns or WIDTH, WIDEST)


def _show(text):
    octets = compat.to_octets(text)
    if not (os.isatty(0) and os.isatty(1) and paged(octets)):
        sys.stdout.flush()
        getattr(sys.stdout, 'buffer', sys.stdout).write(octets)


def paged(octets):
    """Show a text, octets, by the pager, and wait until the reader leaves it.

    Return False if there is no pager, or if it cannot be started. Raises IOError or OSError if it cannot be written to.
    """
    pager = os.environ.get('PAGER', 'less' if os.environ.get('TERM', 'dumb') != 'dumb' else '').strip()
    if not pager:
        return False
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)         # Control-C is for the pager
    try:
        # F: a text that fits on the screen is only printed. X: it stays there at the end.
        process = subprocess.Popen(pager, shell=True, stdin=subprocess.PIPE,
                                   env=dict({'LESS': 'FRX'}, **os.environ))
        try:
            process.stdin.write(octets)
            process.stdin.close()
        except (IOError, OSError) as error:
            if error.errno != errno.EPIPE:      # the reader has seen enough
                raise
        return process.wait() not in NO_PROGRAM
    finally:
        signal.signal(signal.SIGINT, before)
