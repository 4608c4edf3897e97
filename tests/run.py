"""All tests, by several processes at once: they wait for real programs most of the time.

    python tests/run.py                         all of them
    python tests/run.py -k relay -x             with what pytest takes
    python tests/run.py --processes 1           one after the other

Each process collects all tests and runs the files that it was the first to claim. What the first one says is shown as it
comes, what the others have said behind it, and how it went in all in the last line. The exit code is pytest's.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TESTS = os.path.dirname(os.path.abspath(__file__))
PROCESSES = 3           # two processors are busy with it; more, and tests that watch the clock fail for want of one
NO_TESTS = 5            # pytest's exit code, if none fits what was asked for


class Share(object):
    """A plugin for pytest: leave those files out that another process has claimed, and count what came of the others."""

    def __init__(self, folder, number):
        """`folder`: for the claims and counts of all processes."""
        self._folder, self._number = folder, number
        self._claims = {}

    def pytest_runtestloop(self, session):
        """As pytest's own, of the items in the files that are ours."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted('%d errors during collection' % session.testsfailed)
        ours = iter(() if session.config.option.collectonly else (each for each in session.items if self._is_ours(each)))
        item = next(ours, None)
        while item is not None:
            following = next(ours, None)    # it says which fixtures are still needed
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def _is_ours(self, item):
        name = item.nodeid.partition('::')[0]
        if name not in self._claims:
            self._claims[name] = self._claim(name.replace('/', '-'))
        return self._claims[name]

    def _claim(self, name):
        try:
            os.close(os.open(os.path.join(self._folder, 'claimed-' + name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        return True

    def pytest_terminal_summary(self, terminalreporter):
        """The counts, for whoever has started this process."""
        with open(counts(self._folder, self._number), 'w') as opened:
            json.dump(dict((word, len(terminalreporter.stats.get(word, ()))) for word in
                           ('failed', 'error', 'passed', 'skipped', 'xfailed', 'xpassed')), opened)


def counts(folder, number):
    """The path of what process `number` has counted."""
    return os.path.join(folder, 'counts-%d.json' % number)


def worker(folder, number, arguments):
    """One of the processes -> its exit code."""
    import pytest
    return int(pytest.main(arguments, plugins=[Share(folder, number)]))


def main(arguments):
    """-> the exit code."""
    processes, began = PROCESSES, time.time()
    if arguments[:1] == ['--worker']:
        return worker(arguments[1], int(arguments[2]), arguments[3:])
    if arguments[:1] == ['--processes'] and arguments[1:] and arguments[1].isdigit():
        processes, arguments = max(1, int(arguments[1])), arguments[2:]
    folder = tempfile.mkdtemp(prefix='geproxy-tests-')
    try:
        codes = run(processes, folder, arguments)
        total = collections.Counter()
        for number in range(processes):
            if not os.path.exists(counts(folder, number)):
                print('process %d has ended without its counts, by %d' % (number, codes[number]))
                codes[number] = codes[number] or 1
                continue
            with open(counts(folder, number)) as opened:
                total.update(json.load(opened))
    finally:
        shutil.rmtree(folder)
    said = ['%d %s' % (total[word], word) for word in sorted(total) if total[word]]
    print('%s in %.0f s, by %d processes' % (', '.join(said) or 'no tests', time.time() - began, processes))
    bad = [code for code in codes if code not in (0, NO_TESTS)]
    return bad[0] if bad else min(codes)


def run(processes, folder, arguments):
    """Run all, and show what they said -> their exit codes."""
    command = [sys.executable] + ['-' + 'b' * sys.flags.bytes_warning] * bool(sys.flags.bytes_warning) + [
        os.path.abspath(__file__), '--worker', folder]
    asked = any(os.path.exists(each.partition('::')[0]) for each in arguments)
    settings = ['-q', '-c', os.path.join(TESTS, 'pytest.ini')] + arguments + ([] if asked else [TESTS])
    said = [None if number == 0 else open(os.path.join(folder, 'said-%d' % number), 'w+b')
            for number in range(processes)]
    running = [subprocess.Popen(command + [str(number)] + settings, stdout=output, stderr=output and subprocess.STDOUT)
               for number, output in enumerate(said)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # each of them ends by it, and says how far it got
    codes = []
    for child, output in zip(running, said):
        codes.append(child.wait())
        if output is not None:
            output.seek(0)
            sys.stdout.flush()
            getattr(sys.stdout, 'buffer', sys.stdout).write(output.read())
            output.close()
    return codes


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
