"""Pipes through which octets go from socket to socket uncopied: splice(2), on Linux. Elsewhere there are none.

A pipe is taken for octets that are there, and given back when they have been sent, so that a few serve all flows, and
a connection that is idle has none. Who gets none copies: the others are at work, file descriptors are short, or this
system does not splice, which shows at the first attempt. Knows no errors of ours: what the system raises goes on.
"""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import functools
import os

MOST = 12                   # pipes; two file descriptors each, of descriptors.SPARE
PAGE = 4096                 # octets that a pipe takes whole or not at all (PIPE_BUF)
SIZE = 1024 * 1024          # octets for which there is room in one; a third of the cost of 256 KiB less (3.13, 2026)
LEAST = 64 * 1024           # octets; a user who has many pipes gets smaller ones (pipe-user-pages-soft): not worth it
_SET_SIZE, _GET_SIZE = 1031, 1032       # F_SETPIPE_SZ and F_GETPIPE_SZ of fcntl(2), which Python has from 3.10
_FLAGS = 1 | 2              # SPLICE_F_MOVE | SPLICE_F_NONBLOCK
_REFUSALS = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)     # an old kernel, a filter of system calls


def find():
    """splice(2) as a function of (file descriptor, file descriptor, octets) that raises OSError; None without one."""
    native = getattr(os, 'splice', None)        # from Python 3.10
    if native is not None:
        return functools.partial(native, flags=_FLAGS)
    try:
        import ctypes
        splice = ctypes.CDLL(None, use_errno=True).splice
    except (ImportError, OSError, AttributeError):
        return None                     # built without ctypes; not Linux
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
    """Octets on their way. Never waits."""
    __slots__ = ('held', '_splice', '_reading', '_writing')

    def __init__(self, splice):
        """`splice`: see `find`. Raises OSError, on Python 2 also IOError."""
        self.held = 0                   # octets in it
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
        """Take up to `most` octets out of the file descriptor `source` -> how many; 0 at its end. Raises OSError."""
        moved = self._splice(source, self._writing, most)
        self.held += moved
        return moved

    def drain(self, sink):
        """Put as much as goes at once into the file descriptor `sink` -> how many octets. Raises OSError."""
        moved = self._splice(self._reading, sink, self.held)
        self.held -= moved
        return moved

    def pour(self, other, most):
        """Move up to `most` octets, of which there must be some, into another pipe -> how many; 0 if that is full."""
        try:
            moved = self._splice(self._reading, other._writing, most)
        except OSError:
            if other.held:
                return 0                # whatever it was: it is tried again once that is empty
            moved = os.write(other._writing, os.read(self._reading, min(most, PAGE)))
        self.held -= moved
        other.held += moved
        return moved

    def pour_run(self, other, left, size, line):
        """Move pieces of octets that have the same line between them into another pipe, without these lines.

        One function for all of them: a call for each step would cost more than the system does. Ends as soon as the
        other pipe is full, this one does not hold a whole piece, or something else stands in the place of the line.

        `left`: octets of the first piece; `size`: of each further one; `line`: octets. Returns (octets that are still
        to come of the last piece, what was read instead of the line). Leaves errors of the system to `pour`.
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
        """Put in up to PAGE octets; false if it is too full."""
        try:
            self.held += os.write(self._writing, octets)
        except OSError:
            return False
        return True

    def read(self, most):
        """Take out up to `most` octets; there must be some."""
        octets = os.read(self._reading, most)
        self.held -= len(octets)
        return octets

    def read_all(self):
        """Take all out of it, as octets: for when splicing is refused half-way."""
        pieces = []
        while self.held:
            pieces.append(self.read(self.held))
        return b''.join(pieces)

    def close(self):
        """Close it, with all that is in it."""
        os.close(self._reading)
        os.close(self._writing)


class Pool(object):
    """All pipes of the process."""

    def __init__(self, splice, most=MOST):
        """`splice`: see `find`; `most`: pipes at once."""
        self._splice, self._most = splice, most
        self._free = []
        self._count = 0                 # of all that are open

    def take(self):
        """An empty Pipe, for whoever gives it back; None if there is none."""
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
        """The end of what `take` began. What is still in the pipe goes nowhere."""
        if pipe.held or self._splice is None:
            self._count -= 1
            pipe.close()
        else:
            self._free.append(pipe)

    def refuses(self, error):
        """True if that error of the system says that there is no splicing here: nobody gets a pipe from then on."""
        if error.args[0] not in _REFUSALS:
            return False
        self._splice = None
        while self._free:
            self.give_back(self._free.pop())
        return True


pool = Pool(find())
