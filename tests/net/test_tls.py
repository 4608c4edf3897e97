"""TLS as a Transport: both sides of it in one process, without waiting for anything but each other."""
from __future__ import absolute_import, division, print_function

import errno
import os
import resource
import socket
import ssl
import struct

import pytest

from geproxy.compat import NativeSocket
from geproxy.net import certificates
from geproxy.net.tls import PIECE, Failure, TlsTransport

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'pems')


def path(name):
    """Return the path of a file with a certificate or a key."""
    return os.path.join(FILES, name)


def contexts():
    """Return (one for a server, one for a client that knows who has signed its certificate)."""
    pair_of_files = certificates.Pair(path('proxy.test.pem'), path('proxy.test.key'))
    return certificates.server_context([pair_of_files]), certificates.client_context(path('ca.pem'))


def sockets():
    """Return two native sockets that are connected."""
    one, other = socket.socketpair()
    return [NativeSocket(socket.AF_UNIX, socket.SOCK_STREAM, 0, each.detach()) if hasattr(each, 'detach') else
            each._sock for each in (one, other)]


def pair():
    """Return two TlsTransports, server and client, that are through with their handshake."""
    server_context, client_context = contexts()
    one, other = sockets()
    server, client = TlsTransport(one, server_context), TlsTransport(other, client_context, 'proxy.test')
    for _ in range(20):
        if [client.handshake(), server.handshake()] == [None, None]:
            return server, client
    raise AssertionError('the handshake comes to no end')


def received(transport, size):
    """Return `size` octets that are on their way to `transport`."""
    data = b''
    while len(data) < size:
        data += transport.recv(size - len(data))
    return data


def would_wait(call, *arguments):
    """Tell if it says EAGAIN."""
    with pytest.raises(socket.error) as raised:
        call(*arguments)
    return raised.value.args[0] == errno.EAGAIN


def patiently(call, *arguments):
    """Call a method of a transport until it does not ask to wait. (What it waits for is on the way already.)"""
    for _ in range(100):
        try:
            return call(*arguments)
        except socket.error as error:
            if error.args[0] != errno.EAGAIN:
                raise
    raise AssertionError('nothing comes')


def test_octets_go_both_ways():
    server, client = pair()
    assert client.send(b'hello') == 5 and received(server, 5) == b'hello'
    assert server.send(memoryview(b'welcome')) == 7 and received(client, 7) == b'welcome'
    assert server.describe()[0].startswith('TLSv1')


def test_what_waits_in_its_own_buffer_is_pending():
    server, client = pair()
    client.send(b'hello')
    assert server.recv(1) == b'h' and server.pending() == 4
    assert received(server, 4) == b'ello' and not server.pending()
    assert would_wait(server.recv, 1)


def test_one_send_takes_many_records():
    server, client = pair()
    data, got = b'x' * 100000, b''
    sent = client.send(data)
    assert sent > PIECE                     # all of it, unless the way is full
    while len(got) < sent:
        got += patiently(server.recv, 1 << 20)
    assert got == data[:sent]


def test_a_full_way_says_so_and_goes_on_with_the_same_octets():
    server, client = pair()
    data, sent = os.urandom(1 << 20), 0
    got = b''
    with pytest.raises(socket.error) as raised:
        while True:
            sent += client.send(memoryview(data)[sent:])
    assert raised.value.args[0] == errno.EAGAIN
    assert would_wait(client.send, b'something else')           # what has begun comes first
    while sent < len(data):
        try:
            got += server.recv(1 << 20)
        except socket.error as error:
            assert error.args[0] == errno.EAGAIN
        try:
            sent += client.send(memoryview(data)[sent:])
        except socket.error as error:
            assert error.args[0] == errno.EAGAIN
    assert got + received(server, len(data) - len(got)) == data


def test_one_direction_may_end_before_the_other():
    server, client = pair()
    client.send(b'question')
    client.shutdown(socket.SHUT_WR)
    assert received(server, 8) == b'question' and server.recv(1) == b'' and server.pending()
    assert server.send(b'answer') == 6 and received(client, 6) == b'answer'
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b''


def test_octets_that_come_before_and_after_our_end_are_read():
    server, client = pair()
    client.send(b'before it')
    assert server.recv(3) == b'bef'             # the rest of this record is in the buffer of TLS
    client.send(b', and more')
    server.shutdown(socket.SHUT_WR)
    assert server.pending() and received(server, 16) == b'ore it, and more'
    assert client.recv(1) == b''
    client.send(b'after it')
    buffer = bytearray(100)
    assert server.recv_into(buffer, 100) == 8 and buffer[:8] == b'after it'
    client.shutdown(socket.SHUT_WR)
    assert server.recv_into(buffer, 100) == 0


def test_an_end_can_be_told_without_a_free_descriptor():
    server, client = pair()
    free = os.dup(0)
    os.close(free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        server.shutdown(socket.SHUT_WR)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert client.recv(1) == b''


def test_an_end_of_both_directions_is_no_clean_end():
    server, client = pair()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    with pytest.raises(socket.error) as raised:
        client.recv(1)
    assert raised.value.args[0] == errno.ECONNRESET


def test_a_close_after_a_reset_was_asked_for_is_no_clean_end():
    server, client = pair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    server.close()
    with pytest.raises(socket.error) as raised:
        client.recv(1)
    assert raised.value.args[0] == errno.ECONNRESET


def test_an_error_behind_octets_is_raised_after_them():
    server, client = pair()
    client.send(b'x' * 16384)
    client.socket.send(b'nonsense, and no record of TLS')
    buffer = bytearray(100000)
    assert patiently(server.recv_into, buffer, 100000) == 16384
    for _ in range(2):
        with pytest.raises(Failure):
            patiently(server.recv_into, buffer, 100000)


def test_an_end_without_close_notify_is_no_end():
    server, client = pair()
    client.send(b'half of it')
    client.socket.close()
    assert received(server, 10) == b'half of it'
    with pytest.raises(socket.error) as raised:
        server.recv(1)
    assert raised.value.args[0] == errno.ECONNRESET


def test_what_is_no_tls_is_a_failure():
    server_context, _client = contexts()
    one, other = sockets()
    server = TlsTransport(one, server_context)
    other.send(b'GET http://a.example/ HTTP/1.1\r\n\r\n')
    with pytest.raises(Failure) as raised:
        server.handshake()
    assert 'http' in str(raised.value).lower()


def test_a_certificate_of_somebody_else_is_a_failure_on_both_sides():
    server_context, _client = contexts()
    stranger = ssl.SSLContext(ssl.PROTOCOL_SSLv23)
    stranger.verify_mode = ssl.CERT_REQUIRED
    one, other = sockets()
    server, client = TlsTransport(one, server_context), TlsTransport(other, stranger, 'proxy.test')
    with pytest.raises(Failure) as raised:
        for _ in range(20):
            client.handshake()
            server.handshake()
    assert 'certificate verify failed' in str(raised.value)
    with pytest.raises(socket.error):
        for _ in range(20):
            server.handshake()
            server.recv(1)
