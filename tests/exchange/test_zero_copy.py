"""When octets take the short way. That nobody can tell stands in test_relay."""
from __future__ import absolute_import, division, print_function

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import zero_copy
from geproxy.http1 import chunks, framing
from geproxy.limits import rates
from geproxy.net import kernel_pipes
from geproxy.net.deadlines import TimeLimit, wait_readable
from helpers import PATIENCE
from ways import chunked, joined
from test_kernel_pipes import needs_splice

BODY = TimeLimit('body', PATIENCE, errors.DownloadTimeout)
MUCH = 100000       # octets; all of them fit into the buffers of a connection
pytestmark = needs_splice


@pytest.fixture
def way(monkeypatch):
    """(origin Stream, client Stream), with the sockets at their other ends"""
    monkeypatch.setattr(kernel_pipes, 'pool', kernel_pipes.Pool(kernel_pipes.find(), most=2))
    client, user = joined(errors.ClientLost)
    origin, server = joined(errors.UpstreamLost)
    yield origin, client, server, user
    for each in (client, user, origin, server):
        each.close()
    while kernel_pipes.pool.take() is not None:
        pass                        # none is left open


def receive(user, count):
    """That many octets."""
    octets = b''
    while len(octets) < count:
        octets += user.recv(count - len(octets))
    return octets


def test_octets_that_are_there_go_through_a_pipe_that_is_given_back(way):
    origin, client, server, user = way
    server.sendall(b'x' * MUCH)
    passed = 0
    while passed < MUCH:
        wait_readable((origin,), monotonic() + PATIENCE)
        pipe = zero_copy.fill(origin, client)
        passed += zero_copy.empty(pipe, client, BODY)
        assert pipe.held == 0 and kernel_pipes.pool.take() is pipe
        kernel_pipes.pool.give_back(pipe)
    assert receive(user, MUCH) == b'x' * MUCH and origin.received == client.sent == MUCH


def test_where_nothing_is_there_nothing_is_taken(way):
    origin, client, server, _user = way
    assert zero_copy.fill(origin, client) is None and not origin.ended
    server.close()
    wait_readable((origin,), monotonic() + PATIENCE)
    assert zero_copy.fill(origin, client) is None


def test_buffered_throttled_or_few_octets_are_left_to_the_copy_loops(way):
    origin, client, server, _user = way
    server.sendall(b'x' * MUCH)
    wait_readable((origin,), monotonic() + PATIENCE)
    assert zero_copy.fill(origin, client, zero_copy.LONG - 1) is None
    origin.buffer = b'first'
    assert zero_copy.fill(origin, client) is None
    origin.buffer, client.pace = b'', rates.Pace([], None)
    assert zero_copy.fill(origin, client) is None
    assert origin.received == 0


def test_a_body_goes_that_way_to_its_end_and_no_further(way):
    origin, client, server, user = way
    server.sendall(b'x' * MUCH + b'NEXT')
    body, passed = framing.Sized(MUCH, errors.ResponseIncomplete), 0
    while body.left >= zero_copy.LONG:
        wait_readable((origin,), monotonic() + PATIENCE)
        passed += zero_copy.pass_body(body, origin, client, BODY, False)
    assert passed == MUCH - body.left == origin.received == client.sent
    assert zero_copy.pass_body(body, origin, client, BODY, False) == 0
    assert receive(user, passed) == b'x' * passed


def test_content_of_several_chunks_goes_on_as_one(way):
    origin, client, server, user = way
    body = chunked()
    body.feed(b'2710\r\n', 6)
    octets = b'x' * 10000 + b'\r\n2710\r\n' + b'y' * 10000 + b'\r\n2711;a=b\r\n' + b'z' * 10001
    server.sendall(octets)
    passed = 0
    while passed < len(octets):
        wait_readable((origin,), monotonic() + PATIENCE)
        passed += zero_copy.pass_body(body, origin, client, BODY, False)
    assert receive(user, 30001) == b'x' * 10000 + b'y' * 10000 + b'z' * 10001
    assert body.skippable == 0 and origin.buffer == b'' and client.sent == 30001


# What may come behind many chunks of 10000 octets.
ENDS = [
    b'\r\n0\r\n\r\n',
    b'\r\n0\r\nA: b\r\n\r\n',
    b'\r\n8000;a\r\n' + b'z' * 32768 + b'\r\n0\r\n\r\n',
    b'\r\n1\r\nz\r\n2711\r\n' + b'z' * 10001 + b'\r\n0\r\n\r\n',
    b'\r\n2711;%s\r\n' % (b'a' * 900) + b'z' * 10001 + b'\r\n1\r\nz\r\n0\r\n\r\n',
]


@pytest.mark.parametrize('number', range(len(ENDS)))
def test_many_chunks_of_one_size_go_on_complete_and_the_octets_after_them_stay(way, number):
    end = ENDS[number]
    origin, client, server, user = way
    body = chunked()
    body.feed(b'2710\r\n', 6)
    pieces = [bytes(bytearray([97 + number % 26])) * 10000 for number in range(60)]
    content = b''.join(pieces) + b'z' * end.count(b'z')
    octets = b'\r\n2710\r\n'.join(pieces) + end + b'NEXT'

    def pass_on():
        while not body.done:
            if not origin.buffer:
                wait_readable((origin,), monotonic() + PATIENCE)
            if not zero_copy.pass_body(body, origin, client, BODY, False):
                data, count = origin.read_now(5000)
                piece = chunks.bytes_of(body.feed(data, count))
                if piece:
                    client.send(piece, BODY)
                origin.unread(bytes(data[body.used:count]))
    loop = gevent.spawn(pass_on)
    sender = gevent.spawn(server.sendall, octets)
    received = gevent.spawn(receive, user, len(content))
    assert received.get(timeout=PATIENCE) == content
    gevent.joinall([loop, sender], timeout=PATIENCE, raise_error=True)
    while len(origin.buffer) < 4:
        wait_readable((origin,), monotonic() + PATIENCE)
        origin.fill()
    assert body.done and origin.buffer == b'NEXT'


def test_small_chunks_go_back_to_be_copied(way):
    origin, client, server, user = way
    body = chunked()
    body.feed(b'2710\r\n', 6)
    assert body.chunk == 10000 and origin.buffer == b''
    server.sendall(b'x' * 10000 + b'\r\n' + b'1\r\nx\r\n' * 1000 + b'0\r\n\r\nNEXT')
    passed = 0
    while not origin.buffer:
        wait_readable((origin,), monotonic() + PATIENCE)
        passed += zero_copy.pass_body(body, origin, client, BODY, False)
    assert client.sent < 10100 and receive(user, client.sent) == b'x' * client.sent
    assert zero_copy.pass_body(body, origin, client, BODY, False) == 0


def test_without_a_second_pipe_chunks_are_copied(way):
    origin, client, server, _user = way
    body = chunked()
    body.feed(b'fffff\r\n', 7)
    pipe = kernel_pipes.pool.take()
    server.sendall(b'x' * MUCH)
    wait_readable((origin,), monotonic() + PATIENCE)
    assert zero_copy.pass_body(body, origin, client, BODY, False) == 0 and origin.received == 0
    kernel_pipes.pool.give_back(pipe)
    assert zero_copy.pass_body(body, origin, client, BODY, True) > 0
