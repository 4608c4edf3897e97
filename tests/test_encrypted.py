"""Inside TLS everything works as without: requests, bodies, tunnels, their ends, and what breaks them."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import ssl
import struct
import subprocess

import encrypted
import gevent
import helpers
import pytest
from clients import programs
from helpers import listening, read_until
from processes import answering, get, own
from ways import receive
from test_leaving import Gate, LONG, request

from geproxy.upstream.resolver import Resolver

MUCH = 12 * 1024 * 1024         # octets: more than all buffers on the way hold
RESET = struct.pack('ii', 1, 0)


def connect_to(origin):
    """The octets of a CONNECT."""
    return b'CONNECT %s:%d HTTP/1.1\r\nHost: a\r\n\r\n' % (origin[0].encode('ascii'), origin[1])


def old_get(origin):
    """A request of HTTP/1.0: no chunks in the response."""
    return get(origin).replace(b'HTTP/1.1', b'HTTP/1.0')


def tunnel(address, origin):
    """A socket that speaks TLS with the proxy, with a tunnel to `origin`."""
    sock = encrypted.connect(address)
    sock.sendall(connect_to(origin))
    assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
    return sock


def cut(sock):
    """End the connection without close_notify."""
    sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def test_many_requests_share_a_connection_one_by_one_or_at_once():
    with listening(answering(b'fine')) as origin, encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        for _ in range(3):
            sock.sendall(get(origin))
            assert read_until(sock, b'fine').endswith(b'fine')
        sock.sendall(get(origin) * 20 + get(origin, more=b'Connection: close\r\n'))
        assert encrypted.read_all(sock).count(b'fine') == 21
        sock.close()
        assert len(proxy.wait(24)) == 24 and proxy.server.handshakes.counts['done'] == 1


@pytest.mark.parametrize('size', [0, 1, 5, 16 * 1024, 16 * 1024 + 1, 70000, 1 << 20])
def test_bodies_go_both_ways_in_chunks(size):
    got, body = [], os.urandom(size)

    def handle(sock):
        data = read_until(sock, b'0\r\n\r\n')
        got.append(data.partition(b'\r\n\r\n')[2])
        sock.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + got[0])
    chunked = (b'%x\r\n%s\r\n' % (size, body) if size else b'') + b'0\r\n\r\n'
    with listening(handle) as origin, encrypted.proxying() as (address, _proxy):
        head = b'POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
        answer = encrypted.ask(address, head % origin[1] + chunked)
    assert unchunked(got[0]) == body and unchunked(answer.partition(b'\r\n\r\n')[2]) == body


def unchunked(octets):
    """The content of a body in chunks."""
    content = []
    while octets[:1] != b'0':
        size, _end, octets = octets.partition(b'\r\n')
        content.append(octets[:int(size, 16)])
        octets = octets[int(size, 16) + 2:]
    return b''.join(content)


def test_the_tls_of_the_client_goes_through_a_tunnel():
    server = encrypted.server_context()

    def handle(sock):
        inner = server.wrap_socket(sock, server_side=True)
        inner.sendall(inner.recv(100).upper())
        inner.close()
    with listening(handle) as origin, encrypted.proxying() as (address, _proxy):
        outer = tunnel(address, origin)
        here, there = socket.socketpair()
        pumps = [gevent.spawn(pump, outer, there), gevent.spawn(pump, there, outer)]
        inner = encrypted.encrypt(here)
        inner.sendall(b'hello')
        assert inner.recv(100) == b'HELLO'
        gevent.killall(pumps)
        for sock in (inner, there, outer):
            sock.close()


def pump(source, sink):
    """Pass on octets."""
    while True:
        data = source.recv(65536)
        if not data:
            break
        sink.sendall(data)


def test_a_websocket_goes_through():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n')
        sock.sendall(sock.recv(100).upper())
    with listening(handle) as origin, encrypted.proxying() as (address, _proxy):
        sock = encrypted.connect(address)
        sock.sendall(get(origin, more=b'Upgrade: websocket\r\nConnection: upgrade\r\n'))
        assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
        sock.sendall(b'frame')
        assert encrypted.read_all(sock) == b'FRAME'
        sock.close()


# --- ends

def test_each_direction_of_a_tunnel_ends_alone():
    got = []

    def handle(sock):
        sock.sendall(b'bye')
        sock.shutdown(socket.SHUT_WR)
        got.append(helpers.read_all(sock))
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = tunnel(address, origin)
        assert encrypted.read_all(sock) == b'bye'
        sock.sendall(b'and you')
        encrypted.end_direction(sock)
        assert proxy.wait()[0].reason == ''
        sock.close()
    assert got == [b'and you']


def test_a_tunnel_goes_down_after_its_client_has_ended():
    def handle(sock):
        sock.sendall(helpers.read_all(sock).upper() * 100000)
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = tunnel(address, origin)
        sock.sendall(b'question')
        encrypted.end_direction(sock)
        assert encrypted.read_all(sock) == b'QUESTION' * 100000
        assert proxy.wait()[0].reason == ''
        sock.close()


@pytest.mark.parametrize('size', [4, MUCH])
def test_a_response_that_is_cut_does_not_look_whole(size):
    """It has no length: its end is that of the connection."""
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.0 200 OK\r\n\r\n' + b'x' * size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(old_get(origin))
        with pytest.raises((ssl.SSLError, socket.error)):
            encrypted.read_all(sock)
        assert proxy.wait()[0].aborted
        sock.close()


def test_a_response_without_a_length_ends_with_close_notify():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.0 200 OK\r\n\r\n' + b'x' * MUCH)
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(old_get(origin))
        gevent.sleep(0.2)               # until all buffers are full
        assert encrypted.read_all(sock).endswith(b'\r\n\r\n' + b'x' * MUCH)
        sock.close()
        assert not proxy.wait()[0].aborted


def test_a_tunnel_that_its_origin_resets_is_cut():
    def handle(sock):
        sock.sendall(b'hello')
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    with listening(handle) as origin, encrypted.proxying() as (address, _proxy):
        sock = tunnel(address, origin)
        assert sock.recv(5) == b'hello'
        sock.sendall(b'x')
        with pytest.raises((ssl.SSLError, socket.error)):
            encrypted.read_all(sock)
        sock.close()


def test_a_tunnel_that_its_client_cuts_is_reset():
    ends = []

    def handle(sock):
        try:
            ends.append(sock.recv(100))
            ends.append(sock.recv(100))
        except socket.error as error:
            ends.append(error.args[0])
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = tunnel(address, origin)
        sock.sendall(b'half of it')
        proxy.wait_until(lambda: ends)
        cut(sock)
        assert proxy.wait()[0].reason == ''         # the usual end of most programs: nothing for the log of errors
    assert ends == [b'half of it', errno.ECONNRESET]


def test_a_tunnel_that_its_client_resets_is_lost():
    with listening(lambda sock: helpers.read_all(sock)) as origin, encrypted.proxying() as (address, proxy):
        sock = tunnel(address, origin)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
        assert proxy.wait()[0].reason == 'client_lost'


def test_an_upload_that_is_cut_is_no_request():
    got = []
    with listening(lambda sock: got.append(helpers.read_all(sock))) as origin, encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(b'POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n' % origin[1])
        gevent.sleep(0.1)
        cut(sock)
        assert proxy.wait()[0].reason == 'client_lost'
    assert not got[0].endswith(b'0\r\n\r\n')


def test_a_refused_upload_is_read_so_that_its_client_sees_why():
    """The client sends all of it before it reads. The answer comes long before that."""
    with encrypted.proxying('[access]\nrules = deny any any\n') as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(b'POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n' % (8 << 20))
        proxy.wait_until(lambda: proxy.records)
        for _ in range(8):
            sock.sendall(b'x' * (1 << 20))
        assert encrypted.read_all(sock).startswith(b'HTTP/1.1 403 ')
        sock.close()


# --- clients that leave or are slow

@pytest.mark.parametrize('method', [b'GET', b'CONNECT'])
@pytest.mark.parametrize('how', ['ended', 'cut', 'reset'])
def test_a_client_that_leaves_while_its_name_is_looked_up_is_noticed(method, how):
    gate = Gate()
    with encrypted.proxying(LONG) as (address, proxy):
        proxy.server._upstream.dialling.resolver = resolver = Resolver(ask=gate)
        sock = encrypted.connect(address)
        sock.sendall(request(method, 80))
        proxy.wait_until(lambda: resolver.pending)
        if how == 'reset':
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if how == 'ended':
            encrypted.end_direction(sock)
        sock.close()
        try:
            assert proxy.wait()[0].reason == 'client_lost'
        finally:
            gate.open()


def test_a_half_closed_client_gets_its_answer_although_the_origin_is_slow():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        gevent.sleep(0.6)               # so that the client is watched meanwhile
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine')
    with listening(handle) as origin, encrypted.proxying() as (address, _proxy):
        assert encrypted.ask(address, get(origin)).endswith(b'fine')


@pytest.mark.parametrize('how', ['closed', 'reset'])
def test_a_client_that_leaves_while_the_origin_is_waited_for_is_noticed(how):
    with listening(helpers.read_all) as origin, encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(get(origin))
        proxy.wait_until(lambda: [each.view().phase for each in proxy.server.live] == ['waiting'])
        if how == 'reset':
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sock.close()
        assert proxy.wait()[0].reason == 'client_lost'


def test_a_client_that_reads_nothing_is_given_up():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        try:
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % MUCH + b'x' * MUCH)
        except socket.error:
            pass                        # that is what is expected
    with listening(handle) as origin, encrypted.proxying('[timeouts]\nbody = 0.5\nlinger = 0.5\n') as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(get(origin))
        assert proxy.wait()[0].reason == 'client_write_timeout'
        proxy.wait_until(lambda: not proxy.server.live)
        sock.close()


def test_a_tunnel_copies_both_ways_at_once():
    def handle(sock):
        sender = gevent.spawn(sock.sendall, b'd' * MUCH)
        assert len(helpers.read_all(sock)) == MUCH
        sender.join()
        sock.shutdown(socket.SHUT_WR)
    with listening(handle) as origin, encrypted.proxying() as (address, proxy):
        sock = tunnel(address, origin)
        sender = gevent.spawn(sock.sendall, b'u' * MUCH)
        down = receive(sock, MUCH)
        sender.join()
        encrypted.end_direction(sock)
        assert encrypted.read_all(sock) == b''
        sock.close()
        record = proxy.wait()[0]
    assert len(down) == MUCH and not down.strip(b'd') and record.reason == ''


def test_a_connection_ends_at_a_stop_with_close_notify():
    with encrypted.proxying() as (address, proxy):
        sock = encrypted.connect(address)
        sock.sendall(own())
        read_until(sock, b'\r\n\r\n')
        proxy.server.drain()
        assert encrypted.read_all(sock) == b''
        sock.close()


# --- another program

@pytest.mark.programs
def test_curl_comes_by_tls(tmpdir):
    program = programs.find('curl') or pytest.skip('there is no curl')
    body = os.urandom(1 << 20)
    tmpdir.join('body').write_binary(body)

    def echo(sock):
        head, _end, got = read_until(sock, b'\r\n\r\n').partition(b'\r\n\r\n')
        if head[:3] == b'PUT':
            sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n' if b'Expect' in head else b'')
            got += receive(sock, len(body) - len(got))
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n' % len(got) + got)
    with listening(echo) as origin, encrypted.proxying(clients=encrypted.pem('ca.pem')) as (address, proxy):
        def curl(*options):
            command = [program, '-q', '-sS', '--fail', '--resolve', 'proxy.test:%d:127.0.0.1' % address[1],
                       '--proxy', 'https://proxy.test:%d' % address[1]]
            return programs.run(command + list(options) + ['http://127.0.0.1:%d/' % origin[1]], {})
        trusting = ['--proxy-cacert', encrypted.pem('ca.pem')]
        upload = ['--upload-file', str(tmpdir.join('body'))]
        for more in ([], ['--proxytunnel'], ['--proxy-cert', encrypted.pem('joe.pem'), '--proxy-key', encrypted.pem('joe.key')]):
            assert curl(*trusting + upload + more) == (0, body, b'')
        assert [(record.method, record.user) for record in proxy.wait(3)] == [
            (b'PUT', b''), (b'CONNECT', b''), (b'PUT', b'joe')]
        assert curl()[0] == 60                          # it cannot verify the certificate
        assert 'does not trust' in proxy.wait(4)[3].message


@pytest.mark.programs
@pytest.mark.skipif(not hasattr(ssl, 'MemoryBIO'), reason='TLS 1.3 is off on Python 2')
def test_a_client_that_sends_one_key_update_after_the_other_is_ended():
    program = programs.find('openssl') or pytest.skip('there is no openssl')
    with encrypted.proxying() as (address, proxy), open(os.devnull, 'wb') as nothing:
        feed = subprocess.Popen(['yes', 'K'], stdout=subprocess.PIPE)       # K stands for a KeyUpdate
        client = subprocess.Popen([program, 's_client', '-connect', '127.0.0.1:%d' % address[1], '-tls1_3'],
                                  stdin=feed.stdout, stdout=nothing, stderr=nothing)
        feed.stdout.close()
        try:
            proxy.wait_until(lambda: proxy.server.handshakes.counts['done'] == 1 and not proxy.server.live)
            assert helpers.ask(address, own()).startswith(b'HTTP/1.1 200 ')
        finally:
            for process in (client, feed):
                process.kill()
                process.wait()
