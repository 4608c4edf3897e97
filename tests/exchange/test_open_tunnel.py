"""Tunnels, by CONNECT and by a 101: how they open, how they end. Real sockets."""
from __future__ import absolute_import, division, print_function

import socket
import struct

import gevent
import pytest
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from test_conversation import get, saying, split, text_of
from test_fetch import OK, answering

from geproxy.compat import monotonic


@pytest.mark.parametrize('head', [
    b'CONNECT %s HTTP/1.0\r\n\r\n',                                 # pip up to Python 3.11, nc, corkscrew
    b'CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',              # Java, aiohttp, undici: Host without port
    b'CONNECT %s HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\n\r\n',
    b'CONNECT %s HTTP/1.1\r\n\r\n',                                 # Python up to 3.11 and a proxy of HTTP/1.1
    b'CONNECT %s HTTP/1.1\r\nHost: ::1:443\r\nHost: b c\r\n\r\n',      # busybox and others, IPv6 without brackets
    b'CONNECT %s HTTP/1.1\r\nHost: a\r\nTE: x\r\nConnection: TE, close\r\nContent-Length: 0\r\n\r\n',
])
def test_connect_as_real_clients_send_it(head):
    with listening(lambda sock: sock.sendall(sock.recv(100))) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(head % text_of(origin))
        assert read_until(client, b'\r\n\r\n') == b'HTTP/1.1 200 Connection established\r\n\r\n'
        client.sendall(b'still open')
        assert client.recv(100) == b'still open'
        client.close()


def test_octets_that_come_with_connect_are_not_lost():
    with listening(lambda sock: sock.sendall(read_until(sock, b'early').upper())) as origin:
        with proxying() as (address, _proxy):
            shown = ask(address, b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\nearly' % text_of(origin))
            assert shown.endswith(b'\r\n\r\nEARLY')


def test_a_tunnel_half_closed_by_its_origin_still_goes_up():
    got = []

    def handle(sock):
        sock.sendall(b'bye')
        sock.shutdown(socket.SHUT_WR)
        got.append(read_all(sock))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        assert read_all(client).endswith(b'bye')
        client.sendall(b'and you')
        client.shutdown(socket.SHUT_WR)
        proxy.wait()
    assert got == [b'and you']


@pytest.mark.parametrize('end', ['client', 'origin'])
def test_a_half_closed_tunnel_is_closed_in_time(end):
    def handle(sock):
        sock.sendall(b'hello')
        if end == 'origin':
            sock.shutdown(socket.SHUT_WR)
        read_all(sock)
        gevent.sleep(PATIENCE)                  # and never ends its own direction
    with listening(handle) as origin, proxying('[timeouts]\nlinger = 0.5') as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        assert read_until(client, b'hello').endswith(b'hello')
        if end == 'client':
            client.shutdown(socket.SHUT_WR)
        assert proxy.wait()[0].reason == 'tunnel_idle'
        client.close()


def test_an_idle_tunnel_is_closed_and_one_in_use_is_not():
    with listening(lambda sock: read_all(sock)) as origin, proxying('[timeouts]\ntunnel = 0.6') as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        read_until(client, b'\r\n\r\n')
        began = monotonic()
        for _ in range(6):
            gevent.sleep(0.25)                  # longer than the limit in all, shorter each
            client.sendall(b'x')
        assert not proxy.records
        assert proxy.wait()[0].reason == 'tunnel_idle' and monotonic() - began > 1.5
        client.close()


def test_a_reset_in_a_tunnel_is_a_reset_on_the_other_side():
    def handle(sock):
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        read_until(client, b'\r\n\r\n')
        client.sendall(b'x')
        with pytest.raises(socket.error):
            assert client.recv(100) != b''
        client.close()
        assert proxy.wait()[0].reason == 'connection_terminated'


def test_a_refused_connect_says_why_in_its_reason_phrase():
    with proxying('[access]\nconnect_ports = 443') as (address, proxy):
        status, fields, _body = split(ask(address, b'CONNECT a.test:22 HTTP/1.0\r\n\r\n'))
        assert status == b'HTTP/1.1 403 port 22 is not among [access] connect_ports (443)'
        assert fields[b'connection'] == b'close'


def test_connect_makes_a_tunnel():
    def shout(sock):
        while True:
            data = sock.recv(100)
            if not data:
                return
            sock.sendall(data.upper())
    with listening(shout) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (text_of(origin), text_of(origin)))
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        client.sendall(b'hello')
        assert client.recv(100) == b'HELLO'
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b''
        record = proxy.wait()[0]
        assert (record.status, record.tunnel, record.reason) == (200, True, '')
        assert record.url == text_of(origin) and proxy.tunnels == [record]


UPGRADE = b'Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n'


def test_an_upgrade_ends_in_a_tunnel():
    heads = []

    def handle(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nX: y\r\n\r\nfirst')
        sock.sendall(read_until(sock, b'second').upper())
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, more=UPGRADE))
        shown = read_until(client, b'first')
        assert shown.startswith(b'HTTP/1.1 101 Switching\r\n') and b'\r\nUpgrade: WebSocket\r\n' in shown
        assert b'\r\nConnection: Upgrade\r\n' in shown and b'\r\nX: y\r\n' in shown
        client.sendall(b'second')
        assert read_until(client, b'SECOND').endswith(b'SECOND')
        client.close()
        record = proxy.wait()[0]
        assert (record.status, record.tunnel) == (101, True)
        assert b'\r\nConnection: Upgrade\r\n' in heads[0] and b'\r\nUpgrade: websocket\r\n' in heads[0]


def switching(protocol, heads):
    """An origin that changes to a protocol if it is asked to, and says hello there."""
    def handle(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        if b'\r\nUpgrade: %s\r\n' % protocol in heads[-1]:
            sock.sendall(b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\nhello' % protocol)
        else:
            sock.sendall(OK)
    return handle


@pytest.mark.parametrize('line, protocol, taken', [
    ('', b'websocket', True), ('', b'spdy/3', False), ('', b'TLS/1.0', False), ('upgrades = any', b'spdy/3', True),
    ('upgrades = spdy', b'spdy/3', True), ('upgrades = spdy', b'websocket', False), ('upgrades =', b'websocket', False),
    ('upgrades = any', b'h2c', False), ('upgrades = any', b'h2c-14', False)])
def test_a_request_to_upgrade_to_a_protocol_that_is_not_allowed_is_an_ordinary_request(line, protocol, taken):
    heads, more = [], b'Connection: Upgrade\r\nUpgrade: %s\r\n' % protocol
    with listening(switching(protocol, heads)) as origin, proxying('[access]\n' + line) as (address, proxy):
        shown = ask(address, get(origin, more=more))
        assert (shown[9:12], shown[-5:] == b'hello') == ((b'101', True) if taken else (b'200', False))
        assert taken or b'pgrade' not in heads[0]


def test_an_upgrade_that_is_not_taken_is_an_ordinary_exchange():
    with listening(saying(b'ok')) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin, more=UPGRADE) + get(origin)).count(b'\r\n\r\nok') == 2


@pytest.mark.parametrize('more, response', [
    (b'', b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'),
    (UPGRADE, b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n'),
    (UPGRADE, b'HTTP/1.1 101 Switching\r\n\r\n'),
    (b'Connection: Upgrade\r\nUpgrade: h2c\r\n', b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n'),
])
def test_an_upgrade_that_the_client_did_not_ask_for_is_502(more, response):
    with listening(answering(response, close=False)) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin, more=more))[9:12] == b'502'
        assert proxy.wait()[0].reason == 'http_upgrade_failed'
