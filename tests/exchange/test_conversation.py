"""The story of a client connection: conversations of a client, the proxy and its origins, on real sockets."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest

from geproxy.compat import monotonic
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client


def text_of(origin):
    """host:port as octets."""
    return b'%s:%d' % (origin[0].encode('ascii'), origin[1])


def get(origin, path=b'/', more=b'', method=b'GET'):
    """A request in absolute-form."""
    return b'%s http://%s%s HTTP/1.1\r\nHost: %s\r\n%s\r\n' % (
        method, text_of(origin), path, text_of(origin), more)


def saying(body, seen=None):
    """An origin that answers every request with `body`; `seen` gets the heads."""
    def handle(sock):
        rest = b''
        while True:
            head = rest + read_until(sock, b'\r\n\r\n')
            if not head:
                return
            head, _end, rest = head.partition(b'\r\n\r\n')
            if seen is not None:
                seen.append(head)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))
    return handle


def nothing(sock):
    """An origin that is never to be reached."""
    raise AssertionError('somebody came: %r' % sock.recv(100))


def split(response):
    """-> (status line, {field name in lower case: value}, body)"""
    head, _end, body = response.partition(b'\r\n\r\n')
    lines = head.split(b'\r\n')
    fields = dict((line.partition(b':')[0].lower(), line.partition(b':')[2].strip()) for line in lines[1:])
    return lines[0], fields, body


# --- the five faults of the ancestor, and the first-host defect ----------------------------------------------------

@pytest.mark.parametrize('pipelined', [False, True])
def test_two_requests_on_one_connection_go_to_their_own_origins(pipelined):
    with listening(saying(b'one')) as one, listening(saying(b'two')) as two, proxying() as (address, proxy):
        if pipelined:
            shown = ask(address, (get(one) + get(two)) * 100)
            bodies = [part[:3] for part in shown.split(b'\r\n\r\n')[1:]]
        else:
            client, bodies = connect(address), []
            for origin in (one, two) * 100:
                client.sendall(get(origin))
                shown = read_until(client, b'\r\n\r\n')
                bodies.append(shown[-3:] if shown[-4:] != b'\r\n\r\n' else client.recv(3))
            client.close()
        assert bodies == [b'one', b'two'] * 100
        assert [record.status for record in proxy.wait(200)] == [200] * 200


def test_a_client_that_half_closes_gets_its_answer():
    def slowly(sock):
        read_until(sock, b'\r\n\r\n')
        gevent.sleep(0.6)                       # the origin thinks: longer than two glances at the client
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter')
    with listening(slowly) as origin, proxying() as (address, proxy):
        shown = ask(address, get(origin))
        assert shown.startswith(b'HTTP/1.1 200 OK\r\n') and shown.endswith(b'\r\n\r\nafter')
        assert proxy.wait()[0].reason == ''


def test_a_request_without_host_is_refused_at_once():
    with proxying() as (address, proxy):
        status, fields, body = split(ask(address, b'GET / HTTP/1.1\r\n\r\n'))
        assert status == b'HTTP/1.1 400 HTTP/1.1 needs a Host field'
        assert fields[b'connection'] == b'close'
        assert proxy.wait()[0].reason == 'http_request_error'


def test_strangers_are_refused():
    with proxying('[access]\nclients = 10.99.99.0/24') as (address, proxy):
        status, _fields, _body = split(ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n'))
        assert status.startswith(b'HTTP/1.1 403 client 127.0.0.1 is not among [access] clients')
        proxy.wait_until(lambda: proxy.server.strangers.counts['told'] == 1)
        assert proxy.records == []              # one line for many: see strangers


@pytest.mark.parametrize('first, rest, answer', [
    (b'\x16', b'\x03\x01\x02\x00', b'\x15\x03\x01'), (b'PRI * HTTP', b'/2.0\r\n\r\nSM\r\n\r\n', b'\x00\x00\x00\x04'),
    (b'P', b'RI', b'HTTP/1.1 400 '),
    (b'OPT', b'IONS * HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n', b'HTTP/1.1 200 ')])
def test_another_protocol_is_recognised_even_if_its_first_octets_come_alone(first, rest, answer):
    with proxying() as (address, proxy):
        sock = connect(address)
        sock.sendall(first)
        proxy.wait_until(lambda: [conversation.client.buffer for conversation in proxy.server.live] == [first])
        sock.sendall(rest)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock)[:len(answer)] == answer
        sock.close()


def test_origin_form_goes_by_host():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, _proxy):
        shown = ask(address, b'GET /x?y HTTP/1.1\r\nHost: %s\r\n\r\n' % text_of(origin))
        assert shown.endswith(b'\r\n\r\nok')
        assert seen[0].startswith(b'GET /x?y HTTP/1.1\r\nHost: %s\r\n' % text_of(origin))


# --- connections of clients ----------------------------------------------------------------------------------------

def test_absolute_form_wins_over_host():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, _proxy):
        ask(address, b'GET http://%s/ HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n' % text_of(origin))
        assert b'\r\nHost: %s\r\n' % text_of(origin) in seen[0] and b'elsewhere' not in seen[0]


def test_an_http_1_0_client_is_closed_behind_its_answer():
    with listening(saying(b'ok')) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://%s/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n' % text_of(origin))
        status, fields, body = split(read_all(client))
        assert (status, body, fields[b'connection']) == (b'HTTP/1.1 200 OK', b'ok', b'close')


def test_a_refusal_leaves_the_connection_to_the_next_request():
    with listening(saying(b'ok')) as origin, proxying('[access]\nhttp_ports = 1024-65535') as (address, proxy):
        shown = ask(address, get(('127.0.0.1', 81)) + get(origin))
        assert shown.startswith(b'HTTP/1.1 403 port 81 is not among [access] http_ports')
        assert shown.endswith(b'\r\n\r\nok')
        assert [record.status for record in proxy.wait(2)] == [403, 200]


def test_empty_lines_before_a_request_are_skipped():
    with listening(saying(b'ok')) as origin, proxying() as (address, _proxy):
        assert ask(address, b'\r\n\r\n' + get(origin)).endswith(b'\r\n\r\nok')


def test_an_idle_connection_is_closed_without_an_answer():
    with proxying('[timeouts]\nhead = 0.3') as (address, proxy):
        assert read_all(connect(address)) == b''
        assert proxy.records == []


def test_a_head_that_does_not_end_in_time_gets_408():
    with proxying('[timeouts]\nhead = 0.3') as (address, proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/ HTTP/1.1\r\nHos')
        status, fields, _body = split(read_all(client))
        assert status == b'HTTP/1.1 408 waited 0.3 s ([timeouts] head)'
        assert proxy.wait()[0].reason == 'client_head_timeout'


def test_one_deadline_spans_the_whole_head():
    with proxying('[timeouts]\nhead = 0.5') as (address, proxy):
        client = connect(address)
        began = monotonic()
        client.sendall(b'GET http://a.test/ HTTP/1.1\r\n')
        with gevent.Timeout(PATIENCE):
            while not proxy.records:
                client.send(b'a')
                gevent.sleep(0.1)               # always something, never enough
        assert proxy.records[0].reason == 'client_head_timeout'
        assert monotonic() - began < 5


@pytest.mark.parametrize('octets, status', [
    (b'GET http://a.test/' + b'a' * 70000, b'414'),
    (b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nA: ' + b'a' * 70000, b'431'),
    (b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n' + b'A: b\r\n' * 1001 + b'\r\n', b'431'),
])
def test_a_head_that_is_too_large_is_refused(octets, status):
    with proxying() as (address, _proxy):
        assert ask(address, octets)[9:12] == status


def test_a_bare_lf_is_refused_before_the_head_has_ended():
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/ HTTP/1.1\nHost')      # and waits
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()


def test_a_request_line_of_http_0_9_is_refused_at_once():
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET /\r\n')
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_bug_costs_one_connection_and_is_logged(monkeypatch):
    with proxying() as (address, proxy):
        # The lowest thing that every request passes; broken as no code of ours would break.
        monkeypatch.setattr('geproxy.http1.framing.request_body', lambda request, limits: 1 // 0)
        status, fields, _body = split(ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n'))
        assert status.startswith(b'HTTP/1.1 500 ') and b'error=proxy_internal_error' in fields[b'proxy-status']
        assert 'ZeroDivisionError' in proxy.said[-1] and proxy.wait()[0].id in proxy.said[-1]
        monkeypatch.undo()
        assert ask(address, b'BAD\r\n\r\n').startswith(b'HTTP/1.1 400 ')


# --- to the proxy itself -------------------------------------------------------------------------------------------

def test_a_browser_that_visits_the_proxy_gets_a_page():
    with proxying() as (address, proxy):
        status, fields, body = split(ask(address, b'GET / HTTP/1.1\r\nHost: %s\r\n\r\n' % text_of(address)))
        assert (status, fields[b'content-type']) == (b'HTTP/1.1 200 OK', b'text/html; charset=utf-8')
        assert b'http_proxy=http://%s/' % text_of(address) in body
        assert len(body) == int(fields[b'content-length'])
        assert ask(address, b'GET /favicon.ico HTTP/1.1\r\nHost: %s\r\n\r\n' % text_of(address))[9:12] == b'404'
        assert [record.reason for record in proxy.wait(2)] == ['', '']


def test_the_page_is_served_under_a_name_that_only_the_browser_can_resolve():
    with proxying() as (address, _proxy):
        host = b'gateway.invalid:%d' % address[1]
        assert b'http_proxy=http://%s/' % host in ask(address, b'GET / HTTP/1.1\r\nHost: %s\r\n\r\n' % host)


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]', '0.0.0.0'])
def test_no_name_of_the_proxy_leads_through_it_to_itself(host):
    with proxying() as (address, proxy):
        authority = ('%s:%d' % (host, address[1])).encode('ascii')
        for request in (b'GET http://%s/ HTTP/1.1\r\nHost: a\r\n\r\n', b'CONNECT %s HTTP/1.0\r\n\r\n'):
            status, _fields, _body = split(ask(address, request % authority))
            assert status[9:12] == b'403' and b'is this proxy itself' in status
        assert [record.reason for record in proxy.wait(2)] == ['destination_ip_prohibited'] * 2


def test_a_loop_through_other_proxies_is_detected_by_via():
    with listening(nothing) as origin, proxying('[proxy]\nname = me') as (address, proxy):
        shown = ask(address, get(origin, more=b'Via: 1.0 fred, 1.1 ME (comment)\r\n'))
        assert shown.startswith(b'HTTP/1.1 508 ') and proxy.wait()[0].reason == 'proxy_loop_detected'


def test_trace_and_options_end_where_max_forwards_says():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, _proxy):
        cookie = b'Max-Forwards: %d\r\nCookie: secret\r\nA: b\r\n'
        status, fields, body = split(ask(address, get(origin, method=b'TRACE', more=cookie % 0)))
        assert (status, fields[b'content-type']) == (b'HTTP/1.1 200 OK', b'message/http')
        assert body.startswith(b'TRACE http://') and b'\r\nA: b\r\n' in body and b'secret' not in body
        status, fields, body = split(ask(address, get(origin, method=b'OPTIONS', more=cookie % 0)))
        assert b'CONNECT' in fields[b'allow'] and body == b''
        assert seen == []
        ask(address, get(origin, method=b'TRACE', more=cookie % 7))
        assert b'\r\nMax-Forwards: 6\r\n' in seen[0]


def test_trace_shows_no_password_of_its_target():
    with proxying() as (address, _proxy):
        body = split(ask(address, b'TRACE http://bob:secret@a.test/x#y HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n'))[2]
        assert body == b'TRACE http://a.test/x HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n'


# --- log-ins


def test_a_response_that_is_broken_off_at_the_end_of_a_drain_does_not_look_whole():
    def endless(sock):
        head = read_until(sock, b'\r\n\r\n')
        if head[:3] == b'GET':
            sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nsome')
            read_all(sock)
        else:
            sock.sendall(b'some')
            try:
                end = sock.recv(10)
            except socket.error:
                end = None
            assert end is None          # a reset, to the origin, too
    with listening(endless) as origin:
        with proxying() as (address, proxy):
            clients = connect(address), connect(address)
            clients[0].sendall(get(origin).replace(b'HTTP/1.1', b'HTTP/1.0'))      # to the end of the connection
            clients[1].sendall(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
            read_until(clients[1], b'\r\n\r\n')
            clients[1].sendall(b'CHAT\r\n\r\n')
            for client in clients:
                read_until(client, b'some')
        assert sorted(record.reason for record in proxy.records) == ['drained', 'drained']
        for client in clients:
            with pytest.raises(socket.error):
                client.recv(1000)
            client.close()


# --- endless work --------------------------------------------------------------------------------------------------


def test_large_heads_are_parsed_one_at_a_time_and_others_are_served_in_between():
    last_hop = b'OPTIONS http://a.test/%s HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n'
    with proxying() as (address, proxy):
        clients = [connect(address) for _ in range(31)]
        proxy.wait_until(lambda: len(proxy.server.live) == len(clients))
        for number, client in enumerate(clients):           # without a switch to another greenlet
            client.sendall(last_hop % (b'small' if number == 15 else b'a' * 9000))
        records = proxy.wait(len(clients))
        assert [record.url[-5:] for record in records].index(b'small') < 3
        for client in clients:
            client.close()


def test_empty_lines_before_a_request_are_bounded():
    with proxying() as (address, proxy):
        assert ask(address, b'\r\n' * 20000).startswith(b'HTTP/1.1 400 ')
        assert proxy.wait()[0].reason == 'http_request_error'


@pytest.mark.parametrize('more', ['[access]\nrules = allow any any rate 100k\nloopback = auto\n',
                                  '[limits]\nrate = 100k\n'])
def test_octets_that_are_discarded_behind_an_early_response_count_for_the_rates_of_its_exchange(more):
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    with listening(handle) as (host, port), proxying(more + '[timeouts]\nlinger = 1\n') as (address, proxy), Client(
            address) as client:
        client.send(b'POST http://%s:%d/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n' % (
            host.encode('ascii'), port))
        proxy.wait_until(lambda: proxy.server.live)
        conversation, = proxy.server.live
        stream, began = conversation.client, monotonic()
        with pytest.raises(socket.error):
            while True:
                client.send(b'x' * 100000)
        assert proxy.wait()[0].status == 403
        assert stream.received < 100000 * (monotonic() - began) + 200000


def test_trace_of_the_proxy_itself_is_answered():
    with proxying() as (address, proxy):
        shown = ask(address, b'TRACE / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX: y\r\n\r\n' % address[1])
        assert shown.startswith(b'HTTP/1.1 200 ') and shown.endswith(b'\r\nX: y\r\n\r\n')
        assert proxy.wait()[0].status == 200
