"""A listener that takes connections: one at a time, without file descriptors too, and to the last one that waits."""
from __future__ import absolute_import, division, print_function

import errno
import socket

import gevent
from gevent.server import StreamServer

from geproxy.compat import accept
from geproxy.net import turns, workers
from geproxy.service import listeners

_STARVED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NOBODY = (errno.EAGAIN, errno.EWOULDBLOCK)     # another process was quicker
CROWD, CROWD_SHARED = 32, 4     # connections that are taken at once while greenlets wait for their turn


class _NoDescriptor(gevent.GreenletExit):
    """Makes StreamServer pause, without a traceback."""


class Acceptor(StreamServer):
    """A StreamServer that survives the end of file descriptors, and says so once instead of every time."""

    def __init__(self, listener, handle, starved, take_reserve):
        """`handle`: a function of (native socket, peer), for a greenlet; `starved`: called when there are no
        descriptors left; `take_reserve`: frees one, if it can."""
        StreamServer.__init__(self, listener, handle)
        # Processes that share a listener share its connections evenly only if each takes one at a time.
        self.max_accept = 1
        self._crowd = CROWD if listeners.is_own(listener) else CROWD_SHARED
        self._serve, self._starved, self._take_reserve = handle, starved, take_reserve

    def do_read(self):
        """Accept one connection -> (a native socket, peer), or None."""
        try:
            return accept(self.socket)
        except socket.error as error:
            if error.args[0] in _NOBODY:
                return None
            if error.args[0] not in _STARVED:
                raise
        self._starved()
        if not self._take_reserve():
            raise _NoDescriptor()
        try:
            return accept(self.socket)          # with the reserve: it will be told that we are full
        except socket.error as error:
            if error.args[0] in _NOBODY:
                return None
            if error.args[0] not in _STARVED:
                raise
            raise _NoDescriptor()               # a thread was quicker

    def do_handle(self, sock, peer):
        """Have a connection served, and closed, by a greenlet."""
        workers.serve(self._serve_and_close, sock, peer)
        # With one connection in each turn, new clients would wait for seconds behind a crowd of costly requests.
        self.max_accept = self._crowd if turns.is_crowded() else 1

    def _serve_and_close(self, sock, peer):
        try:
            self._serve(sock, peer)
        finally:
            sock.close()

    def hush(self):
        """See listeners.hush; until `finish`, which had better wait for what has begun."""
        return hasattr(self, 'socket') and listeners.hush(self.socket)

    def finish(self):
        """Accept who waits already, whom closing would reset without a word; then close."""
        if not hasattr(self, 'socket'):
            return                              # closed before
        try:
            for _ in range(listeners.BACKLOG):
                accepted = self.do_read()
                if not accepted:
                    break
                # By a greenlet that has begun once others have had their turn: only the hub may use `workers`.
                gevent.spawn(self._serve_and_close, *accepted)
        except _NoDescriptor:
            pass                                # nothing more can be done for them
        self.close()
