"""A relay that knows no HTTP, to measure what gevent alone costs. A program of its own, for one origin.

    python bare.py PROXY-PORT ORIGIN-PORT

It has only what every proxy on gevent needs: greenlets that are used again, native sockets with one watcher each, and a
pool of connections to the origin. It has no parsing, no rules, no log and no deadlines. A request is what one read
returns, and a body has 1 KiB. CONNECT is answered and relayed. The difference to geproxy is the price of HTTP and of all
features.
"""
from __future__ import absolute_import, division, print_function

from _socket import socket as NativeSocket
import errno
import os
import socket
import sys

os.environ['GEVENT_TRACK_GREENLET_TREE'] = '0'      # as geproxy has it
import gevent       # noqa: E402
from gevent.hub import Waiter               # noqa: E402
from gevent.server import StreamServer      # noqa: E402

HOST = '127.0.0.1'
SIZE = 65536
SMALL = 1024                    # octets of the body of every answer
_idle = []                      # connections to the origin
_unemployed = []                # Waiters of greenlets that have no client now


class End(object):
    """A socket with its watcher."""
    __slots__ = ('socket', 'reader')

    def __init__(self, sock):
        self.socket = sock
        sock.setblocking(False)
        self.reader = gevent.get_hub().loop.io(sock.fileno(), 1)

    def read(self, other=None):
        """Wait for octets from this End or from `other`. Return (octets, the End that sent them)."""
        waiter, ends = Waiter(), (self, other) if other else (self,)
        for end in ends:
            end.reader.start(waiter.switch, end)
        try:
            first = waiter.get()
        finally:
            for end in ends:
                end.reader.stop()
        return first.socket.recv(SIZE), first

    def close(self):
        """Close the socket."""
        self.reader.stop()
        self.socket.close()


class Relay(StreamServer):
    """The proxy. `port`: to listen on; `origin`: port of the origin."""

    def __init__(self, port, origin):
        StreamServer.__init__(self, (HOST, port), self.work)
        self.max_accept = 1
        self.origin = origin

    def do_read(self):
        """Accept a connection as a native socket. Return (socket, peer), or None."""
        try:
            if hasattr(self.socket, '_accept'):
                fd, peer = self.socket._accept()
                return NativeSocket(self.socket.family, socket.SOCK_STREAM, 0, fd), peer
            return self.socket._sock.accept()
        except socket.error as error:
            if error.args[0] in (errno.EAGAIN, errno.EWOULDBLOCK):
                return None
            raise

    def do_handle(self, sock, _peer):
        """Give a client to a greenlet that has none, or to a new one."""
        if _unemployed:
            _unemployed.pop().switch(sock)
        else:
            gevent.spawn(self.work, sock)

    def work(self, sock):
        """Serve one client after another. Never returns."""
        while True:
            self.serve(sock)
            waiter = Waiter()
            _unemployed.append(waiter)
            sock = waiter.get()

    def serve(self, sock):
        """Serve one client until it closes."""
        client = End(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                data, _client = client.read()
                if not data:
                    break
                if data[:8] == b'CONNECT ':
                    self.tunnel(client)
                    break
                client.socket.send(self.ask(data, client))
        finally:
            client.close()

    def ask(self, request, client):
        """Send a request to the origin. Return its answer, octets."""
        while True:
            origin = _idle.pop() if _idle else self.connect()
            origin.socket.send(request)
            answer = more = origin.read(client)[0]
            while more and len(answer) < answer.find(b'\r\n\r\n') + 4 + SMALL:
                more = origin.read(client)[0]
                answer += more
            if more:
                _idle.append(origin)
                return answer
            origin.close()              # the origin had closed it; try another one

    def tunnel(self, client):
        """Relay octets in both directions until one side closes."""
        origin = self.connect()
        client.socket.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
        data = b' '
        while data:
            data, source = client.read(origin)
            (origin if source is client else client).socket.send(data)
        origin.close()

    def connect(self):
        """Connect to the origin, without gevent: it is on this host, so nothing waits."""
        sock = NativeSocket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((HOST, self.origin))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return End(sock)


if __name__ == '__main__':
    Relay(int(sys.argv[1]), int(sys.argv[2])).serve_forever()
