"""Accepts connections on one listener, one at a time, and goes on when no file descriptors are left."""
from __future__ import absolute_import, division, print_function

import errno
import socket

import gevent
from gevent.server import StreamServer

from geproxy.compat import accept
from geproxy.net import turns, workers
from geproxy.service import listeners

_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_CLIENT = (errno.EAGAIN, errno.EWOULDBLOCK)      # another process has accepted it first
CROWD, CROWD_SHARED = 32, 4     # connections accepted at once while greenlets wait for their turn


class _NoDescriptor(gevent.GreenletExit):
    """Makes StreamServer pause for a while, without a traceback."""


class Acceptor(StreamServer):
    """A StreamServer that goes on when there are no file descriptors left, and reports that once, not every time."""

    def __init__(self, listener, handle, report_shortage, free_reserve):
        """`listener`: a listening socket; `handle`: a function of (native socket, peer), called in a greenlet for each
        connection; `report_shortage`: called when there are no descriptors left; `free_reserve`: then closes one, and
        returns False if it cannot."""
        StreamServer.__init__(self, listener, handle)
        # Processes that share a listener share its connections evenly only if each takes one at a time.
        self.max_accept = 1
        self._crowd = CROWD if listeners.is_own(listener) else CROWD_SHARED
        self._serve, self._report_shortage, self._free_reserve = handle, report_shortage, free_reserve

    def do_read(self):
        """Accept one connection. Return (native socket, peer), or None if there is none. Called by StreamServer."""
        try:
            return accept(self.socket)
        except socket.error as error:
            if error.args[0] in _NO_CLIENT:
                return None
            if error.args[0] not in _SHORTAGE:
                raise
        self._report_shortage()
        if not self._free_reserve():
            raise _NoDescriptor()
        try:
            return accept(self.socket)          # with the reserve; this client will be told that the proxy is full
        except socket.error as error:
            if error.args[0] in _NO_CLIENT:
                return None
            if error.args[0] not in _SHORTAGE:
                raise
            raise _NoDescriptor()               # a native thread has taken the descriptor

    def do_handle(self, sock, peer):
        """Let a greenlet serve a connection and close it. StreamServer calls this after `do_read`.

        `sock`: a native socket; `peer`: the address of the client, as of accept().
        """
        workers.serve(self._serve_and_close, sock, peer)
        # With one connection in each turn, new clients would wait for seconds behind many costly requests.
        self.max_accept = self._crowd if turns.is_crowded() else 1

    def _serve_and_close(self, sock, peer):
        try:
            self._serve(sock, peer)
        finally:
            sock.close()

    def refuse_new(self):
        """Let the kernel ignore new clients: see listeners.refuse_new. Return True if it does.

        Clients in the middle of connecting go on, so wait a moment before `finish`.
        """
        return hasattr(self, 'socket') and listeners.refuse_new(self.socket)

    def finish(self):
        """Accept the clients that have connected, then close the listener. A close alone would reset them."""
        if not hasattr(self, 'socket'):
            return                              # it is closed already
        try:
            for _ in range(listeners.BACKLOG):
                accepted = self.do_read()
                if not accepted:
                    break
                gevent.spawn(self._serve_and_close, *accepted)      # not workers.serve: only the hub may call that
        except _NoDescriptor:
            pass                                # these clients cannot be accepted
        self.close()
