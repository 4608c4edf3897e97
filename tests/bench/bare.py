"""What gevent itself costs: a relay that understands nothing. A program of its own, for one origin.

    python bare.py PROXY-PORT ORIGIN-PORT

A greenlet for each client, used again, native sockets, one watcher for each, a pool of connections to the origin: what
a proxy on gevent cannot do without. No parsing, no rules, no log, no deadline; a request is what one read gives, a body has 1 KiB.
CONNECT is answered and relayed. Whatever geproxy costs beyond this, it does for HTTP and its users.
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
_unemployed = []                # what greenlets wait for that have no client


class End(object):
    """A socket with its watcher."""
    __slots__ = ('socket', 'reader')

    def __init__(self, sock):
        self.socket = sock
        sock.setblocking(False)
        self.reader = gevent.get_hub().loop.io(sock.fileno(), 1)

    def read(self, other=None):
        """Wait for octets, of this or the other -> (octets, whose)."""
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
        """Close it."""
        self.reader.stop()
        self.socket.close()


class Relay(StreamServer):
    """The proxy."""

    def __init__(self, port, origin):
        StreamServer.__init__(self, (HOST, port), self.work)
        self.max_accept = 1
        self.origin = origin

    def do_read(self):
        """A native socket."""
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
        """Have a client served."""
        if _unemployed:
            _unemployed.pop().switch(sock)
        else:
            gevent.spawn(self.work, sock)

    def work(self, sock):
        """One client after the other."""
        while True:
            self.serve(sock)
            waiter = Waiter()
            _unemployed.append(waiter)
            sock = waiter.get()

    def serve(self, sock):
        """One client."""
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
        """The origin's answer."""
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
            origin.close()              # it had ended before

    def tunnel(self, client):
        """Octets both ways, until one has ended."""
        origin = self.connect()
        client.socket.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
        data = b' '
        while data:
            data, source = client.read(origin)
            (origin if source is client else client).socket.send(data)
        origin.close()

    def connect(self):
        """A connection to the origin. It is on this very host: that takes no time."""
        sock = NativeSocket(socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((HOST, self.origin))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return End(sock)


if __name__ == '__main__':
    Relay(int(sys.argv[1]), int(sys.argv[2])).serve_forever()
