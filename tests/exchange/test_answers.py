"""Layers between an exchange and its origin: what they may do, and that nothing stays open behind them. Real sockets."""
from __future__ import absolute_import, division, print_function

import contextlib
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client
from test_conversation import get, nothing, saying, split

from geproxy import errors
from geproxy.exchange import answers, fetch, wiring
from geproxy.http1 import reading


@contextlib.contextmanager
def layered(*layers, **options):
    """A proxy with these layers, the outermost first; gives (its address, the Recorder). `ini`: its ini file. Fails if
    a connection to an origin stays open that is not kept."""
    before, wiring.LAYERS = wiring.LAYERS, tuple(lambda settings, layer=layer: layer for layer in layers)
    try:
        with proxying(options.get('ini', '')) as (address, proxy):
            yield address, proxy
            pool = proxy.server._upstream
            proxy.wait_until(lambda: pool.connections == pool.kept)
    finally:
        wiring.LAYERS = before


def own(octets, asked=None):
    """A layer that answers by itself, and adds what it is asked for to the list `asked`."""
    urls = [] if asked is None else asked

    def layer(exchange, fetch):
        urls.append(exchange.request.url)
        return answers.of_octets(octets, exchange.request.method, exchange.proxy.limits)
    return layer


def changing(exchange, fetch):
    """A layer that puts another head in front of the body."""
    answer = fetch(exchange)
    answer.response = reading.parse_response(b'HTTP/1.1 203 Changed\r\nX-Layer: yes\r\nContent-Length: 999\r\n\r\n')
    return answer


def twice(exchange, fetch):
    """A layer that does not want the first answer."""
    fetch(exchange)
    return fetch(exchange)


def patiently(answer):
    """An origin that answers one request, and waits for the end of the connection, also if that is a reset."""
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(answer)
        read_all(sock)
    return handle


def test_without_layers_nothing_is_called_in_between():
    with layered() as (_address, proxy):
        assert proxy.server.proxy.fetch is fetch.fetch


@pytest.mark.parametrize('ini', ['', '[limits]\nrate = 1m\n'])
@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n\r\nhello',
])
def test_a_layer_may_answer_without_an_origin(answer, ini):
    asked = []
    with listening(nothing) as origin, layered(own(answer, asked), ini=ini) as (address, proxy):
        for request in (get(origin) * 2, get(origin, method=b'HEAD')):
            shown = ask(address, request)
            assert shown.startswith(b'HTTP/1.1 200 OK\r\n') and b'\r\nVia: 1.1 ' in shown
            assert shown.count(b'hello') == 2 * (request[:3] == b'GET') or b'3\r\nhel\r\n' in shown
        assert [record.status for record in proxy.wait(3)] == [200] * 3
        assert [record.address for record in proxy.records] == [''] * 3 and len(asked) == 3


def test_a_large_answer_of_a_layer_arrives_whole():
    body = b'0123456789' * 100000
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)
    with layered(own(answer), ini='[limits]\nrate = 100m\n') as (address, _proxy):
        assert split(ask(address, get(('a.test', 80))))[2] == body


@pytest.mark.parametrize('version', [b'1.0', b'1.1'])
@pytest.mark.parametrize('framing', [b'', b'Transfer-Encoding: chunked\r\n', b'Content-Length: 200001\r\n'])
def test_a_large_answer_of_a_layer_may_end_with_its_octets(framing, version):
    body = b'~' * 200000
    sent = b'%x\r\n%s\r\n' % (len(body), body) if b'chunked' in framing else body     # without a last chunk: broken off
    with layered(own(b'HTTP/1.1 200 OK\r\n%s\r\n%s' % (framing, sent))) as (address, proxy):
        shown = ask(address, get(('a.test', 80)).replace(b'HTTP/1.1', b'HTTP/' + version))
        record, = proxy.wait()
        assert (record.reason, proxy.said) == ('http_response_incomplete' if framing else '', [])
        assert shown.count(b'~') == 200000 or framing      # what is broken off by a reset may lose octets


