"""TLS to the proxy: the same port takes it and everything else, and inside it all is as without."""
from __future__ import absolute_import, division, print_function

import socket
import ssl

import encrypted
import helpers
import pytest
from helpers import listening, read_until
from processes import own

HELLO = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'


def hello(sock):
    """An origin that answers each request of a connection."""
    while read_until(sock, b'\r\n\r\n'):
        sock.sendall(HELLO)


def get(origin, more=b''):
    return b'GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n%s\r\n' % (origin[0].encode(), origin[1], more)


def test_the_same_port_takes_tls_and_everything_else():
    with listening(hello) as origin, encrypted.proxying() as (address, proxy):
        for ask in (encrypted.ask, helpers.ask, encrypted.ask):
            assert ask(address, get(origin, b'Connection: close\r\n')).endswith(b'\r\n\r\nhello')
        assert proxy.server.handshakes.counts['done'] == 2
        assert [record.status for record in proxy.wait(3)] == [200] * 3
