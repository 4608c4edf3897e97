"""The budget of memory that all connections share."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until, stream_pair
from processes import answering, get

from geproxy import errors
from geproxy.exchange import relay
from geproxy.http1 import reading
from geproxy.net import memory
from geproxy.net.deadlines import TimeLimit


def test_the_octets_that_are_held_never_exceed_the_limit():
    budget = memory.Budget(1000)
    budget.charge(0, 600)
    with pytest.raises(errors.MemoryFull) as caught:
        budget.charge(0, 401)
    assert budget.held == 600 and budget.refused == 1 and '[limits] memory' in str(caught.value)
    budget.charge(0, 400)
    assert budget.held == 1000


def test_to_hold_less_is_allowed_even_over_the_limit():
    budget = memory.Budget(1000)
    budget.force(0, 5000)
    budget.charge(5000, 4000)
    assert budget.held == 4000
    with pytest.raises(errors.MemoryFull):
        budget.charge(4000, 4001)
    budget.charge(4000, 0)
    assert budget.held == 0


def test_without_a_limit_all_is_counted_and_nothing_refused():
    budget = memory.Budget()
    budget.charge(0, 1 << 40)
    assert budget.held == 1 << 40 and not budget.short


@pytest.mark.parametrize('held, short', [(0, False), (750, False), (751, True), (2000, True)])
def test_the_budget_is_short_when_less_than_a_quarter_is_left(held, short):
    budget = memory.Budget(1000)
    budget.force(0, held)
    assert budget.short is short


# --- what connections charge to it

LARGE = b''.join(b'X-Field-%d: %s\r\n' % (number, b'x' * 100) for number in range(500))        # 57 KB
SMALL = 20 * 1024       # octets: what a connection may hold when all is well


@pytest.fixture
def held():
    """What is held at the beginning must be what is held at the end: nothing is forgotten to be given back."""
    before = memory.budget.held
    yield lambda: memory.budget.held - before
    with gevent.Timeout(PATIENCE):
        while memory.budget.held != before:
            gevent.sleep(0.01)


def silent(sock):
    """An origin that reads all, and says nothing until its client leaves."""
    try:
        while sock.recv(65536):
            pass
    except socket.error:
        pass                            # it left by a reset


def until(condition):
    """Wait until it holds."""
    with gevent.Timeout(PATIENCE):
        while not condition():
            gevent.sleep(0.01)


def test_a_tunnel_holds_nothing_of_the_head_that_opened_it(held):
    with listening(silent) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n%s\r\n' % (origin[0].encode('ascii'), origin[1], LARGE))
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        until(lambda: proxy.tunnels)
        conversation, = proxy.server.live
        assert held() == 0 and conversation.current.head is None and conversation.current.request.fields == []
        client.close()


def test_a_request_that_waits_for_its_response_holds_little_of_its_head(held):
    heads = []

    def origin_of(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        silent(sock)
    with listening(origin_of) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n%s\r\n' % (origin[0].encode('ascii'), origin[1], LARGE))
        until(lambda: heads)
        assert heads[0].count(b'X-Field-') == 500, heads
        until(lambda: held() < SMALL)
        conversation, = proxy.server.live
        assert conversation.current.request.method == b'GET' and conversation.current.request.fields == []
        client.close()


def test_a_large_head_is_sent_again_if_a_kept_connection_turns_out_dead(held):
    def once_and_then_dead(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        read_until(sock, b'\r\n\r\n')       # and closes without an answer
    question = b'GET http://%s:%d/ HTTP/1.1\r\nHost: x\r\n%s\r\n'
    with listening(once_and_then_dead) as origin, proxying() as (address, _proxy):
        place = origin[0].encode('ascii'), origin[1]
        client = connect(address)
        for fields in (b'', LARGE):
            client.sendall(question % (place + (fields,)))
            assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        client.close()


def test_a_large_head_over_the_limit_gets_503_and_a_small_one_is_served(held):
    with listening(answering()) as origin, proxying('[limits]\nmemory = 100k') as (address, proxy):
        assert ask(address, get(origin, more=LARGE)).startswith(b'HTTP/1.1 503 ')
        assert proxy.wait()[0].reason == 'memory_limit_reached'
        assert ask(address, get(origin)).endswith(b'fine')
    assert memory.budget.refused


def test_a_head_that_comes_slowly_is_charged_while_it_comes(held):
    with proxying('[limits]\nmemory = 100k') as (address, proxy):
        clients = [connect(address) for _ in range(4)]
        for client in clients:
            client.sendall(b'GET http://a.test/ HTTP/1.1\r\n' + LARGE[:40000])
        record = proxy.wait()[0]
        assert (record.status, record.reason) == (503, 'memory_limit_reached')
        for client in clients:
            client.close()


def test_octets_for_a_slow_reader_are_charged_until_it_takes_them(held):
    with stream_pair() as (stream, other):
        sending = gevent.spawn(stream.send, b'x' * (16 << 20), TimeLimit('body', PATIENCE, errors.DownloadTimeout))
        until(lambda: held() > memory.FREE)
        left = 16 << 20
        while left:
            left -= len(other.recv(1 << 20))
        sending.get()


def test_a_reader_that_goes_away_gives_back_what_it_was_charged(held):
    with stream_pair() as (stream, other):
        sending = gevent.spawn(stream.send, b'x' * (16 << 20), TimeLimit('body', PATIENCE, errors.DownloadTimeout))
        until(lambda: held() > memory.FREE)
        other.close()
        with pytest.raises(errors.ClientLost):
            sending.get()


def test_little_is_read_at_once_for_slow_readers_while_the_budget_is_short(held, monkeypatch):
    with stream_pair() as (stream, _other):
        monkeypatch.setattr(memory.budget, 'most', None)        # other tests have set it
        assert relay.piece_size(stream, 1 << 20) == relay.COPIED_AT_ONCE
        monkeypatch.setattr(memory.budget, 'most', 1000)
        memory.budget.force(0, 900)
        assert relay.piece_size(stream, 1 << 20) == memory.FREE
        memory.budget.force(900, 0)


def test_large_heads_of_origins_are_charged_too(held):
    with listening(lambda sock: (read_until(sock, b'\r\n\r\n'), sock.sendall(b'HTTP/1.1 200 OK\r\n' + LARGE + b'\r\n'))) as origin:
        with proxying('[limits]\nmemory = 100k') as (address, proxy):
            assert ask(address, get(origin)).startswith(b'HTTP/1.1 503 ')
            assert proxy.wait()[0].reason == 'memory_limit_reached'


def test_a_small_request_that_others_share_is_never_forgotten(held):
    # It is read together with much that is pipelined behind it, so that its connection is charged.
    with listening(answering()) as origin, proxying() as (address, _proxy):
        small = get(origin)
        for _ in range(4):
            assert ask(address, small).endswith(b'fine')
        client = connect(address)
        client.sendall(small[:-2])
        gevent.sleep(0)
        client.sendall(b'\r\n' + get(origin, more=LARGE))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).count(b'fine') == 2
        client.close()
        assert b'Host' in reading.parse_request(small).write(b'')
