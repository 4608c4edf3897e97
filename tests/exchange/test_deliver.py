"""Answers on their way to the client: framing, broken ends, clients that leave. Real sockets."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from test_conversation import get, saying, split, text_of
from test_fetch import answering, reset

from geproxy.compat import monotonic


def test_a_response_without_date_gets_one_and_via_tells_its_version():
    with listening(answering(b'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok')) as origin:
        with proxying('[proxy]\nname = me') as (address, _proxy):
            _status, fields, _body = split(ask(address, get(origin)))
            assert fields[b'date'].endswith(b' GMT') and fields[b'via'] == b'1.0 me'


def test_via_can_be_switched_off():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying('[proxy]\nvia = off') as (address, _proxy):
        assert b'via' not in split(ask(address, get(origin)))[1] and b'Via' not in seen[0]


CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3;x="y"\r\nabc\r\n02\r\nde\r\n0\r\nA: b\r\nHost: x\r\n\r\n'


def test_a_chunked_response_stays_chunked_with_its_trailers_and_without_extensions():
    with listening(answering(CHUNKED)) as origin, proxying() as (address, _proxy):
        _status, fields, body = split(ask(address, get(origin)))
        assert fields[b'transfer-encoding'] == b'chunked' and b'content-length' not in fields
        assert body == b'5\r\nabcde\r\n0\r\nA: b\r\n\r\n'


def test_a_chunked_response_is_dechunked_for_http_1_0_and_ended_by_close():
    with listening(answering(CHUNKED)) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://%s/ HTTP/1.0\r\n\r\n' % text_of(origin))
        _status, fields, body = split(read_all(client))
        assert body == b'abcde' and fields[b'connection'] == b'close'
        assert not set(fields) & set([b'transfer-encoding', b'content-length'])


def test_a_response_until_close_is_chunked_for_http_1_1():
    with listening(answering(b'HTTP/1.1 200 OK\r\n\r\nabc')) as origin, proxying() as (address, _proxy):
        shown = ask(address, get(origin) * 2)
        assert shown.count(b'\r\n\r\n3\r\nabc\r\n0\r\n\r\n') == 2


@pytest.mark.parametrize('method, head', [
    (b'HEAD', b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n'),
    (b'HEAD', b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'),
    (b'GET', b'HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n'),
    (b'GET', b'HTTP/1.1 204 No Content\r\n\r\n'),
])
def test_a_response_that_cannot_have_a_body_has_none_even_if_its_fields_claim_one(method, head):
    with listening(answering(head, close=False)) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=method))
        shown = read_until(client, b'\r\n\r\n')
        field = head.split(b'\r\n')[1]
        assert field in shown
        client.close()
        assert proxy.wait()[0].reason == ''


def test_octets_behind_a_204_are_never_the_next_response():
    forged = b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
    with listening(answering(b'HTTP/1.1 204 No Content\r\n\r\n' + forged, close=False)) as origin:
        with proxying() as (address, proxy):
            for _ in range(3):
                assert ask(address, get(origin))[9:12] == b'204'
            assert [record.kept for record in proxy.wait(3)] == [False] * 3


@pytest.mark.parametrize('response', [
    b'garbage\r\n\r\n', b'HTTP/2.0 200 OK\r\n\r\n', b'HTTP/1.1 20 OK\r\n\r\n', b'HTTP/1.1 200 OK\nA\n\n', b'\x16\x03\x01',
    b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
    b'HTTP/1.1 200 OK\r\n A: b\r\n\r\n', b'ICY 200 OK\r\n\r\n',
])
def test_a_doubtful_response_is_502_even_if_the_origin_stays(response):
    with listening(answering(response, close=False)) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin))[9:12] == b'502'
        assert proxy.wait()[0].reason == 'http_protocol_error'


@pytest.mark.parametrize('how', ['close', 'reset'])
@pytest.mark.parametrize('start', [
    b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n',
])
def test_an_origin_that_dies_in_mid_body_never_looks_like_a_clean_end(start, how):
    heard = Event()

    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(start)
        assert heard.wait(PATIENCE)
        if how == 'reset':
            reset(sock)
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        shown = read_until(client, b'abc')
        heard.set()
        shown += read_all(client)
        _status, fields, body = split(shown)
        assert not body.endswith(b'0\r\n\r\n') and len(body) < 20
        assert fields.get(b'content-length', b'10') == b'10'
        record = proxy.wait()[0]
        assert record.aborted and record.reason in ('http_response_incomplete', 'connection_terminated')


def test_a_broken_end_is_a_reset_if_only_the_end_of_the_connection_ends_the_body():
    heard = Event()

    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nabc')
        assert heard.wait(PATIENCE)
        reset(sock)
    with listening(handle) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://%s/ HTTP/1.0\r\n\r\n' % text_of(origin))
        read_until(client, b'abc')
        heard.set()
        with pytest.raises(socket.error):
            assert client.recv(100) != b''


def test_an_early_final_response_is_delivered_while_the_client_still_sends():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig')
        sock.shutdown(socket.SHUT_WR)
        gevent.sleep(0.2)
    with listening(handle) as origin, proxying('[timeouts]\nlinger = 2') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'PUT', more=b'Content-Length: 50000000\r\n'))
        client.sendall(b'x' * 100000)
        status, fields, body = split(read_until(client, b'big'))
        assert (status, body, fields[b'connection']) == (b'HTTP/1.1 413 Too Large', b'big', b'close')
        client.close()
        assert proxy.wait()[0].status == 413


def test_a_client_that_reads_to_the_end_sees_the_end_of_an_early_final_response():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig')
    with listening(handle) as origin, proxying('[timeouts]\nlinger = 1h') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'PUT', more=b'Content-Length: 100000\r\n') + b'x' * 1000)
        assert read_all(client).endswith(b'\r\n\r\nbig')
        client.close()
        assert proxy.wait()[0].status == 413


def test_an_origin_that_answers_early_still_gets_the_rest():
    got = []

    def handle(sock):
        got.append(read_until(sock, b'\r\n\r\n').partition(b'\r\n\r\n')[2])
        sock.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        while len(b''.join(got)) < 500000:
            got.append(sock.recv(65536))
            sock.sendall(b'%x\r\n%s\r\n' % (len(got[-1]), got[-1]))     # an echo, while it still reads
        sock.sendall(b'0\r\n\r\n')
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'POST', more=b'Connection: close\r\nContent-Length: 500000\r\n'))
        sender = gevent.spawn(client.sendall, b'y' * 500000)
        shown = read_all(client)
        sender.join(PATIENCE)
        assert len(b''.join(got)) == 500000 and shown.endswith(b'0\r\n\r\n')
        client.close()
        assert proxy.wait()[0].reason == ''


def test_a_half_closed_client_gets_a_slow_response():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n')
        for number in range(6):
            gevent.sleep(0.2)
            sock.sendall(b'%d' % number)
    with listening(handle) as origin, proxying('[timeouts]\nlinger = 500ms') as (address, proxy):
        assert ask(address, get(origin)).endswith(b'\r\n\r\n012345')
        assert proxy.wait()[0].reason == ''


def test_a_client_that_leaves_a_silent_stream_ends_the_origin_connection():
    came, ended = Event(), []

    def stream(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n')
        came.set()
        began = monotonic()
        read_all(sock)
        ended.append(monotonic() - began)
    with listening(stream) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        assert b'\r\n9\r\ndata: 1\n\n' in read_until(client, b'data: 1\n\n')      # events pass at once
        assert came.wait(PATIENCE)
        client.close()
        assert proxy.wait()[0].reason == 'client_lost'
    assert ended[0] < 1


def test_a_half_closed_client_of_a_slow_stream_gets_all_of_it():
    def stream(sock):
        read_until(sock, b'\r\n\r\n')
        for piece in (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', b'3\r\none\r\n', b'3\r\ntwo\r\n', b'0\r\n\r\n'):
            sock.sendall(piece)
            gevent.sleep(0.4)
    with listening(stream) as origin, proxying() as (address, proxy):
        body = split(ask(address, get(origin)))[2]
        content = b''
        while True:
            digits, _crlf, body = body.partition(b'\r\n')
            if not int(digits, 16):
                break
            content, body = content + body[:int(digits, 16)], body[int(digits, 16) + 2:]
        assert content == b'onetwo' and proxy.wait()[0].reason == ''


def test_an_origin_that_stalls_in_mid_body_is_given_up():
    with listening(answering(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc', close=False)) as origin:
        with proxying('[timeouts]\nbody = 0.4') as (address, proxy):
            client = connect(address)
            client.sendall(get(origin))
            assert read_all(client).endswith(b'abc')
            client.close()
            assert proxy.wait()[0].reason == 'connection_read_timeout'


def test_a_client_that_does_not_read_is_given_up():
    def flood(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        try:
            while True:
                sock.sendall(b'x' * 100000)
        except socket.error:
            pass
    with listening(flood) as origin, proxying('[timeouts]\nbody = 0.5\nlinger = 0.1') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        assert proxy.wait()[0].reason == 'client_write_timeout'
        client.close()


def test_a_response_body_that_is_bad_from_its_first_octets_is_502():
    with listening(answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nXYZ\r\n')) as origin:
        with proxying() as (address, proxy):
            assert ask(address, get(origin))[9:12] == b'502'
            assert proxy.wait()[0].reason == 'http_response_transfer_coding'
