"""Run the tests in several processes at the same time, because tests wait most of the time.

    python tests/run.py                         all of them
    python tests/run.py -k relay -x             all options of pytest work
    python tests/run.py -m "not programs"       without the slow ones: see tests/pytest.ini
    python tests/run.py --processes 1           one after the other

This process collects the tests and forks the others. Each of those takes a file that no other has taken. When no file is
left, it takes single tests from files of the others, so that all end at about the same time. They send their reports to
this process, and its pytest shows them as if it had run the tests itself. The exit code is that of pytest.
"""
from __future__ import absolute_import, division, print_function

import collections
import errno
import os
import pickle
import select
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import warnings

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
PROCESSES = 3           # enough for two processors; with more, tests that watch the clock may fail

# Reports are marked as those of pytest-xdist are. Then pytest prints no file name before each letter.
Gateway = collections.namedtuple('Gateway', 'id')
Node = collections.namedtuple('Node', 'gateway')


class Division(object):
    """A plugin of pytest that runs the collected tests in several processes."""

    def __init__(self, processes):
        """`processes`: the number of processes that run tests, without this one."""
        self._processes = processes

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        """Run the tests, instead of the loop of pytest. Raises what that loop raises."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted('%d errors during collection' % session.testsfailed)
        if session.config.option.collectonly:
            return True
        folder = tempfile.mkdtemp(prefix='geproxy-tests-')
        workers = []
        try:
            for number in range(self._processes):
                workers.append(start(session, folder, number + 1))
            Reports(session, workers).read()
        finally:
            for worker in workers:
                worker.end()
            shutil.rmtree(folder)
        return True


# --- the processes that run tests

class Claims(object):
    """The tests for this process, as an iterator. A file in a shared folder marks each test that a process has taken."""

    def __init__(self, folder, items):
        """`folder`: the same one for all processes; `items`: all tests, in the order of pytest."""
        self._folder = folder
        self._files = collections.OrderedDict()
        for number, item in enumerate(items):
            self._files.setdefault(item.nodeid.partition('::')[0], []).append((number, item))

    def __iter__(self):
        for name, tests in self._longest_first():
            if self._take('file-' + name.replace('/', '-')):
                for number, item in tests:
                    if self._take('test-%d' % number):
                        yield item
        # Backwards: the process that has taken the file goes forwards.
        for name, tests in self._longest_first():
            for number, item in reversed(tests):
                if self._take('test-%d' % number):
                    yield item

    def _longest_first(self):
        """Return the files: those with many slow tests first, then those with many tests."""
        return sorted(self._files.items(), key=lambda each: (
            -sum(item.get_closest_marker('programs') is not None for _number, item in each[1]), -len(each[1]), each[0]))

    def _take(self, name):
        try:
            os.close(os.open(os.path.join(self._folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise
            return False
        return True


class Sender(object):
    """A plugin of pytest in a process that runs tests. It sends all reports to the first process."""

    def __init__(self, config, fd):
        """`fd`: the pipe to write to."""
        self._config, self._fd = config, fd

    def send(self, *message):
        """Send a message: a word and its values."""
        data = pickle.dumps(message, 2)
        data = struct.pack('>I', len(data)) + data
        while data:
            data = data[os.write(self._fd, data):]

    def pytest_runtest_logstart(self, nodeid, location):
        """A test begins."""
        self.send('start', nodeid, location)

    def pytest_runtest_logreport(self, report):
        """A test was set up, called or torn down."""
        self.send('report', self._config.hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_runtest_logfinish(self, nodeid, location):
        """A test has ended."""
        self.send('finish', nodeid, location)

    @pytest.hookimpl(optionalhook=True)
    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        """A test gave a warning. (pytest 4.6 on Python 2.7 has no such hook.)"""
        self.send('warning', str(warning_message.message), warning_message.category.__name__,
                  warning_message.filename, warning_message.lineno, when, nodeid, location)


def start(session, folder, number):
    """Fork a process that runs tests. Return its Worker. `folder`: shared by all; `number`: of the process."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Worker(pid, reading, number)
    code = 1
    try:
        os.close(reading)
        code = work(session, Claims(folder, session.items), Sender(session.config, writing))
    finally:
        os._exit(code)          # without the clean-up that belongs to the first process


def work(session, items, sender):
    """Run tests in this forked process. Return its exit code. `items`: tests; `sender`: a Sender."""
    plugins = session.config.pluginmanager
    plugins.unregister(name='terminalreporter')
    capture = plugins.getplugin('capturemanager')
    capture.stop_global_capturing()         # all processes would write to one file
    capture.start_global_capturing()
    capture.suspend_global_capture()
    plugins.register(sender)
    try:
        run(session, iter(items))
        sender.send('end')
        return 0
    except KeyboardInterrupt:
        return 1
    except BaseException:       # also those that pytest uses to end: the first process has to show them
        sender.send('trouble', traceback.format_exc())
        return 1
    finally:
        session.config.hook.pytest_sessionfinish(session=session, exitstatus=0)


