"""Run programs as processes: start them, read what they write, send signals, and always end and reap them."""
from __future__ import absolute_import, division, print_function

import contextlib
import ctypes
import os
import re
import shutil
import signal
import sys
import tempfile

import gevent
import gevent.os
from gevent import subprocess
from gevent.event import Event

from helpers import PATIENCE, connect, read_all, read_until

from geproxy.admin import client
from geproxy.compat import to_native

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# With -bb, if these tests run with it: then str in the place of octets is an error in these processes, too.
PYTHON = [sys.executable] + ['-' + 'b' * sys.flags.bytes_warning] * bool(sys.flags.bytes_warning)
GEPROXY = PYTHON + ['-m', 'geproxy']

INI = """
[proxy]
listen = %s
[access]
connect_ports = any
http_ports = any
"""

_CAPABILITIES = (1, 2, 10)      # DAC_OVERRIDE, DAC_READ_SEARCH, NET_BIND_SERVICE: see capabilities(7)
_PDEATHSIG, _CAPBSET_DROP = 1, 24       # see prctl(2)
_prctl = getattr(ctypes.CDLL(None), 'prctl', lambda *_: 0)      # Linux only


def end_with_us():
    """For preexec_fn: let the process get SIGTERM when this one ends, in whatever way."""
    _prctl(_PDEATHSIG, signal.SIGTERM)


class Process(object):
    """A program that runs in the checkout. `out`, `err`: the octets that it has written so far."""

    def __init__(self, arguments, stdout=None, stdin=None, more_env=None, preexec_fn=None, **options):
        """`stdout`, `stdin`: file descriptors of the caller; None: the output is read here, and the input is empty.
        `more_env`: added to the environment of this process, without variables that could change what the program
        does."""
        def prepare():
            end_with_us()           # in case this process is killed before `end`
            if preexec_fn is not None:
                preexec_fn()
        self.out = self.err = b''
        self._changed = Event()
        self._readers = []
        clean = dict((name, value) for name, value in os.environ.items() if not re.match(
            r'(?i)(http|https|ftp|all|no)_proxy\Z|NO_COLOR\Z|PYTHON', name))
        given = [os.open(os.devnull, os.O_RDONLY)]
        try:
            self.popen = subprocess.Popen(
                arguments, stdin=given[0] if stdin is None else stdin,
                stdout=self._pipe('out', given) if stdout is None else stdout, stderr=self._pipe('err', given),
                close_fds=True, preexec_fn=prepare, cwd=options.pop('cwd', CHECKOUT),
                env=dict(clean, **(more_env or {})), **options)
        finally:
            for fd in given:
                os.close(fd)
        self.pid = self.popen.pid

    def _pipe(self, name, given):
        reading, writing = os.pipe()
        given.append(writing)
        gevent.os.make_nonblocking(reading)
        self._readers.append(gevent.spawn(self._read, name, reading))
        return writing

    def _read(self, name, fd):
        try:
            while True:
                data = gevent.os.nb_read(fd, 65536)
                if not data:
                    break
                setattr(self, name, getattr(self, name) + data)
                self._changed.set()
        finally:
            os.close(fd)
            self._changed.set()

    def wait_for(self, pattern, name='err'):
        """Wait until what it has written matches `pattern` (octets), and return the match.

        `name`: 'err' for its standard error, 'out' for its standard output.
        """
        with gevent.Timeout(PATIENCE, False):
            while True:
                self._changed.clear()
                over = all(reader.ready() for reader in self._readers)
                match = re.search(pattern, getattr(self, name))
                if match:
                    return match
                if over:
                    break
                self._changed.wait()
        raise AssertionError('no %r in %r' % (pattern, self))

    def lines(self, count, name='out'):
        """Wait for that many lines, and return all lines as octets."""
        self.wait_for(br'(?s)(?:[^\n]*\n){%d}' % count, name)
        return getattr(self, name).split(b'\n')[:-1]

    def tell(self, number):
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds=PATIENCE):
        """Wait for its end and all its output, and return its exit code. Fail after so many seconds."""
        with gevent.Timeout(seconds, False):
            code = self.popen.wait()
            gevent.joinall(self._readers)
            return code
        raise AssertionError('still there after %s s: %r' % (seconds, self))

    def end(self):
        """Kill it, if it has not ended, and reap it."""
        if self.popen.poll() is None:
            self.tell(signal.SIGKILL)
            self.popen.wait()
        # A child of it may still hold its output open: do not wait for that.
        gevent.joinall(self._readers, timeout=0.5)
        gevent.killall(self._readers)

    def __repr__(self):
        return '<process %d, exit code %s>\n%s\n%s' % (
            self.pid, self.popen.poll(), to_native(self.out[-2000:]), to_native(self.err[-4000:]))


@contextlib.contextmanager
def process(arguments, **options):
    """Give a Process, and end it after the block."""
    started = Process(arguments, **options)
    try:
        yield started
    finally:
        started.end()


