"""Streams over a transport that is no plain socket: one that codes its octets and has a buffer of its own, as TLS has."""
from __future__ import absolute_import, division, print_function

import errno
import socket

import gevent
import pytest
from gevent.event import Event

from geproxy import compat, errors
from geproxy.compat import monotonic
from geproxy.net import deadlines
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import Stream
from geproxy.net.transport import POLLIN, READ, WRITE, Transport
from geproxy.service import acceptor
from helpers import PATIENCE, connect, listening, proxying, read_all, read_until

LIMIT = TimeLimit('body', PATIENCE, errors.BodyTimeout)
PIECE = 7           # octets that one recv returns at most: all others that have come are kept in the transport
MUCH = 3000000      # octets, of which many come at once: over plain sockets they go through pipes
_FLIPPED = bytes(bytearray(octet ^ 0x55 for octet in range(256)))


def flip(octets):
    """Code octets, or decode them."""
    return memoryview(octets).tobytes().translate(_FLIPPED)


class Coded(Transport):
    """Codes each octet. Reads all that has come, even the end, and gives it out in small pieces."""

    def __init__(self, sock, piece=PIECE):
        Transport.__init__(self, sock)
        self.kept, self.over, self.piece = b'', False, piece

    def recv(self, most):
        """As Transport.recv."""
        self._fetch()
        if not self.kept and not self.over:
            raise socket.error(errno.EAGAIN, 'nothing is there')
        piece = min(most, self.piece)
        data, self.kept = self.kept[:piece], self.kept[piece:]
        return data

    def _fetch(self):
        try:
            while not self.over and len(self.kept) < 1000000:
                data = self.socket.recv(65536)
                self.kept += flip(data)
                self.over = not data
        except socket.error as error:
            if error.args[0] != errno.EAGAIN:
                raise

    def send(self, data):
        """As Transport.send."""
        return self.socket.send(flip(data))

    def pending(self):
        """As Transport.pending."""
        return len(self.kept) or self.over


class CodedClient(object):
    """A client's socket on which everything is coded."""

    def __init__(self, address):
        self._sock = connect(address)
        self.shutdown, self.close = self._sock.shutdown, self._sock.close

    def sendall(self, octets):
        """Send octets, coded."""
        self._sock.sendall(flip(octets))

    def recv(self, most):
        """Receive octets, and decode them."""
        return flip(self._sock.recv(most))


