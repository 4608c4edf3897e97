"""The attackers of tests/soak/attack.py: hostile clients, and a hostile origin for some of them. Loopback only.

Each kind is a row of KINDS: a name, how many attack at the same time, their addresses, and a function of (socket,
Target) that makes one attack on one connection. When the proxy ends the connection, the attacker comes again after a
short pause. Each attacker has an address of its own in 127.0.0.0/8, so that a limit for one client does not limit
another. So Linux only.
"""
from __future__ import absolute_import, division, print_function

import base64
import collections
import itertools
import os
import socket

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

import encrypted

HOST = '127.0.0.1'
DENIED = b'127.66.0.1'              # the rules of attack.py deny it
STRANGERS = '127.200.%d.%d'         # not in [access] clients
MEMBERS = '127.7.%d.%d'             # in [access] clients
PAUSE = 0.2                         # seconds until an attacker comes again after its connection has ended
SILENCE = 60                        # seconds without an octet
TINY = b'1\r\nx\r\n2\r\nyy\r\n' * 4000
UNEVEN = (b'3e8\r\n' + b'x' * 1000 + b'\r\n3e9\r\n' + b'y' * 1001 + b'\r\n') * 30
LINES = b'a:\r\n' * 16300           # of a head of 64 KB
LETTERS = b'x' * 65536
FLIGHT = encrypted.first_flight()

Target = collections.namedtuple('Target', 'proxy origin')       # (host, port) of the proxy; port of the hostile origin
_numbers = itertools.count(1)


class Origin(object):
    """A hostile HTTP origin. The path of a request says what it does; see _ANSWERS."""

    def __init__(self):
        self._pool = Pool()
        self._server = StreamServer((HOST, 0), self._serve, spawn=self._pool, backlog=512)
        self._server.start()
        self.port = self._server.address[1]

    def stop(self):
        """End it and all its connections."""
        self._server.close()
        self._pool.kill()

    def _serve(self, sock, _address):
        sock.settimeout(SILENCE)
        try:
            head = b''
            while b'\r\n\r\n' not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            _ANSWERS[head.split(b' ', 2)[1].strip(b'/')](sock)
        except socket.error:
            pass                        # the proxy has ended the connection, as it may
        finally:
            sock.close()


def _forever(head, piece):
    def answer(sock):
        sock.sendall(head)
        while True:
            sock.sendall(piece)
    return answer


def _swallow(sock):
    while sock.recv(262144):
        pass


_CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
_ANSWERS = {
    b'tiny': _forever(_CHUNKED, TINY),
    b'uneven': _forever(_CHUNKED, UNEVEN),
    b'big': _forever(b'HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n', LETTERS),
    b'interim': _forever(b'', b'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n' * 50),
    b'lines': lambda sock: sock.sendall(b'HTTP/1.1 200 OK\r\n' + LINES + b'\r\n'),
    b'sink': _swallow,
}


# --- what one connection of each kind does ---------------------------------------------------------------------------

def _get(target, path, more=b''):
    return b'GET http://%s:%d/%s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (HOST.encode('ascii'), target.origin, path, more)


def _read(sock, _target):
    """Read until the other side closes."""
    while sock.recv(262144):
        pass


def download(path):
    """Return an attack: ask the hostile origin for `path`, and read the answer as fast as possible."""
    def attack(sock, target):
        sock.sendall(_get(target, path))
        _read(sock, target)
    return attack


def upload(sock, target):
    """Send an endless request body in chunks of one and two octets."""
    sock.sendall(b'POST http://%s:%d/sink HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' % (
        HOST.encode('ascii'), target.origin))
    while True:
        sock.sendall(TINY)


def empty_lines(sock, _target):
    """Send nothing but empty lines."""
    while True:
        sock.sendall(b'\r\n' * 30000)


def refused_upload(sock, _target):
    """Send an endless body to a host that the rules deny."""
    sock.sendall(b'POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n' % DENIED)
    while True:
        sock.sendall(LETTERS)