def run(session, items):
    """Run tests as the loop of pytest does. `items`: an iterator of tests."""
    item = next(items, None)
    while item is not None:
        following = next(items, None)       # pytest needs it to know which fixtures can end
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail or session.shouldstop:
            return
        item = following


# --- the first process

class Worker(object):
    """A process that runs tests, seen from the first process."""

    def __init__(self, pid, fd, number):
        """`pid`: of the process; `fd`: the pipe to read from; `number`: of the process, for messages."""
        self.pid, self.fd, self.node = pid, fd, Node(Gateway('process %d' % number))
        self.running = None     # (nodeid, location) of the test that it runs
        self.complete = False   # it has sent its last message
        self._data, self._ended = b'', False

    def messages(self):
        """Read from the pipe once. Return the complete messages; None at the end."""
        data = os.read(self.fd, 1 << 20)
        if not data:
            return None
        self._data += data
        found = []
        while len(self._data) >= 4:
            size = 4 + struct.unpack('>I', self._data[:4])[0]
            if len(self._data) < size:
                break
            found.append(pickle.loads(self._data[4:size]))
            self._data = self._data[size:]
        return found

    def end(self):
        """End the process if it still runs, and reap it. Return the status of waitpid."""
        if self._ended:
            return 0
        if not self.complete:
            try:
                os.kill(self.pid, signal.SIGINT)        # so that its test ends what it has started
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
        self._ended = True
        os.close(self.fd)
        return os.waitpid(self.pid, 0)[1]


class Reports(object):
    """Receives what the processes send, and passes it to the hooks of pytest here."""

    def __init__(self, session, workers):
        self._session, self._hook = session, session.config.hook
        self._workers = dict((worker.fd, worker) for worker in workers)
        self._left = len(session.items)

    def read(self):
        """Read until all processes have ended. Raises what the loop of pytest raises.

        Raises Interrupted, too, if a process has died before it has run all tests that it had taken.
        """
        while self._workers:
            for fd in select.select(list(self._workers), [], [])[0]:
                worker = self._workers[fd]
                messages = worker.messages()
                if messages is None:
                    del self._workers[fd]
                    self._ended(worker)
                for message in messages or ():
                    getattr(self, '_' + message[0])(worker, *message[1:])
            if self._session.shouldfail:
                raise self._session.Failed(self._session.shouldfail)
            if self._session.shouldstop:
                raise self._session.Interrupted(self._session.shouldstop)
        if self._left:
            raise self._session.Interrupted('%d tests were not finished' % self._left)

    def _ended(self, worker):
        status = worker.end()
        if not worker.complete:
            nodeid, location = worker.running or ('between two tests', ('', None, ''))
            report = pytest.TestReport if hasattr(pytest, 'TestReport') else _report_class()
            self._show(worker, report(nodeid, location, {}, 'failed', 'the process that ran this test has ended, by %s' % (
                'signal %d' % (status & 127) if status & 127 else 'exit code %d' % (status >> 8)), '???'))

    def _start(self, worker, nodeid, location):
        worker.running = nodeid, location

    def _report(self, worker, data):
        self._show(worker, self._hook.pytest_report_from_serializable(config=self._session.config, data=data))

    def _show(self, worker, report):
        report.node = worker.node
        self._hook.pytest_runtest_logreport(report=report)
        del report.node         # pytest expects more of a node when it shows failures

    def _finish(self, worker, nodeid, location):
        worker.running = None
        self._left -= 1
        self._hook.pytest_runtest_logfinish(nodeid=nodeid, location=location)

    def _warning(self, _worker, message, category, filename, lineno, when, nodeid, location):
        kind = type(str(category), (UserWarning,), {})
        self._hook.pytest_warning_recorded.call_historic(kwargs=dict(
            warning_message=warnings.WarningMessage(kind(message), kind, filename, lineno),
            when=when, nodeid=nodeid, location=location))

    def _end(self, worker):
        worker.complete = True

    def _trouble(self, worker, text):
        worker.complete = True
        raise RuntimeError('in %s: %s' % (worker.node.gateway.id, text))


def _report_class():
    """Return pytest.TestReport of a pytest before 7."""
    from _pytest.reports import TestReport
    return TestReport


def main(arguments):
    """Run pytest and return the exit code. `arguments`: native texts, options of pytest."""
    processes = PROCESSES
    if arguments[:1] == ['--processes'] and arguments[1:] and arguments[1].isdigit():
        processes, arguments = max(1, int(arguments[1])), arguments[2:]
    asked = any(os.path.exists(each.partition('::')[0]) for each in arguments)
    settings = ['-c', os.path.join(TESTS, 'pytest.ini')] + arguments + ([] if asked else [TESTS])
    return int(pytest.main(settings, plugins=[Division(processes)] if processes > 1 else []))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