@pytest.fixture
def pair():
    """A Stream over a Coded transport, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    stream = Stream(Coded(ours), '127.0.0.1', errors.ClientLost)
    yield stream, theirs
    stream.close()
    theirs.close()


@pytest.fixture
def coded_proxy(monkeypatch):
    """The address of a proxy, each of whose clients comes by a Coded transport."""
    def accept(listener):
        sock, peer = compat.accept(listener)
        return Coded(sock, 50000), peer
    monkeypatch.setattr(acceptor, 'accept', accept)
    with proxying() as (address, proxy):
        yield address, proxy


def fill(stream, octets, other):
    """Have `octets` come to a stream, of which it reads the first piece; the others are pending in its transport."""
    other.sendall(flip(octets))
    stream.wait(LIMIT, monotonic() + PATIENCE)
    assert stream.fill() == PIECE and stream.buffer == octets[:PIECE]


# --- waiting

def test_a_wait_asks_for_pending_octets_before_the_descriptor(pair):
    stream, other = pair
    fill(stream, b'0123456789abcdef', other)
    assert not deadlines._is_ready(stream.transport, POLLIN)        # the descriptor is silent
    for seen in (b'0123456789abcd', b'0123456789abcdef'):
        stream.wait(LIMIT, monotonic() + PATIENCE)
        stream.fill()
        assert stream.buffer == seen
    assert wait_readable((stream,), monotonic() + 0.01) is None


def test_a_read_that_has_to_send_first_waits_for_room(pair):
    """What has come does not end the wait, or it would be tried again and again; and its deadline holds."""
    stream, other = pair
    with pytest.raises(socket.error):
        while True:
            stream.transport.send(b'x' * 65536)         # until the peer takes nothing more
    other.sendall(b'x')
    stream.transport.awaits = WRITE
    assert wait_readable((stream,), monotonic() + 0.3) is None
    reading = gevent.spawn(wait_readable, (stream,), monotonic() + PATIENCE)
    other.settimeout(0.2)
    assert read_all_there(other) and reading.get() is stream
    stream.transport.awaits = READ
    assert wait_readable((stream,), monotonic() + PATIENCE) is stream


def read_all_there(sock):
    """Read what comes without a pause; return how many octets."""
    count = 0
    try:
        while True:
            count += len(sock.recv(1 << 20))
    except socket.timeout:
        return count


def test_an_end_that_is_pending_ends_a_wait(pair):
    stream, other = pair
    other.sendall(flip(b'0123456789'))
    other.shutdown(socket.SHUT_WR)
    got = b''
    while not stream.ended:
        data, count = stream.read(LIMIT)
        got += bytes(data[:count])
    assert got == b'0123456789'


def test_of_two_streams_the_one_with_pending_octets_is_told(pair):
    stream, other = pair
    fill(stream, b'0123456789', other)
    ours, theirs = socket.socketpair()
    silent = Stream(ours, '127.0.0.1', errors.UpstreamLost)
    try:
        assert wait_readable((silent, stream), monotonic() + PATIENCE) is stream
    finally:
        silent.close()
        theirs.close()


def test_pending_octets_go_before_a_deadline_that_has_passed(pair):
    stream, other = pair
    fill(stream, b'0123456789', other)
    waiting = gevent.spawn(wait_readable, (stream,), monotonic() - 1)
    gevent.get_hub().loop.run_callback(deadlines.sweep)         # when it waits, and before its watcher is told
    assert waiting.get(timeout=PATIENCE) is stream


def test_a_callback_is_called_until_nothing_is_pending_and_never_behind_a_stop(pair):
    stream, other = pair
    calls = []

    def read():
        calls.append(stream.fill())
        if len(calls) == 4:
            stream.reader.stop()
    other.sendall(flip(b'x' * 5 * PIECE))
    stream.reader.start(read)
    with gevent.Timeout(PATIENCE):
        while len(calls) < 4:
            gevent.sleep(0)
    gevent.sleep(0.01)
    assert calls == [PIECE] * 4 and stream.pending()
    stream.reader.start(read)
    stream.reader.stop()            # before the hub has come to call it
    gevent.sleep(0.01)
    assert len(calls) == 4


def test_a_connection_with_pending_octets_is_not_quiet(pair):
    stream, other = pair
    assert stream.is_quiet()
    fill(stream, b'0123456789', other)
    stream.buffer = b''
    assert not stream.is_quiet()
    stream.fill()
    stream.buffer = b''
    assert stream.is_quiet()
    other.sendall(b'x')
    assert not stream.is_quiet()


def test_only_a_transport_that_says_so_is_spliced(pair):
    stream, _other = pair
    assert not stream.splices
    stream.transport.raw = True
    assert stream.splices


# --- through the proxy

def answer(octets):
    """An origin that reads one head, and answers with `octets`."""
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(octets)
    return handle


def test_a_coded_client_gets_an_answer_and_another_one(coded_proxy):
    address, proxy = coded_proxy
    with listening(answer(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello')) as origin:
        client = CodedClient(address)
        ask = b'GET http://%s:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % (origin[0].encode('ascii'), origin[1])
        client.sendall(ask + ask)           # both are read at once: the second is pending while the first is served
        client.shutdown(socket.SHUT_WR)
        got = read_all(client)
        client.close()
    assert got.count(b'HTTP/1.1 200 OK\r\n') == 2 and got.count(b'hello') == 2
    assert [record.status for record in proxy.wait(2)] == [200, 200]


@pytest.mark.parametrize('head, decode', [
    (b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % MUCH, lambda octets: octets),
    (b'HTTP/1.0 200 OK\r\n\r\n', lambda octets: b''.join(octets.split(b'\r\n')[1::2])),
])
def test_zero_copy_steps_aside_for_a_coded_client(coded_proxy, head, decode):
    address, _proxy = coded_proxy
    with listening(answer(head + b'x' * MUCH)) as origin:
        client = CodedClient(address)
        client.sendall(b'GET http://%s:%d/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' % (
            origin[0].encode('ascii'), origin[1]))
        head, _end, body = read_all(client).partition(b'\r\n\r\n')
        client.close()
    assert decode(body) == b'x' * MUCH


@pytest.mark.parametrize('framing, body, end', [
    (b'Content-Length: %d' % MUCH, b'x' * MUCH, b'xxx'),
    (b'Transfer-Encoding: chunked', b'%x\r\n%s\r\n' % (MUCH // 3, b'x' * (MUCH // 3)) * 3 + b'0\r\n\r\n', b'0\r\n\r\n'),
])
def test_a_coded_client_uploads(coded_proxy, framing, body, end):
    address, proxy = coded_proxy
    got = []

    def take(sock):
        data = read_until(sock, b'\r\n\r\n').partition(b'\r\n\r\n')[2]
        while data.count(b'x') < MUCH or data[-len(end):] != end:
            data += sock.recv(65536)
        got.append(data.count(b'x'))
        sock.sendall(b'HTTP/1.1 204 No Content\r\n\r\n')
    with listening(take) as origin:
        client = CodedClient(address)
        client.sendall(b'POST http://%s:%d/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%s\r\n\r\n%s' % (
            origin[0].encode('ascii'), origin[1], framing, body))
        assert read_all(client).startswith(b'HTTP/1.1 204 ')
        client.close()
    assert got == [MUCH] and proxy.wait()[0].status == 204


def test_a_coded_client_tunnels_both_ways_and_ends_one_direction(coded_proxy):
    address, proxy = coded_proxy
    got = []

    def talk(sock):
        sock.sendall(b'hello')
        got.append(read_all(sock))          # up to the end of the client's direction
        sock.sendall(b'y' * MUCH)
    with listening(talk) as origin:
        client = CodedClient(address)
        client.sendall(b'CONNECT %s:%d HTTP/1.1\r\n\r\nahead' % (origin[0].encode('ascii'), origin[1]))
        assert read_until(client, b'hello').startswith(b'HTTP/1.1 200 ')
        sending = gevent.spawn(client.sendall, b'x' * MUCH)
        sending.get(timeout=PATIENCE)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b'y' * MUCH
        client.close()
    assert got == [b'ahead' + b'x' * MUCH] and proxy.wait()[0].reason == ''


def test_a_coded_client_that_leaves_is_noticed_while_its_origin_thinks(coded_proxy):
    address, proxy = coded_proxy
    asked = Event()

    def think(sock):
        read_until(sock, b'\r\n\r\n')
        asked.set()
        assert read_all(sock) == b''        # the proxy gave up
    with listening(think) as origin:
        client = CodedClient(address)
        client.sendall(b'GET http://%s:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % (origin[0].encode('ascii'), origin[1]))
        assert asked.wait(PATIENCE)
        client.close()
        assert proxy.wait()[0].aborted
