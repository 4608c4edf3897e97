"""Listening sockets in the file system, for the owner of the process alone; found by name, and gone with the process.

A name that a process left behind is replaced; one that somebody answers under is not touched.
"""
from __future__ import absolute_import, division, print_function

import errno
import fcntl
import glob
import os
import socket
import stat

from geproxy.compat import to_native, to_octets

BACKLOG = 100


class ListenError(Exception):
    """A listener cannot be had; the message says why, and what to do."""


def open_listener(pattern):
    """A socket that listens at the path, in which {pid} stands for our process id. Raises ListenError."""
    path = pattern.replace('{pid}', '%d' % os.getpid())
    if path != pattern:
        _sweep(pattern)
    made = '%s.%d' % (path, os.getpid())
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        close_on_exec(sock)
        _check_free(path)
        # Under another name until it listens: nobody shall take it for one that was left behind.
        _bind(sock, made)
        os.rename(made, path)
    except (socket.error, OSError) as error:
        sock.close()
        why = missing_folder(path) or os.strerror(error.args[0]).lower()
        raise ListenError('cannot listen on unix:%s: %s' % (path, why), error.args[0])
    except ListenError:
        sock.close()
        raise
    return sock


def missing_folder(path):
    """Return a sentence that says that the folder of `path` (native text) does not exist, and what to do; else ''."""
    here = os.path.dirname(path)
    if os.path.isdir(here):
        return ''
    try:
        os.stat(here)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            return ''               # this user may not look
    return 'there is no folder %s: make it, for the user that runs geproxy' % here


def _bind(sock, path):
    _unlink(path)                   # of a process that had our id, long ago
    before = os.umask(0o177)        # it is there for its owner only, from the first moment on
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    sock.listen(BACKLOG)


def path_of(sock):
    """The path that a socket of `open_listener` has."""
    return to_native(to_octets(sock.getsockname())).rpartition('.')[0]      # behind it is what it was made with


def remove(path):
    """Remove the name of a socket that was closed, unless another process has it now."""
    if not answers(path):
        _unlink(path)


def _check_free(path):
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        raise
    if not stat.S_ISSOCK(kind):
        raise ListenError('cannot listen on unix:%s: it is there, and no socket' % path, 0)
    if answers(path):
        raise ListenError('cannot listen on unix:%s: another process does; with several, write {pid} into the path, '
                          'as in unix:/run/geproxy/{pid}.sock' % path, errno.EADDRINUSE)


def answers(path):
    """True if somebody listens at that path."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(0.0)
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)     # EAGAIN: it is only busy
    finally:
        probe.close()


def matches(pattern):
    """The sockets whose names fit a path with {pid} in it, or a pattern as of the shell; in a folder, all of it."""
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, '*')
    return [path for path in sorted(glob.glob(pattern.replace('{pid}', '[0-9]*'))) if _is_socket(path)]


def _is_socket(path):
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False                # gone meanwhile


def _sweep(pattern):
    """Remove what processes left behind that were killed."""
    before, _, after = pattern.partition('{pid}')
    for path in matches(pattern):
        if path[len(before):len(path) - len(after)].isdigit() and not answers(path):
            _unlink(path)


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass                        # gone already, or not ours to remove: then binding says so


def close_on_exec(sock):
    """What we start must not hold our sockets; Python 2 does not see to that."""
    fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
