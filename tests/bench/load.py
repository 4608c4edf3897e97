"""Clients for what wrk cannot do: new connections, tunnels, large bodies, idle connections. A program of its own.

    python load.py KIND PROXY-PORT ORIGIN-PORT CLIENTS SECONDS OCTETS

KIND may begin with a way to the proxy: tls:connect is what connect is, inside TLS; socks:tunnel opens its tunnel by SOCKS 5.

It uses plain blocking sockets, one process for each client, because it shares the processors with the proxy. It prints
one line of JSON: exchanges done, octets moved, seconds, failures, and why the first one failed.
"""
from __future__ import absolute_import, division, print_function

import itertools
import json
import os
import resource
import socket
import ssl
import struct
import sys
import timeit

HOST = '127.0.0.1'
PIECE = 256 * 1024
SILENCE = 20                    # seconds without any octet; then the exchange has failed
SMALL = 1024                    # octets of the body of /1k
FIELDS = (b'User-Agent: bench/1.0 (X11; Linux x86_64)\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n'
          b'Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n')
clock = timeit.default_timer


class Broken(Exception):
    """The proxy or the origin did something wrong."""


class Client(object):
    """The client of this process. `proxy`, `origin`: ports; `octets`: of a large body; `way`: 'tls', 'socks' or ''."""

    def __init__(self, proxy, origin, octets, way=''):
        self.proxy, self.origin, self.octets, self.way = (HOST, proxy), origin, octets, way
        # No peer has a certificate that others trust. Each handshake is a full one: sessions are not used again.
        self.context = ssl.SSLContext(ssl.PROTOCOL_SSLv23) if way == 'tls' else None
        self.moved = 0
        self.scratch = bytearray(PIECE)
        self.authority = b'%s:%d' % (HOST.encode('ascii'), origin)
        self.small = self.request(b'GET', b'/1k')
        self.inner = b'GET /1k HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (self.authority, FIELDS)
        self.open = b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (self.authority, self.authority)

    def request(self, method, path, more=b''):
        """Return the head of a request in absolute-form. All octets."""
        return b'%s http://%s%s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n' % (
            method, self.authority, path, self.authority, FIELDS, more)

    def connect(self):
        """Connect to the proxy. Return the socket."""
        sock = socket.create_connection(self.proxy, SILENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(sock) if self.context else sock

    def head(self, sock, status):
        """Read a response head. Return the octets after it. `status`: expected, octets. Raises Broken."""
        data = b''
        while b'\r\n\r\n' not in data:
            more = sock.recv(65536)
            if not more:
                raise Broken('closed in the middle of a head: %r' % data[:60])
            data += more
        if data[9:12] != status:
            raise Broken('expected status %r, got %r' % (status, data[:60]))
        return data.partition(b'\r\n\r\n')[2]

    def body(self, sock, left, deadline):
        """Read `left` octets. Return false if the deadline (of clock()) came first. Raises Broken."""
        while left > 0:
            count = sock.recv_into(self.scratch, min(PIECE, left))
            if not count:
                raise Broken('closed %d octets before the end' % left)
            left -= count
            self.moved += count
            if clock() > deadline:
                return False
        return True

    def tunnel(self):
        """Open a tunnel to the origin. Return the socket. Raises Broken."""
        sock = self.connect()
        if self.way == 'socks':
            return self._by_socks(sock)
        sock.sendall(self.open)
        if self.head(sock, b'200'):
            raise Broken('octets behind the response to CONNECT')
        return sock

    def _by_socks(self, sock):
        """Ask for the origin by SOCKS 5, without a login (RFC 1928). Return the socket. Raises Broken."""
        sock.sendall(b'\x05\x01\x00')
        method = sock.recv(2)
        sock.sendall(b'\x05\x01\x00\x01' + socket.inet_aton(HOST) + struct.pack('!H', self.origin))
        reply = sock.recv(10)
        if method != b'\x05\x00' or len(reply) != 10 or reply[:2] != b'\x05\x00':
            raise Broken('SOCKS replies %r and %r' % (method, reply))
        return sock

    # --- one exchange of each kind

    def get(self, _deadline):
        """Do one GET on a new connection."""
        sock = self.connect()
        sock.sendall(self.small)
        self.body(sock, SMALL - len(self.head(sock, b'200')), float('inf'))
        sock.close()

    def through(self, _deadline):
        """Do one GET through a new tunnel."""
        sock = self.tunnel()
        sock.sendall(self.inner)
        self.body(sock, SMALL - len(self.head(sock, b'200')), float('inf'))
        sock.close()

    def download(self, deadline):
        """Read a large body."""
        sock = self.connect()
        self._large(sock, self.request(b'GET', b'/large'), deadline)

    def pipe(self, deadline):
        """Read a large body through a tunnel."""
        sock = self.tunnel()
        self._large(sock, b'GET /large HTTP/1.1\r\nHost: %s\r\n\r\n' % self.authority, deadline)

    def _large(self, sock, request, deadline):
        sock.sendall(request)
        early = len(self.head(sock, b'200'))
        self.moved += early
        self.body(sock, self.octets - early, deadline)
        sock.close()

    def upload(self, deadline):
        """Send a large request body with Content-Length."""
        piece = memoryview(bytearray(PIECE))
        head = self.request(b'PUT', b'/sink', b'Content-Length: %d\r\n' % self.octets)
        self._send(head, piece, self.octets // PIECE, b'', deadline)

    def chunked(self, deadline):
        """Send a large request body in chunks of 16 KiB."""
        size = 16384
        chunk = b'%x\r\n%s\r\n' % (size, bytes(bytearray(size)))
        head = self.request(b'PUT', b'/sink', b'Transfer-Encoding: chunked\r\n')
        self._send(head, memoryview(chunk * (PIECE // size)), self.octets // PIECE, b'0\r\n\r\n', deadline)

    def _send(self, head, piece, times, end, deadline):
        sock = self.connect()
        sock.sendall(head)
        for _ in range(times):
            sock.sendall(piece)
            self.moved += PIECE
            if clock() > deadline:
                break
        else:
            sock.sendall(end)
            self.head(sock, b'200')
        sock.close()


# {kind: (method of Client, true if it is done only once)}
KINDS = {'get': (Client.get, False), 'connect': (Client.through, False), 'body': (Client.download, True),
         'tunnel': (Client.pipe, True), 'upload': (Client.upload, True), 'chunked': (Client.chunked, True)}


def work(client, kind, seconds):
    """Let one client work for some seconds. Return what it did, as a dictionary."""
    exchange, once = KINDS[kind]
    done, failed, why = 0, 0, ''
    began = clock()
    deadline = began + seconds
    while clock() < deadline:
        try:
            exchange(client, deadline)
            done += 1
        except (socket.error, Broken) as error:
            failed, why = failed + 1, why or '%s: %s' % (type(error).__name__, error)
        if once or failed > 20:
            break
    return {'done': done, 'octets': client.moved, 'failed': failed, 'why': why, 'seconds': clock() - began}


def fork(count, task):
    """Run `task` in `count` processes. Return the list of their results."""
    pipes = []
    for _ in range(count):
        reading, writing = os.pipe()
        if not os.fork():
            os.close(reading)
            with os.fdopen(writing, 'w') as out:
                out.write(json.dumps(task()))
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
    results = []
    for reading in pipes:
        with os.fdopen(reading) as opened:
            results.append(json.loads(opened.read()))
    for _ in pipes:
        os.wait()
    return results


def total(results):
    """Return the sum of the results of all clients."""
    summed = dict((name, sum(result[name] for result in results)) for name in ('done', 'octets', 'failed'))
    summed['why'] = next((result['why'] for result in results if result['why']), '')
    summed['seconds'] = max(result['seconds'] for result in results)
    return summed


def idle(client, kind, count):
    """Open `count` connections with one exchange on each, report them, and keep them until standard input ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kept, failed, why = [], 0, ''
    for _ in range(count):
        try:
            sock = client.tunnel() if kind == 'idle-tunnels' else client.connect()
            sock.sendall(client.inner if kind == 'idle-tunnels' else client.small)
            client.body(sock, SMALL - len(client.head(sock, b'200')), float('inf'))
            kept.append(sock)
        except (socket.error, Broken) as error:
            failed, why = failed + 1, why or str(error)
            if failed > 5:
                break
    say({'done': len(kept), 'octets': client.moved, 'failed': failed, 'why': why, 'seconds': 0})
    sys.stdin.read(1)
    lost = 0
    for sock in kept:
        sock.setblocking(False)
        try:
            lost += not sock.recv(1)
        except socket.error:
            pass                        # nothing to read: it is still open
    say({'lost': lost})


def hosts(client, count, seconds):
    """Send GETs to `count` hosts in turn on one connection. Return what was done, as a dictionary."""
    numbers = itertools.cycle(range(count))
    done, failed, why = 0, 0, ''
    sock = client.connect()
    began = clock()
    while clock() < began + seconds or done < count:
        number = next(numbers)
        client.authority = b'127.1.%d.%d:%d' % (number // 250, number % 250 + 1, client.origin)
        try:
            sock.sendall(client.request(b'GET', b'/1k'))
            client.body(sock, SMALL - len(client.head(sock, b'200')), float('inf'))
            done += 1
        except (socket.error, Broken) as error:
            failed, why = failed + 1, why or str(error)
            if failed > 5:
                break
            sock = client.connect()
    return {'done': done, 'octets': 0, 'failed': failed, 'why': why, 'seconds': clock() - began}


def say(what):
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(what) + '\n')
    sys.stdout.flush()


def main(kind, proxy, origin, clients, seconds, octets):
    """Run the command line. All arguments are native texts."""
    way, _, kind = kind.rpartition(':')
    client = Client(int(proxy), int(origin), int(octets), way)
    if kind.startswith('idle-'):
        idle(client, kind, int(clients))
    elif kind == 'hosts':
        say(hosts(client, int(clients), float(seconds)))
    else:
        say(total(fork(int(clients), lambda: work(client, kind, float(seconds)))))


if __name__ == '__main__':
    main(*sys.argv[1:])
