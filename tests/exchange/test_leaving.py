"""Clients that leave while a name, a connection or a log-in is waited for."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import os
import socket
import struct

import gevent
import pytest
from helpers import PATIENCE, connect, listening, proxying, read_until
from test_fetch import OK, answering
from test_conversation import get, saying
from test_dialling import bound_alike

from geproxy.compat import native_lock
from geproxy.exchange import leaving
from geproxy.upstream.resolver import Resolver

# So that nothing but the client's end can be what ends it.
LONG = """
[timeouts]
dns = 10m
connect = 10m
login = 10m
"""


class Gate(object):
    """Stands where resolver.look_up does: answers once it is opened."""

    def __init__(self):
        self._lock = native_lock()
        self._lock.acquire()

    def __call__(self, host):
        self._lock.acquire()
        self._lock.release()
        return ['127.0.0.1']

    def open(self):
        """Let all go on."""
        if self._lock.locked():
            self._lock.release()


@contextlib.contextmanager
def hanging(more=''):
    """A proxy whose names hang: (its address, the Recorder, the Gate)."""
    gate = Gate()
    with proxying(LONG + more) as (address, proxy):
        proxy.server._upstream.dialling.resolver = proxy.resolver = Resolver(ask=gate)
        try:
            yield address, proxy, gate
        finally:
            gate.open()


def end(client, how):
    """End the connection of a client. `how`: 'reset', or anything for a FIN."""
    if how == 'reset':
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    client.close()


def request(method, port, host=b'a.test'):
    """A request by a name."""
    if method == b'CONNECT':
        return b'CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n' % (host, port, host, port)
    return b'%s http://%s:%d/ HTTP/1.1\r\nHost: %s:%d\r\n\r\n' % (method, host, port, host, port)


def lost(proxy):
    """Wait for its record: the client was lost, and nobody is watched any more."""
    record = proxy.wait()[0]
    assert (record.reason, record.aborted) == ('client_lost', True)
    assert not (leaving._all._new or leaving._all._old or leaving._all._watched or leaving._all._ended)
    return record


@pytest.mark.parametrize('method', [b'GET', b'POST', b'CONNECT'])
@pytest.mark.parametrize('how', ['closed', 'reset'])
def test_a_client_that_leaves_while_its_name_is_looked_up_is_noticed(method, how):
    with hanging() as (address, proxy, _gate):
        client = connect(address)
        client.sendall(request(method, 80))
        proxy.wait_until(lambda: proxy.resolver.pending)
        end(client, how)
        lost(proxy)


@pytest.mark.parametrize('method', [b'GET', b'CONNECT'])
@pytest.mark.parametrize('how', ['closed', 'reset'])
def test_a_client_that_leaves_while_its_origin_is_dialled_ends_the_dialling(method, how):
    listener, other = bound_alike('127.0.0.2', '127.0.0.1')
    listener.listen(0)
    fillers = [socket.socket() for _ in range(8)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    with proxying(LONG) as (address, proxy):
        before = len(os.listdir('/proc/self/fd'))
        client = connect(address)
        client.sendall(request(method, listener.getsockname()[1], b'127.0.0.2'))
        proxy.wait_until(lambda: [conversation for conversation in proxy.server.live if conversation.view().phase == 'connect'])
        end(client, how)
        lost(proxy)
        proxy.wait_until(lambda: not proxy.server.live)
        assert len(os.listdir('/proc/self/fd')) == before
    for sock in fillers + [listener, other]:
        sock.close()


@pytest.mark.parametrize('method', [b'GET', b'CONNECT'])
def test_a_client_that_has_only_ended_its_direction_gets_its_answer(method):
    origin_of = {b'GET': answering(OK), b'CONNECT': lambda sock: sock.sendall(b'ok')}
    with listening(origin_of[method]) as (_host, port), hanging() as (address, proxy, gate):
        client = connect(address)
        client.sendall(request(method, port))
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b'H'           # it is seen to be there: this is what comes first in any case
        gate.open()
        assert read_until(client, b'ok')[:12] == b'TTP/1.1 200 ' and proxy.wait()[0].status == 200
        client.close()


def test_a_client_that_has_ended_its_direction_does_not_wait_for_ever():
    with hanging('linger = 100ms') as (address, proxy, _gate):
        client = connect(address)
        client.sendall(request(b'GET', 80))
        client.shutdown(socket.SHUT_WR)
        assert proxy.wait()[0].message == 'a half-closed client waited 0.1 s ([timeouts] linger)'
        client.close()


def test_octets_that_a_client_sends_while_it_waits_are_its_next_request():
    with listening(saying(b'ok')) as (host, port), hanging() as (address, proxy, gate):
        client = connect(address)
        client.sendall(request(b'GET', port))
        proxy.wait_until(lambda: leaving._all._watched)
        client.sendall(get((host, port)))
        proxy.wait_until(lambda: [conversation for conversation in proxy.server.live if conversation.client.buffer])
        gate.open()
        assert [record.status for record in proxy.wait(2)] == [200, 200]
        client.close()


def test_a_client_that_sends_more_than_a_head_while_it_waits_is_still_noticed():
    with hanging('[limits]\nhead_size = 4096') as (address, proxy, _gate):
        client = connect(address)
        client.sendall(request(b'GET', 80))
        proxy.wait_until(lambda: leaving._all._watched)
        client.sendall(b'x' * 5000)
        proxy.wait_until(lambda: leaving._all._ended)
        end(client, 'reset')
        lost(proxy)


def test_a_client_that_leaves_while_its_log_in_waits_is_noticed(tmpdir):
    users = tmpdir.join('users')
    users.write('joe:{SHA}%s\n' % base64.b64encode(b'\0' * 20).decode('ascii'))
    more = b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'joe:wrong')
    with proxying(LONG + '[auth]\nusers = %s\n' % users) as (address, proxy):
        with contextlib.closing(connect(address)) as client:
            guesses = 0
            while not leaving._all._watched:    # the more have failed, the longer the next one waits
                client.sendall(get(('127.0.0.1', 80), more=more))
                guesses += 1
                with gevent.Timeout(PATIENCE):
                    while len(proxy.records) < guesses and not leaving._all._watched:
                        gevent.sleep(0.01)
        record = proxy.wait(guesses)[-1]
        assert record.reason == 'client_lost'


def test_a_check_that_fails_does_not_keep_the_others_from_being_checked(capsys):
    broken = object()                   # as any bug would be
    with hanging() as (address, proxy, _gate), contextlib.closing(connect(address)) as client:
        leaving.watch(broken)
        client.sendall(request(b'GET', 80))
        with gevent.Timeout(PATIENCE):
            while not leaving._all._watched:
                gevent.sleep(0.01)
        end(client, 'close')
        lost(proxy)
    leaving.forget(broken)
    assert 'a look at clients that may leave failed, and goes on' in capsys.readouterr()[1]


def test_many_clients_that_have_ended_their_direction_are_checked_in_turn(monkeypatch):
    monkeypatch.setattr(leaving, 'CHECKS', 2)
    with hanging() as (address, proxy, _gate):
        clients = [connect(address) for _ in range(7)]
        for client in clients:
            client.sendall(request(b'GET', 80))
            client.shutdown(socket.SHUT_WR)
        proxy.wait_until(lambda: len(leaving._all._ended) == 7)
        for client in clients:
            end(client, 'reset')
        assert [record.reason for record in proxy.wait(7)] == ['client_lost'] * 7