def silence(sock, target):
    """Send nothing at all."""
    _read(sock, target)


def slow_reader(sock, target):
    """Ask for a large body, and read one octet per second."""
    sock.sendall(_get(target, b'big'))
    while sock.recv(1):
        gevent.sleep(1)


def head_flood(sock, target):
    """Send a head with as many lines as fit."""
    sock.sendall(b'GET http://%s/ HTTP/1.1\r\nHost: x\r\n%s\r\n' % (DENIED, LINES))
    _read(sock, target)


def trickle(sock, _target):
    """Send a large head octet by octet."""
    sock.sendall(b'GET http://%s/ HTTP/1.1\r\nHost: x\r\n' % DENIED)
    while True:
        sock.sendall(b'a')
        gevent.sleep(0.001)


def pipeline(sock, target):
    """Send a thousand requests at once. The proxy answers all of them itself."""
    sock.sendall(b'OPTIONS http://%s/ HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n' % HOST.encode('ascii') * 1000)
    _read(sock, target)


def guess(sock, target):
    """Try a wrong password."""
    word = base64.b64encode(b'joe:%s' % base64.b64encode(os.urandom(9)))
    sock.sendall(b'GET http://%s/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nProxy-Authorization: Basic %s\r\n\r\n' % (
        DENIED, word))
    _read(sock, target)


def silent_name(sock, target):
    """Ask for a name that no name server answers for."""
    sock.sendall(b'GET http://hangs-%d.test/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' % next(_numbers))
    _read(sock, target)


def handshake(sock, _target):
    """Begin TLS, which costs the proxy a signature, and leave. The octets are always the same, so they cost nothing here.
    """
    sock.sendall(FLIGHT)
    sock.recv(1)


def half_handshake(sock, _target):
    """Begin TLS, and send the rest octet by octet."""
    sock.sendall(FLIGHT[:60])
    while True:
        gevent.sleep(1)
        sock.sendall(b'x')


Kind = collections.namedtuple('Kind', 'name count addresses attack')
KINDS = [Kind(*row) for row in (
    ('tiny chunks up', 3, MEMBERS, upload),
    ('tiny chunks down', 4, MEMBERS, download(b'tiny')),
    ('uneven chunks down', 3, MEMBERS, download(b'uneven')),
    ('interim responses', 2, MEMBERS, download(b'interim')),
    ('response heads', 2, MEMBERS, download(b'lines')),
    ('empty lines', 3, MEMBERS, empty_lines),
    ('refused uploads', 3, MEMBERS, refused_upload),
    ('strangers', 240, STRANGERS, silence),
    ('slow readers', 50, MEMBERS, slow_reader),
    ('head floods', 3, MEMBERS, head_flood),
    ('trickled heads', 3, MEMBERS, trickle),
    ('pipelines', 2, MEMBERS, pipeline),
    ('guessers', 8, MEMBERS, guess),
    ('silent names', 9, MEMBERS, silent_name),
    ('TLS handshakes', 30, MEMBERS, handshake),
    ('half handshakes', 30, MEMBERS, half_handshake),
)]


def attack(target, names, seconds):
    """Let the kinds with these names attack for so many seconds. Return {name: number of connections}."""
    made = collections.Counter()
    greenlets = [gevent.spawn(_again_and_again, kind, kind.addresses % (number, index + 1), target, made)
                 for number, kind in enumerate(KINDS) if kind.name in names for index in range(kind.count)]
    gevent.sleep(seconds)
    gevent.killall(greenlets)
    return made


def _again_and_again(kind, address, target, made):
    while True:
        try:
            sock = socket.create_connection(target.proxy, SILENCE, (address, 0))
        except socket.error:
            gevent.sleep(PAUSE)         # the proxy accepts no more now
            continue
        made[kind.name] += 1
        try:
            kind.attack(sock, target)
        except socket.error:
            pass                        # the proxy has ended the connection, as it should
        finally:
            sock.close()
        gevent.sleep(PAUSE)