def test_an_answer_of_a_layer_that_is_too_short_never_looks_whole():
    with layered(own(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort')) as (address, proxy):
        assert ask(address, get(('a.test', 80))).endswith(b'\r\n\r\nshort')
        record, = proxy.wait()
        assert (record.reason, record.aborted) == ('http_response_incomplete', True)


def test_a_request_body_that_a_layer_leaves_unread_is_not_the_next_request():
    with layered(own(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')) as (address, proxy):
        body = get(('b.test', 80))
        shown = ask(address, get(('a.test', 80), method=b'POST', more=b'Content-Length: %d\r\n' % len(body)) + body)
        assert b'\r\nConnection: close\r\n' in shown and shown.count(b'HTTP/1.1 ') == 1
        assert len(proxy.wait()) == 1


def test_a_layer_may_change_the_response():
    with listening(saying(b'hello')) as origin, layered(changing) as (address, proxy), Client(address) as client:
        for _ in range(2):
            head, _end, body = client.ask(get(origin)).partition(b'\r\n\r\n')
            assert head.startswith(b'HTTP/1.1 203 Changed\r\nX-Layer: yes\r\nContent-Length: 5\r\n') and body == b'hello'
        assert [(record.status, record.kept) for record in proxy.wait(2)] == [(203, False), (203, True)]


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok', b'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'])
def test_a_head_of_a_layer_cannot_keep_a_connection_that_must_close(answer):
    with listening(patiently(answer)) as origin, layered(changing) as (address, proxy):
        assert ask(address, get(origin)).endswith(b'ok')
        proxy.wait()
        assert proxy.server._upstream.kept == 0


@pytest.mark.parametrize('first', [False, True])
def test_the_client_gets_the_error_of_a_layer_as_any_other_error(first):
    def failing(exchange, fetch):
        if not first:
            fetch(exchange)
        raise errors.Denied('a layer says no')
    ok = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
    with listening(patiently(ok)) as origin, layered(failing) as (address, proxy), Client(address) as client:
        for method in (b'GET', b'POST'):
            shown = client.ask(get(origin, method=method, more=b'Content-Length: 0\r\n'))
            assert shown.startswith(b'HTTP/1.1 403 a layer says no\r\n') and b'\r\nConnection: close\r\n' not in shown
        assert [record.reason for record in proxy.wait(2)] == ['http_request_denied'] * 2
        assert proxy.server._upstream.connections == 0


def test_a_layer_may_fetch_twice():
    heads = []
    with listening(saying(b'ok', heads)) as origin, layered(twice) as (address, proxy):
        large = b''.join(b'X-%d: %s\r\n' % (number, b'x' * 50) for number in range(500))
        for more in (large, b''):       # of a large head nothing is forgotten that is to be sent again
            shown = ask(address, get(origin, more=more))
            assert shown.endswith(b'ok') and shown.count(b'HTTP/1.1 ') == 1
        assert len(heads) == 4 and heads[0] == heads[1] and heads[2] == heads[3] and b'X-499: ' in heads[1]
        assert len(proxy.wait(2)) == 2


def test_a_layer_cannot_send_a_body_twice():
    heads = []
    with listening(saying(b'ok', heads)) as origin, layered(twice) as (address, proxy):
        shown = ask(address, get(origin, method=b'POST', more=b'Content-Length: 4\r\n') + b'body')
        assert shown.startswith(b'HTTP/1.1 500 ') and len(heads) == 1
        assert proxy.wait()[0].message == 'a request with a body was to be sent twice'


def test_a_layer_that_has_a_bug_costs_one_exchange():
    def broken(exchange, fetch):
        fetch(exchange)
        raise ZeroDivisionError('in a layer')
    with listening(saying(b'ok')) as origin, layered(broken) as (address, proxy):
        assert ask(address, get(origin)).startswith(b'HTTP/1.1 500 ')
        assert 'in a layer' in proxy.said[-1]


def test_the_first_layer_is_the_outermost():
    def adding(name):
        def layer(exchange, fetch):
            answer = fetch(exchange)
            lines = b''.join(line for _name, _value, line in answer.response.fields)
            answer.response = reading.parse_response(b'HTTP/1.1 200 OK\r\n%sX-Layer: %s\r\n\r\n' % (lines, name))
            return answer
        return layer
    with listening(saying(b'ok')) as origin, layered(adding(b'outer'), adding(b'inner')) as (address, _proxy):
        head = split(ask(address, get(origin)))
        assert head[1][b'x-layer'] == b'outer'
        shown = ask(address, get(origin))
        assert shown.index(b'X-Layer: inner') < shown.index(b'X-Layer: outer')


@pytest.mark.parametrize('how', ['raise', 'answer'])
def test_an_upload_that_a_layer_gives_up_is_stopped(how):
    gone = Event()

    def early(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        try:
            while sock.recv(65536):
                pass
        except socket.error:
            pass
        gone.set()

    def layer(exchange, fetch):
        answer = fetch(exchange)
        assert answer.upload is not None
        if how == 'raise':
            raise errors.Denied('not so')
        return answers.of_octets(b'HTTP/1.1 403 no\r\nContent-Length: 0\r\n\r\n', b'POST', exchange.proxy.limits)
    with listening(early) as origin, layered(layer) as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'POST', more=b'Content-Length: 1000000\r\n') + b'x')
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 403 ')
        with gevent.Timeout(PATIENCE):
            gone.wait()                 # the connection to the origin has ended, though the client is still there
        client.close()
        assert proxy.wait()[0].status == 403


def test_a_layer_is_made_once_for_each_settings_and_only_where_it_is_needed():
    made = []

    def make(settings):
        made.append(settings)
        return changing if settings.proxy.name == 'changing' else None
    before, wiring.LAYERS = wiring.LAYERS, (make,)
    try:
        with listening(saying(b'ok')) as origin, proxying('[proxy]\nname = changing') as (address, _proxy):
            assert ask(address, get(origin) * 3).count(b'HTTP/1.1 203 ') == 3 and len(made) == 1
        with proxying() as (_address, proxy):
            assert proxy.server.proxy.fetch is fetch.fetch
    finally:
        wiring.LAYERS = before


@pytest.mark.parametrize('octets', [b'', b'HTTP/1.1 OK\r\n\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n'])
def test_an_answer_of_our_own_has_to_be_a_response(octets):
    class Limits(object):
        fields, head_size = 100, 1000
    with pytest.raises(errors.BadResponse):
        answers.of_octets(octets, b'GET', Limits)
