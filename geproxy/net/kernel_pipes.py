"""Pipes in the kernel: with splice(2), on Linux, octets go through them from socket to socket without being copied.

This module has the pipes; exchange.zero_copy decides when to use one. A pipe is taken for octets that are there and
given back when they are sent, so a few pipes serve all connections. `Pool.take` returns none if all are in use, if file
descriptors are short, or on a system without splice(2), which shows at the first attempt. Raises the errors of the
system as they are.
"""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import functools
import os

MOST = 12                   # pipes; each takes two file descriptors of descriptors.SPARE
PAGE = 4096                 # octets that a pipe takes all at once or not at all (PIPE_BUF)
SIZE = 1024 * 1024          # octets that a pipe can hold; costs a third less per octet than 256 KiB (3.13, 2026)
LEAST = 64 * 1024           # octets: a smaller pipe is not worth it; see pipe-user-pages-soft in pipe(7)
_SET_SIZE, _GET_SIZE = 1031, 1032       # F_SETPIPE_SZ and F_GETPIPE_SZ of fcntl(2), which Python has from 3.10
_FLAGS = 1 | 2              # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
_REFUSALS = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)     # an old kernel, a filter of system calls


def find():
    """Return splice(2) as a function, or None if this system has none.

    The function takes the file descriptors of source and sink and a number of octets, returns how many octets it has
    moved, and raises OSError.
    """
    native = getattr(os, 'splice', None)        # Python 3.10 and later
    if native is not None:
        return functools.partial(native, flags=_FLAGS)
    try:
        import ctypes
        splice = ctypes.CDLL(None, use_errno=True).splice
    except (ImportError, OSError, AttributeError):
        return None                     # this Python has no ctypes, or this is not Linux
    offset = ctypes.POINTER(ctypes.c_int64)
    splice.argtypes = [ctypes.c_int, offset, ctypes.c_int, offset, ctypes.c_size_t, ctypes.c_uint]
    splice.restype = ctypes.c_ssize_t

    def call(source, sink, most):
        moved = splice(source, None, sink, None, most, _FLAGS)
        if moved < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return moved
    return call


class Pipe(object):
    """One pipe, with octets on their way. Never waits."""
    __slots__ = ('held', '_splice', '_reading', '_writing')

    def __init__(self, splice):
        """Open a pipe. Raises OSError, on Python 2 also IOError.

        `splice`: a function as returned by `find`.
        """
        self.held = 0                   # octets that are in it
        self._splice = splice
        self._reading, self._writing = os.pipe()
        try:
            for descriptor in (self._reading, self._writing):
                fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_NONBLOCK)
            try:
                fcntl.fcntl(self._writing, _SET_SIZE, SIZE)
            except (IOError, OSError):
                if fcntl.fcntl(self._writing, _GET_SIZE) < LEAST:
                    raise
        except (IOError, OSError):
            self.close()
            raise

    def fill(self, source, most):
        """Move octets from a file descriptor into the pipe. Return how many; 0 at the end. Raises OSError.

        `source`: the file descriptor; `most`: octets.
        """
        moved = self._splice(source, self._writing, most)
        self.held += moved
        return moved

    def drain(self, sink):
        """Move as many octets as possible into the file descriptor `sink`. Return how many. Raises OSError."""
        moved = self._splice(self._reading, sink, self.held)
        self.held -= moved
        return moved

    def pour(self, other, most):
        """Move octets into another pipe. Return how many; 0 if that one is full.

        `other`: a Pipe; `most`: octets, at least 1. This pipe must not be empty.
        """
        try:
            moved = self._splice(self._reading, other._writing, most)
        except OSError:
            if other.held:
                return 0                # whatever the error was, the caller tries again when `other` is empty
            moved = os.write(other._writing, os.read(self._reading, min(most, PAGE)))
        self.held -= moved
        other.held += moved
        return moved

    def pour_run(self, other, left, size, line):
        """Move pieces that have the same line between them into another pipe, without these lines.

        All in one function, because a function call for each step would cost more than the system calls. Ends when the
        other pipe is full, when this one does not hold a whole piece, or when something else stands where the line
        should be. Leaves errors of the system to `pour`.

        `other`: a Pipe; `left`: octets of the first piece; `size`: octets of each further piece; `line`: the octets
        between two. Return (how many octets of the last piece are still to come, what was read instead of the line).
        """
        splice, read, source, sink, length = self._splice, os.read, self._reading, other._writing, len(line)
        held, poured, data = self.held, 0, b''
        while left <= held:
            try:
                moved = splice(source, sink, left)
            except OSError:
                break
            held -= moved
            poured += moved
            left -= moved
            if left or held < length:
                break
            data = read(source, length)
            held -= len(data)
            if data != line:
                break
            left, data = size, b''
        self.held = held
        other.held += poured
        return left, data

    def write(self, octets):
        """Write up to PAGE octets into the pipe. Return False if there is no room."""
        try:
            self.held += os.write(self._writing, octets)
        except OSError:
            return False
        return True

    def read(self, most):
        """Read and return up to `most` octets. The pipe must not be empty."""
        octets = os.read(self._reading, most)
        self.held -= len(octets)
        return octets

    def read_all(self):
        """Read and return all octets: for when the system refuses to splice half-way."""
        pieces = []
        while self.held:
            pieces.append(self.read(self.held))
        return b''.join(pieces)

    def close(self):
        """Close the pipe. Octets in it are lost."""
        os.close(self._reading)
        os.close(self._writing)


class Pool(object):
    """The pipes of the process. It opens them as they are needed, and keeps those that are empty."""

    def __init__(self, splice, most=MOST):
        """Make a pool without pipes.

        `splice`: a function as returned by `find`, or None; `most`: how many pipes may be open at once.
        """
        self._splice, self._most = splice, most
        self._free = []
        self._count = 0                 # of all open pipes

    def take(self):
        """Return an empty Pipe, or None if there is none. The caller gives it back."""
        if self._free:
            return self._free.pop()
        if self._splice is None or self._count >= self._most:
            return None
        try:
            pipe = Pipe(self._splice)
        except (IOError, OSError):
            return None                 # no descriptors left, or no memory
        self._count += 1
        return pipe

    def give_back(self, pipe):
        """Take `pipe`, a Pipe, back. One that is not empty is closed, and its octets are lost."""
        if pipe.held or self._splice is None:
            self._count -= 1
            pipe.close()
        else:
            self._free.append(pipe)

    def refuses(self, error):
        """Return True if an error of the system means that it does not splice. Then `take` returns no more pipes.

        `error`: an OSError or IOError.
        """
        if error.args[0] not in _REFUSALS:
            return False
        self._splice = None
        while self._free:
            self.give_back(self._free.pop())
        return True


pool = Pool(find())
