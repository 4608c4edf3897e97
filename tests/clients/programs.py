"""Start, watch and end programs. Each has a time limit, is reaped, and gets no environment but the given one."""
from __future__ import absolute_import, division, print_function

import collections
import os
import signal

import gevent
from gevent import subprocess
from gevent.event import Event
from gevent.os import make_nonblocking, nb_read

from processes import end_with_us

Result = collections.namedtuple('Result', ['code', 'out', 'err'])


class Overdue(Exception):
    """A program did not end, or did not print the expected words, within its time limit."""


def find(name):
    """Return the path of a program, or None."""
    for folder in os.environ.get('PATH', os.defpath).split(os.pathsep):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def run(arguments, environment, stdin=None, folder=None, limit=30):
    """Run a program to its end. Return a Result. After `limit` seconds, kill it with its children, and raise Overdue.

    `environment`: a dictionary; `stdin`: octets, or None; `folder`: the working directory, or None for this one.
    """
    with open(os.devnull, 'rb') as nothing:
        program = subprocess.Popen(
            arguments, env=environment, cwd=folder, close_fds=True, preexec_fn=alone,
            stdin=nothing if stdin is None else subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        with gevent.Timeout(limit, Overdue('%s took more than %d s' % (arguments, limit))):
            out, err = program.communicate(stdin)
    finally:
        end(program)
    return Result(program.returncode, out, err)


def alone():
    """Start a session of its own that ends with the test run, even if that is killed. For preexec_fn."""
    os.setsid()
    end_with_us()


def end(program):
    """Kill all that is left of the session of a program, and reap the program."""
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except OSError:
        pass                    # all processes have ended already
    program.wait()


class Watched(object):
    """A program that keeps running. `lines`: what it has printed, octets."""

    def __init__(self, arguments, environment, folder):
        self.lines = []
        self.more = Event()
        reader, writer = os.pipe()
        try:
            self.program = subprocess.Popen(
                arguments, env=environment, cwd=folder, close_fds=True, preexec_fn=alone,
                stdout=writer, stderr=writer)
        finally:
            os.close(writer)
        self.listener = gevent.spawn(self.listen, reader)

    def listen(self, reader):
        """Collect lines until the program closes its output. `reader`: a file descriptor."""
        make_nonblocking(reader)
        kept = b''
        try:
            while True:
                octets = nb_read(reader, 65536)
                kept += octets
                lines = kept.split(b'\n')
                kept = lines.pop() if octets else b''
                self.lines.extend(lines)
                self.more.set()
                if not octets:
                    return
        finally:
            os.close(reader)

    def wait_for(self, *words, **options):
        """Wait for a line that contains all of `words` (octets), and return it. Raises Overdue after `limit` seconds."""
        checked = 0
        with gevent.Timeout(options.get('limit', 10), Overdue('no line with %r in %s' % (words, self))):
            while True:
                self.more.clear()
                lines = self.lines[checked:]
                checked += len(lines)
                for line in lines:
                    if all(word in line for word in words):
                        return line
                if self.listener.ready() and checked == len(self.lines):
                    raise Overdue('it ended before a line with %r: %s' % (words, self))
                self.more.wait()

    def stop(self, limit=15):
        """End the program by SIGTERM, and return its exit code. After `limit` seconds, kill it and raise Overdue."""
        try:
            if self.program.poll() is None:
                self.program.terminate()
            with gevent.Timeout(limit, Overdue('it did not end: %s' % self)):
                self.program.wait()
                self.listener.join()
        finally:
            end(self.program)
            self.listener.kill()
        return self.program.returncode

    def __str__(self):
        return '\n' + b'\n'.join(self.lines[-40:]).decode('latin-1')
