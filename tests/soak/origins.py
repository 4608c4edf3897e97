"""The origins of a soak: an HTTP server that also misbehaves, and an echo for tunnels. Loopback only.

The path of a request says what the server does, and ends with a name that finds the exchange in the log of the proxy:
/short/NAME, /long/TENTHS-OF-A-SECOND/NAME, /take/NAME (reads a body), /die/NAME (half an answer), /gone/NAME (none).
"""
from __future__ import absolute_import, division, print_function

import re
import socket
import zlib

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

HOST = '127.0.0.1'
SHORT = b'short and sweet ' * 64
PIECE = b'0123456789abcdef' * 2048      # of a long body: 32 KiB
PAUSE = 0.1                             # seconds between two pieces
IDLE = 60                               # seconds without any octet; then a connection is closed


def checksum(octets, before=0):
    """Return the CRC-32, an int that is the same on every Python. `before`: the CRC-32 of the octets before."""
    return zlib.crc32(octets, before) & 0xffffffff


class Origin(object):
    """Both servers. `web`, `echo`: their ports."""

    def __init__(self):
        self._pool = Pool()
        self._servers = [StreamServer((HOST, 0), self._quietly(serve), spawn=self._pool, backlog=256)
                         for serve in (_serve, _echo)]
        for server in self._servers:
            server.start()
        self.web, self.echo = [server.address[1] for server in self._servers]

    def stop(self):
        """End both and all their connections."""
        for server in self._servers:
            server.close()
        self._pool.kill()

    def _quietly(self, serve):
        def handle(sock, _address):
            sock.settimeout(IDLE)
            try:
                serve(sock)
            except socket.error:
                pass                    # the client has left, as some do on purpose
            finally:
                sock.close()
        return handle


def _serve(sock):
    """Answer the requests of one connection."""
    buffer = b''
    while True:
        head, buffer = _head(sock, buffer)
        if not head:
            return
        task, _, rest = head.split(b' ', 2)[1][1:].partition(b'/')
        if task == b'take':
            count, crc, buffer = _take(sock, head, buffer)
            _answer(sock, b'%d %d' % (count, crc))
        elif task == b'long':
            _send_long(sock, int(rest.partition(b'/')[0]))
        elif task == b'die':
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n' + b'x' * 500)
            return
        elif task == b'gone':
            return
        else:
            _answer(sock, SHORT)


def _answer(sock, body):
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))


def _send_long(sock, times):
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (times * len(PIECE)))
    for _ in range(times):
        sock.sendall(PIECE)
        gevent.sleep(PAUSE)


def _head(sock, buffer):
    while b'\r\n\r\n' not in buffer:
        piece = sock.recv(65536)
        if not piece:
            return b'', b''
        buffer += piece
    head, _, rest = buffer.partition(b'\r\n\r\n')
    return head, rest


def _take(sock, head, buffer):
    """Read a request body. Return (number of octets, their CRC-32, octets after it)."""
    length = re.search(br'(?i)\r\nContent-Length: (\d+)', head)
    if length:
        return _take_sized(sock, int(length.group(1)), buffer, 0, 0)
    count = crc = 0
    while True:
        while b'\r\n' not in buffer:
            buffer += _more(sock)
        line, _, buffer = buffer.partition(b'\r\n')
        size = int(line, 16)
        count, crc, buffer = _take_sized(sock, size, buffer, count, crc)
        while len(buffer) < 2:
            buffer += _more(sock)
        buffer = buffer[2:]
        if not size:
            return count, crc, buffer


def _take_sized(sock, left, buffer, count, crc):
    while left:
        if not buffer:
            buffer = _more(sock)
        piece, buffer = buffer[:left], buffer[left:]
        left, count, crc = left - len(piece), count + len(piece), checksum(piece, crc)
    return count, crc, buffer


def _more(sock):
    piece = sock.recv(65536)
    if not piece:
        raise socket.error('the body ended too early')
    return piece


def _echo(sock):
    """Send back all octets that come."""
    while True:
        piece = sock.recv(65536)
        if not piece:
            sock.shutdown(socket.SHUT_WR)
            return
        sock.sendall(piece)