@contextlib.contextmanager
def folder():
    """Give a folder with a short path, and remove it after the block."""
    path = tempfile.mkdtemp(prefix='geproxy-')
    try:
        yield path
    finally:
        shutil.rmtree(path)


def build_wheel(here):
    """Build a wheel of geproxy in the folder `here`, and return its path.

    It is built from a copy: setuptools leaves a folder `build` beside setup.py, and packs what is still in one.
    """
    copy = os.path.join(here, 'copy')
    for name in ('geproxy', 'conf'):
        shutil.copytree(os.path.join(CHECKOUT, name), os.path.join(copy, name),
                        ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
    shutil.copy(os.path.join(CHECKOUT, 'setup.py'), copy)
    packed = os.path.join(here, 'wheel')
    built = run(PYTHON + ['-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet', '--wheel-dir', packed, copy])
    assert built.wait() == 0, built
    name, = os.listdir(packed)
    return os.path.join(packed, name)


@contextlib.contextmanager
def running(ini='', listen='127.0.0.1:0', make=None, by=(), **options):
    """Run geproxy, and give its Process once it listens.

    The Process has an `address`, (host, port); the `path` of its ini file; and its `folder`, which replaces FOLDER in
    `ini`. `make`: a folder to make in there; `by`: a command that runs geproxy. [log] errors must be standard error.
    """
    with folder() as here:
        if make:
            os.mkdir(os.path.join(here, make))
        path = os.path.join(here, 'proxy.ini')
        write(path, (INI % listen + ini).replace('FOLDER', here))
        with process(list(by) + GEPROXY + ['-c', path], **options) as started:
            started.path, started.folder = path, here
            started.address = '127.0.0.1', int(started.wait_for(br'listening on \S+:(\d+)[ ,]').group(1))
            yield started


def run(arguments, **options):
    """Run a program to its end, and return the Process."""
    with process(arguments, **options) as started:
        started.wait()
    return started


def write(path, text):
    """Write native text or octets to a file."""
    with open(path, 'wb') as opened:
        opened.write(text if isinstance(text, bytes) else text.encode('utf-8'))


def read(path):
    """Return the octets of a file, none if there is no such file."""
    if not os.path.exists(path):
        return b''
    with open(path, 'rb') as opened:
        return opened.read()


def scraped(proxy):
    """Return the text of /metrics, asked at admin.sock in the folder of a process. Raises Trouble."""
    answers, _silent = client.ask(['unix:' + os.path.join(proxy.folder, 'admin.sock')], b'GET', b'/metrics')
    return '\n'.join(answers[0][2])


def metric(proxy, name):
    """Return the value of the first metric of that name in `scraped(proxy)`."""
    return int(re.search(r'(?m)^%s(?:\{.*\})? (\d+)$' % name, scraped(proxy)).group(1))


def wait_until(condition, what):
    """Wait until `condition()` is true, where no event tells it. `what`: its name in the failure."""
    with gevent.Timeout(PATIENCE, AssertionError('waited in vain for ' + what)):
        while not condition():
            gevent.sleep(0.01)


def unprivileged():
    """For preexec_fn: root without the rights to read all files and to use all ports.

    (Another user might not be able to read this Python.)
    """
    if os.getuid() == 0:
        for capability in _CAPABILITIES:
            if _prctl(_CAPBSET_DROP, capability, 0, 0, 0):
                os._exit(99)            # shown by the test that gets this exit code


def get(origin, path=b'/', more=b''):
    """Return a GET request in absolute-form."""
    host = b'%s:%d' % (origin[0].encode('ascii'), origin[1])
    return b'GET http://%s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (host, path, host, more)


def answering(body=b'fine'):
    """Return a `handle` for `listening`, which answers one request with `body`, then closes the connection."""
    def handle(sock):
        if read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
    return handle


def own(path=b'*'):
    """Return a request that the proxy answers itself: the cheapest way to a line in its log."""
    return b'OPTIONS %s HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n' % path


class Client(object):
    """A client that keeps its connection."""

    def __init__(self, address):
        self.socket = connect(address)
        self._buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, octets):
        """Send a request, or part of one."""
        self.socket.sendall(octets)

    def response(self):
        """Read one response, which has a Content-Length or no body, and return its octets."""
        size = 0
        while not size or len(self._buffer) < size:
            end = self._buffer.find(b'\r\n\r\n')
            if end >= 0 and not size:
                length = re.search(br'(?i)\r\nContent-Length: (\d+)', self._buffer[:end])
                size = end + 4 + (int(length.group(1)) if length else 0)
                continue
            piece = self.socket.recv(65536)
            assert piece, 'the connection ended after %r' % self._buffer
            self._buffer += piece
        response, self._buffer = self._buffer[:size], self._buffer[size:]
        return response

    def ask(self, octets):
        """Send a request, and return its response."""
        self.send(octets)
        return self.response()

    def rest(self):
        """Read to the end, and return the octets."""
        data, self._buffer = self._buffer + read_all(self.socket), b''
        return data
