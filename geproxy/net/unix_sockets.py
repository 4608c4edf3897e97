"""Listening sockets in the file system, for the owner of the process only. Their names end with the process.

A socket that a dead process has left is replaced. A socket on which another process listens is not touched.
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
    """A listener cannot be opened. The message says why, and what to do."""


def open_listener(pattern):
    """Return a socket that listens at a path. Raises ListenError.

    `pattern`: the path as native text, in which {pid} means our process id.
    """
    path = pattern.replace('{pid}', '%d' % os.getpid())
    if path != pattern:
        _sweep(pattern)
    made = '%s.%d' % (path, os.getpid())
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        close_on_exec(sock)
        _check_free(path)
        # It has another name until it listens, so that no process takes it for one that was left behind.
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
            return ''               # this user has no right to look
    return 'there is no folder %s: make it, for the user that runs geproxy' % here


def _bind(sock, path):
    _unlink(path)                   # left by an earlier process with the same id
    before = os.umask(0o177)        # for its owner only, from the first moment on
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    sock.listen(BACKLOG)


def path_of(sock):
    """Return the path of `sock`, a socket of `open_listener`, as native text."""
    return to_native(to_octets(sock.getsockname())).rpartition('.')[0]      # without the ending of its first name


def remove(path):
    """Remove the name of a closed socket, unless another process listens there now. `path`: native text."""
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
        raise ListenError('cannot listen on unix:%s: it exists and is no socket: remove it or choose another path' % (
            path,), 0)
    if answers(path):
        raise ListenError('cannot listen on unix:%s: another process listens there; with several, write {pid} into '
                          'the path, as in unix:/run/geproxy/{pid}.sock' % path, errno.EADDRINUSE)


def answers(path):
    """Return True if a process listens at a path, native text."""
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(0.0)
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)     # EAGAIN: the process is busy
    finally:
        probe.close()


def matches(pattern):
    """Return the paths of sockets that match a pattern, a sorted list of native texts.

    `pattern`: a path with {pid} in it, a pattern as in a shell, or a folder, which means all sockets in it.
    """
    if os.path.isdir(pattern):
        pattern = os.path.join(pattern, '*')
    return [path for path in sorted(glob.glob(pattern.replace('{pid}', '[0-9]*'))) if _is_socket(path)]


def _is_socket(path):
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False                # gone meanwhile


def _sweep(pattern):
    """Remove the sockets of dead processes."""
    before, _, after = pattern.partition('{pid}')
    for path in matches(pattern):
        if path[len(before):len(path) - len(after)].isdigit() and not answers(path):
            _unlink(path)


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass                        # it is gone already, or we may not remove it: then bind() fails


def close_on_exec(sock):
    """Make sure that programs which we start do not inherit `sock`, a socket. Python 2 does not do that itself."""
    fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.fcntl(sock.fileno(), fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
