"""Run programs as processes: start them in a folder of their own, wait for them, and end them by their pid."""
from __future__ import absolute_import, division, print_function

import ctypes
import errno
import os
import random
import re
import signal
import socket
import subprocess
import time

from measure import clock, tree

HOST = '127.0.0.1'              # everything listens and connects only here
PATIENCE = 15                   # seconds for a program to listen, or to end
_PDEATHSIG = 1                  # see prctl(2)
_prctl = getattr(ctypes.CDLL(None), 'prctl', lambda *_: 0)      # Linux only
_given = set()


class Failed(Exception):
    """A program did not start or did not do its work; the text says which one and why."""


def find(name):
    """Return the path of a program, or ''. Folders that are only in the PATH of root are searched, too."""
    for folder in os.environ.get('PATH', '').split(os.pathsep) + ['/usr/sbin', '/usr/local/sbin', '/sbin']:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ''


def free_port():
    """Return a free port, never the same twice. It is below the ports that the kernel gives to clients."""
    while True:
        port = random.randrange(12000, 32000)
        if port in _given:
            continue
        probe = socket.socket()
        try:
            probe.bind((HOST, port))
            _given.add(port)
            return port
        except socket.error:
            continue
        finally:
            probe.close()


def environment():
    """Return the environment without variables that name a proxy or change how a Python runs."""
    return dict((name, value) for name, value in os.environ.items() if not re.match(
        r'(?i)(http|https|ftp|all|no)_proxy\Z|PYTHON', name))


def ask(arguments, **options):
    """Run a program. Return its output and its errors as native text, or '' if it cannot be run."""
    try:
        started = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=environment(), **options)
    except (IOError, OSError):
        return ''
    return started.communicate()[0].decode('utf-8', 'replace')


class Program(object):
    """A process that runs until `stop`. Its output is appended to the file `path`."""

    def __init__(self, arguments, path, cwd=None, stdin=None, stdout=None, more_env=None, preexec=None, close_fds=True):
        def prepare():
            _prctl(_PDEATHSIG, signal.SIGTERM)      # in case the benchmark is killed
            if preexec is not None:
                preexec()
        self.path = path
        self.arguments = arguments
        with open(path, 'ab') as out, open(os.devnull) as empty:
            self.popen = subprocess.Popen(
                arguments, stdin=empty if stdin is None else stdin, stdout=out if stdout is None else stdout,
                stderr=out, cwd=cwd, preexec_fn=prepare, close_fds=close_fds,
                env=dict(environment(), **(more_env or {})))
        self.pid = self.popen.pid

    def wait_for(self, port, words=''):
        """Wait until it listens on `port` and has printed `words`. Return self. Raises Failed."""
        deadline = clock() + PATIENCE
        while clock() < deadline:
            if self.popen.poll() is not None:
                break
            try:
                socket.create_connection((HOST, port), 1).close()
                if words in self.said():
                    return self
            except socket.error:
                pass                    # not yet
            time.sleep(0.02)
        self.stop()
        raise Failed('%s does not listen; its output: %s' % (os.path.basename(self.arguments[0]), self.said()[-400:]))

    def said(self):
        """Return its output so far, native text."""
        with open(self.path, 'rb') as opened:
            return opened.read().decode('utf-8', 'replace').strip()

    def stop(self):
        """End it and all processes that it has started: by SIGTERM, and after 3 seconds by SIGKILL."""
        members = tree(self.pid)
        if self.popen.poll() is None:
            self.popen.terminate()
        deadline = clock() + 3
        while self.popen.poll() is None and clock() < deadline:
            time.sleep(0.01)
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pid in members[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise
