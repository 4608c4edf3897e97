"""An exchange as others see it: its view at each step, and how it is ended from outside. Real sockets."""
from __future__ import absolute_import, division, print_function

import errno
import gc
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client
from test_conversation import get, saying
from test_fetch import reset

from geproxy import errors
from geproxy.exchange.state import Exchange
from geproxy.net import workers


def exchange_of(proxy, phase):
    """Wait until the only exchange is in that phase; return it."""
    def found():
        return [each.current for each in proxy.server.live if each.current and each.current.view().phase == phase]
    proxy.wait_until(found)
    return found()[0]


def slow(go):
    """An origin that answers in two parts, each once `go` is set."""
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        for part in (b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi', b'ne'):
            with gevent.Timeout(PATIENCE):
                go.wait()
            go.clear()
            sock.sendall(part)
    return handle


def test_a_view_has_plain_values_of_the_moment():
    go = Event()
    with listening(slow(go)) as origin, proxying() as (address, proxy), Client(address) as client:
        octets = get(origin)
        client.send(octets[:10])
        view = exchange_of(proxy, 'head').view()
        assert (view.method, view.url, view.address, view.received, view.sent) == (b'', b'', '', 0, 0)
        client.send(octets[10:])
        exchange = exchange_of(proxy, 'waiting')
        before = exchange.view()
        assert (before.method, before.address, before.received) == (b'GET', '127.0.0.1', len(octets))
        assert before.url == b'http://127.0.0.1:%d/' % origin[1] and before.sent == 0 and before.user == b''
        go.set()
        after = exchange_of(proxy, 'body').view()
        assert after.id == before.id and after.began == before.began and after.sent > 0
        assert before.sent == 0 and before.phase == 'waiting'           # it is of then
        go.set()
        client.response()
        record, = proxy.wait()
        assert record.id == before.id


def resets(sock):
    """An origin that reads a head and resets."""
    read_until(sock, b'\r\n\r\n')
    reset(sock)


@pytest.mark.parametrize('handle, more, body, statuses', [
    (lambda sock: read_until(sock, b'\r\n\r\n'), b'', b'', (502,)),
    (resets, b'', b'', (502,)),
    (lambda sock: [read_until(sock, b'\r\n\r\n'), sock.sendall(b'no response\r\n\r\n')], b'', b'', (502,)),
    (lambda sock: [read_until(sock, b'\r\n\r\n'), sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab')], b'', b'', (200,)),
    (read_all, b'Transfer-Encoding: chunked\r\n', b'5\r\nhello\r\nno size\r\n', (400,)),
    (read_all, b'Content-Length: 9\r\n', b'hello', (0, 400)),
    (None, b'', b'', (403,)),
], ids=['closed', 'reset', 'no response', 'broken off', 'bad chunk', 'half an upload', 'denied'])
def test_an_exchange_that_failed_is_freed_without_the_garbage_collector(handle, more, body, statuses):
    with listening(handle or read_all) as origin, proxying('' if handle else '[access]\ndeny_addresses = 127.0.0.1\n') as (
            address, proxy):
        gc.collect()
        gc.disable()
        try:
            ask(address, get(origin, more=more, method=b'POST' if more else b'GET') + body)
            record, = proxy.wait()
            assert record.status in statuses
            proxy.wait_until(lambda: not proxy.server.live)
            gevent.sleep(0)             # the greenlet has ended, too
            assert not [each for each in gc.get_objects() if isinstance(each, Exchange)]
        finally:
            gc.enable()


def test_nothing_of_an_exchange_is_kept_by_an_idle_connection():
    with listening(saying(b'ok')) as origin, proxying() as (address, proxy), Client(address) as client:
        client.ask(get(origin))
        proxy.wait()
        conversation, = proxy.server.live
        assert conversation.current is None and conversation.view().exchange is None
        assert not hasattr(conversation, '__dict__')                    # slots cost a fifth of a dict


@pytest.mark.parametrize('begun', [False, True])
def test_an_end_from_outside_is_the_response_if_none_has_begun(begun):
    go = Event()
    with listening(slow(go)) as origin, proxying() as (address, proxy), Client(address) as client:
        client.send(get(origin))
        exchange = exchange_of(proxy, 'waiting')
        if begun:
            go.set()
            exchange = exchange_of(proxy, 'body')
        thrown = exchange.end(errors.Killed('by a test'))
        assert isinstance(thrown, workers.Interrupted) is not begun
        assert (exchange.record.reason, exchange.record.aborted) == (('killed', True) if begun else ('', False))
        go.set()


def test_a_tunnel_that_is_ended_from_outside_looks_broken():
    with listening(read_all) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: a\r\n\r\n' % origin[1])
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        exchange_of(proxy, 'tunnel')
        proxy.server.end(list(proxy.server.live), errors.Killed('by a test'))
        with pytest.raises(socket.error) as caught:
            client.recv(1)
        assert caught.value.args[0] == errno.ECONNRESET
        client.close()
        record, = proxy.wait()
        assert (record.reason, record.aborted) == ('killed', True)
