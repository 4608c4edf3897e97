"""The story of a client connection: conversations of a client, the proxy and its origins, on real sockets."""
from __future__ import absolute_import, division, print_function

import base64
import hashlib
import re
import socket
import struct

import gevent
import pytest

from geproxy.compat import monotonic
from geproxy.upstream.resolver import Resolver
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


def test_connect_makes_a_tunnel():
    def shout(sock):
        while True:
            data = sock.recv(100)
            if not data:
                return
            sock.sendall(data.upper())
    with listening(shout) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (text_of(origin), text_of(origin)))
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        client.sendall(b'hello')
        assert client.recv(100) == b'HELLO'
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b''
        record = proxy.wait()[0]
        assert (record.status, record.tunnel, record.reason) == (200, True, '')
        assert record.url == text_of(origin) and proxy.tunnels == [record]


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
def test_another_protocol_whose_first_octets_come_alone_is_answered_in_its_own_language(first, rest, answer):
    with proxying() as (address, proxy):
        sock = connect(address)
        sock.sendall(first)
        proxy.wait_until(lambda: [handler.client.buffer for handler in proxy.server.live] == [first])
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


def test_an_idle_connection_is_closed_in_silence():
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


def test_a_bare_lf_is_told_before_the_head_has_ended():
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/ HTTP/1.1\nHost')      # and waits
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()


def test_a_request_line_of_http_0_9_is_told_at_once():
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET /\r\n')
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()


# --- failures ------------------------------------------------------------------------------------------------------

def test_a_failure_says_what_why_and_where_to_look():
    with proxying() as (address, proxy):
        sock = socket.socket()
        sock.bind(('127.0.0.1', 0))             # bound, not listening: refused
        status, fields, body = split(ask(address, get(sock.getsockname())))
        record = proxy.wait()[0]
        what = "127.0.0.1 port %d: connection refused" % sock.getsockname()[1]
        sock.close()
        assert status == b'HTTP/1.1 502 ' + what.encode('ascii')
        assert fields[b'content-type'] == b'text/plain; charset=us-ascii'
        assert b'error=connection_refused; details="' + what.encode('ascii') in fields[b'proxy-status']
        assert record.id.encode('ascii') in body and record.id.encode('ascii') in fields[b'proxy-status']
        assert (record.status, record.reason, record.message) == (502, 'connection_refused', what)


def test_a_failure_of_head_has_no_body():
    with proxying() as (address, _proxy):
        shown = ask(address, b'HEAD http://no-such-name.invalid/ HTTP/1.1\r\nHost: no-such-name.invalid\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 502 ') and shown.endswith(b'\r\n\r\n')


def test_an_early_refusal_of_an_upload_survives_the_close():
    with proxying('[access]\nhttp_ports = 80') as (address, proxy):
        client = connect(address)
        client.sendall(get(('127.0.0.1', 81), method=b'PUT', more=b'Content-Length: 3000000\r\n'))
        client.sendall(b'x' * 3000000)          # all of it, before looking at the answer
        status, fields, body = split(read_all(client))
        assert status.startswith(b'HTTP/1.1 403 ') and fields[b'connection'] == b'close'
        assert len(body) == int(fields[b'content-length'])


def test_a_bug_costs_one_connection_and_is_told(monkeypatch):
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


def test_a_page_comes_for_a_name_of_the_proxy_that_only_the_browser_knows():
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


def test_a_loop_by_way_of_others_is_seen_by_via():
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


# --- targets as real clients send them

@pytest.mark.parametrize('before, behind, line, authorization', [
    (b'bob:se%63ret@', b'/a', b'GET /a HTTP/1.1', b'Basic Ym9iOnNlY3JldA=='),
    (b'bob@', b'?a@b', b'GET /?a@b HTTP/1.1', b'Basic Ym9iOg=='),
    (b'@', b'', b'GET / HTTP/1.1', None),
    (b'', b'/a#b?c@d', b'GET /a HTTP/1.1', None),
    (b'', b'#', b'GET / HTTP/1.1', None),
    (b'', b'/\xc3\xa9?\xff#\xfe', b'GET /\xc3\xa9?\xff HTTP/1.1', None),
    (b'x' * 9000 + b':y@', b'/', b'GET / HTTP/1.1', b'Basic ' + base64.b64encode(b'x' * 9000 + b':y')),
])
def test_userinfo_and_fragment_of_a_target_never_go_on(before, behind, line, authorization):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, proxy):
        target = b'http://' + before + text_of(origin) + behind
        assert ask(address, b'GET %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (target, text_of(origin))).endswith(b'ok')
        got, fields, _body = split(seen[0] + b'\r\n\r\n')
        assert (got, fields.get(b'authorization')) == (line, authorization)
        assert proxy.wait()[0].url == b'http://' + text_of(origin) + behind.partition(b'#')[0]


def test_userinfo_of_a_target_does_not_replace_authorization_nor_log_in_to_the_proxy(people):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying(people) as (address, proxy):
        line = b'GET http://bob:bob-secret@%s/ HTTP/1.1\r\nHost: x\r\n%s\r\n'
        assert ask(address, line % (text_of(origin), b''))[9:12] == b'407'
        more = basic(b'eve', b'eve-secret')
        assert ask(address, line % (text_of(origin), more)).endswith(b'ok')
        assert ask(address, line % (text_of(origin), more + b'Authorization: Bearer x\r\n')).endswith(b'ok')
        told = [split(head + b'\r\n\r\n')[1][b'authorization'] for head in seen]
        assert told == [b'Basic ' + base64.b64encode(b'bob:bob-secret'), b'Bearer x']
        assert [record.user for record in proxy.wait(3)] == [b'', b'eve', b'eve']


def test_a_rule_sees_the_host_behind_userinfo_and_may_strip_what_became_of_it():
    seen, rules = [], '[access]\nrules =\n  deny any bad.test # no\n  allow any any strip Authorization\n'
    with listening(saying(b'ok', seen)) as origin, proxying(rules) as (address, _proxy):
        shown = ask(address, b'GET http://good.test@bad.test/ HTTP/1.1\r\nHost: good.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 403 ') and b'good.test' not in shown
        assert ask(address, b'GET http://bob:secret@%s/ HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin)).endswith(b'ok')
        assert b'authorization' not in seen[0].lower()


def test_no_answer_shows_a_password_of_a_target():
    with proxying() as (address, _proxy):
        for target in (b'http://bob:hush@a.test:22/', b'http://bob:hush@no-such-name.invalid/', b'http://bob:hush@@a/',
                       b'http://bob:hu%0dsh@a/', b'https://bob:hush@a/', b'http://bob:hush@a b/', b'bob:hush@a',
                       b'http://bob:hush@a\\b/', b'http://bob:hush@169.254.169.254/', b'http://bob:hush@:80/'):
            shown = ask(address, b'GET %s HTTP/1.1\r\nHost: a\r\n\r\n' % target)
            assert shown[9:10] in b'45' and b'hu' not in shown.replace(b'shu', b''), target


def test_a_client_that_cannot_do_https_through_a_proxy_is_told_so():
    with proxying() as (address, _proxy):
        shown = ask(address, b'GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 501 https:// goes through a proxy by CONNECT only')
        assert b'busybox wget' in shown and b'curl' in shown


def test_a_tunnel_to_a_port_of_http_ports_is_refused_and_the_hint_says_what_to_do():
    with proxying('[access]\nconnect_ports = 443\nhttp_ports = any\n') as (address, _proxy):
        shown = ask(address, b'CONNECT a.test:8090 HTTP/1.1\r\nHost: a.test\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 403 port 8090 is not among [access] connect_ports (443)')
        assert b'http_ports does not count for CONNECT' in shown


def test_options_of_a_whole_server_becomes_an_asterisk():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, _proxy):
        ask(address, b'OPTIONS http://%s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        ask(address, b'OPTIONS * HTTP/1.1\r\nHost: %s\r\n\r\n' % text_of(origin))
        assert [head.split(b'\r\n')[0] for head in seen] == [b'OPTIONS * HTTP/1.1'] * 2


# --- other protocols -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('octets, answer, word', [
    (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', b'\x15\x03\x01\x00\x02\x02\x46', 'TLS'),
    (b'\x05\x01\x00', b'\x05\xff', 'SOCKS 5'),
    (b'\x04\x01\x00\x50\x7f\x00\x00\x01\x00', b'\x00\x5b\x00\x00\x00\x00\x00\x00', 'SOCKS 4'),
    (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'\x00\x00\x00\x04\x00', 'HTTP/2'),
])
def test_other_protocols_are_answered_in_their_own_language(octets, answer, word):
    with proxying() as (address, proxy):
        client = connect(address)
        client.sendall(octets)                  # and waits for an answer
        assert read_all(client).startswith(answer)
        client.close()
        record = proxy.wait()[0]
        assert record.reason == 'wrong_protocol' and word in record.message and 'http://' in record.message or word == (
            'HTTP/2')


# --- tunnels -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('head', [
    b'CONNECT %s HTTP/1.0\r\n\r\n',                                 # pip up to Python 3.11, nc, corkscrew
    b'CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',              # Java, aiohttp, undici: Host without port
    b'CONNECT %s HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\n\r\n',
    b'CONNECT %s HTTP/1.1\r\n\r\n',                                 # Python up to 3.11 and a proxy of HTTP/1.1
    b'CONNECT %s HTTP/1.1\r\nHost: ::1:443\r\nHost: b c\r\n\r\n',      # busybox and others, IPv6 without brackets
    b'CONNECT %s HTTP/1.1\r\nHost: a\r\nTE: x\r\nConnection: TE, close\r\nContent-Length: 0\r\n\r\n',
])
def test_connect_as_real_clients_send_it(head):
    with listening(lambda sock: sock.sendall(sock.recv(100))) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(head % text_of(origin))
        assert read_until(client, b'\r\n\r\n') == b'HTTP/1.1 200 Connection established\r\n\r\n'
        client.sendall(b'still open')
        assert client.recv(100) == b'still open'
        client.close()


def test_octets_that_come_with_connect_are_not_lost():
    with listening(lambda sock: sock.sendall(read_until(sock, b'early').upper())) as origin:
        with proxying() as (address, _proxy):
            shown = ask(address, b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\nearly' % text_of(origin))
            assert shown.endswith(b'\r\n\r\nEARLY')


def test_a_tunnel_half_closed_by_its_origin_still_goes_up():
    got = []

    def handle(sock):
        sock.sendall(b'bye')
        sock.shutdown(socket.SHUT_WR)
        got.append(read_all(sock))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        assert read_all(client).endswith(b'bye')
        client.sendall(b'and you')
        client.shutdown(socket.SHUT_WR)
        proxy.wait()
    assert got == [b'and you']


@pytest.mark.parametrize('end', ['client', 'origin'])
def test_a_half_closed_tunnel_does_not_stay_for_ever(end):
    def handle(sock):
        sock.sendall(b'hello')
        if end == 'origin':
            sock.shutdown(socket.SHUT_WR)
        read_all(sock)
        gevent.sleep(PATIENCE)                  # and never ends its own direction
    with listening(handle) as origin, proxying('[timeouts]\nlinger = 0.5') as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        assert read_until(client, b'hello').endswith(b'hello')
        if end == 'client':
            client.shutdown(socket.SHUT_WR)
        assert proxy.wait()[0].reason == 'tunnel_idle'
        client.close()


def test_an_idle_tunnel_is_cut_and_one_that_is_used_is_not():
    with listening(lambda sock: read_all(sock)) as origin, proxying('[timeouts]\ntunnel = 0.6') as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        read_until(client, b'\r\n\r\n')
        began = monotonic()
        for _ in range(6):
            gevent.sleep(0.25)                  # longer than the limit in all, shorter each
            client.sendall(b'x')
        assert not proxy.records
        assert proxy.wait()[0].reason == 'tunnel_idle' and monotonic() - began > 1.5
        client.close()


def test_a_reset_in_a_tunnel_is_a_reset_on_the_other_side():
    def handle(sock):
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(b'CONNECT %s HTTP/1.1\r\nHost: a\r\n\r\n' % text_of(origin))
        read_until(client, b'\r\n\r\n')
        client.sendall(b'x')
        with pytest.raises(socket.error):
            assert client.recv(100) != b''
        client.close()
        assert proxy.wait()[0].reason == 'connection_terminated'


def test_a_refused_connect_says_why_in_its_reason_phrase():
    with proxying('[access]\nconnect_ports = 443') as (address, proxy):
        status, fields, _body = split(ask(address, b'CONNECT a.test:22 HTTP/1.0\r\n\r\n'))
        assert status == b'HTTP/1.1 403 port 22 is not among [access] connect_ports (443)'
        assert fields[b'connection'] == b'close'


@pytest.mark.parametrize('garbage', [b'\xff' * 100, b' ' * 100, b'\x80\x81\x82', b'{"json": 1}', b'GET  ', b'GET / FTP'])
def test_garbage_without_a_line_end_is_told_at_once(garbage):
    with proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(garbage)                 # and waits
        assert read_until(client, b'\r\n').startswith(b'HTTP/1.1 400 ')
        client.close()


# --- rules

def test_a_refusal_names_the_rule_in_the_answer_and_in_the_record():
    rules = '[access]\nrules =\n  deny any bad.test\n  allow any any\n'
    with proxying(rules) as (address, proxy):
        status, fields, body = split(ask(address, b'GET http://BAD.test./ HTTP/1.1\r\nHost: x\r\n\r\n'))
        assert re.match(br'HTTP/1.1 403 denied by test\.ini:\d+: deny any bad\.test\Z', status)
        why = status[len(b'HTTP/1.1 403 '):]
        assert b'details="%s"' % why in fields[b'proxy-status'] and body.startswith(b'geproxy: %s\n' % why)
        record, = proxy.wait()
        assert record.message == why.decode('ascii') and record.rule == why.split(b' ')[2][:-1].decode('ascii')


def test_a_rule_about_networks_is_asked_of_what_is_dialled_and_of_kept_connections_too():
    with listening(saying(b'ok')) as origin:
        rules = '[access]\nrules =\n  deny 10.0.0.0/8 any\n  allow any 127.0.0.1:%d\n' % origin[1]
        with proxying(rules) as (address, proxy):
            for _ in range(2):
                assert ask(address, get(origin).replace(b'127.0.0.1', b'localhost')).endswith(b'ok')
            assert b' 403 no rule allows it' in ask(address, get(('127.0.0.2', origin[1]))).split(b'\r\n')[0]
            records = proxy.wait(3)
            assert [record.kept for record in records] == [False, True, False]
            assert [record.rule.partition(':')[0] for record in records] == ['test.ini', 'test.ini', '']


def test_a_report_says_what_would_have_been_refused():
    with listening(saying(b'ok')) as origin:
        with proxying('[access]\npolicy = report\nrules =\n  deny any localhost\n  deny any loopback\n') as (address, proxy):
            assert ask(address, get(origin).replace(b'127.0.0.1', b'localhost')).endswith(b'ok')
            assert ask(address, get(origin)).endswith(b'ok')
            first, second = proxy.wait(2)
            assert (first.reason, second.reason) == ('', '')
            assert first.would.endswith(': deny any localhost') and second.would.endswith(': deny any loopback')


def test_a_rule_strips_and_sets_what_its_origin_gets():
    seen = []
    with listening(saying(b'ok', seen)) as origin:
        with proxying('[proxy]\nforwarded = add\n[access]\nrules =\n  allow any loopback strip Cookie set X-Env=test\n') as (
                address, _proxy):
            ask(address, get(origin, more=b'Cookie: a=b\r\nX-Env: none\r\nX: y\r\n'))
    assert seen[0].split(b'\r\n')[2:] == [b'X: y', b'X-Env: test', b'Forwarded: for=127.0.0.1',
                                          b'X-Forwarded-For: 127.0.0.1', seen[0].split(b'\r\n')[-1]]


@pytest.mark.parametrize('octets, status', [
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\nA: b\r\n\r\n', 400),
    (b'HEAD http://127.0.0.1:1/ HTTP/2.0\r\nHost: x\r\n\r\n', 505),
    (b'HEAD https://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n\r\n', 501),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n' + b'A: b\r\n' * 1300 + b'\r\n', 431),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\nA: ' + b'b' * 70000 + b'\r\n\r\n', 431),
    (b'HEAD http://127.0.0.1:1/' + b'b' * 70000 + b' HTTP/1.1\r\nHost: x\r\n\r\n', 414),
    (b'HEAD http://127.0.0.1:1/ HTTP/1.1\r\nHost: x\r\n', 408),
])
def test_the_answer_to_head_has_no_body_however_bad_the_head_is(octets, status):
    with proxying('[timeouts]\nhead = 300ms\n') as (address, proxy):
        client = connect(address)
        client.sendall(octets)
        answer = read_all(client)
        client.close()
        assert answer.startswith(b'HTTP/1.1 %d ' % status) and answer.endswith(b'\r\n\r\n')
        assert int(split(answer)[1][b'content-length']) > 0


# --- limits

def length_of(size):
    """An origin that answers with that many octets."""
    def handle(sock):
        while read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size + b'x' * size)
    return handle


def test_requests_beyond_the_rate_get_429_and_when_to_come_back():
    with listening(saying(b'ok')) as origin, proxying('[limits]\nrequests = 0.5\nburst = 3') as (address, proxy):
        with Client(address) as client:
            answers = [client.ask(get(origin)) for _ in range(5)]
        assert [answer[9:12] for answer in answers] == [b'200'] * 3 + [b'429'] * 2
        assert answers[4].startswith(
            b'HTTP/1.1 429 client 127.0.0.1 sends more than 0.5 requests per second ([limits] requests)\r\n')
        assert b'\r\nRetry-After: 2\r\n' in answers[4]
        assert proxy.wait(5)[4].reason == 'request_rate_exceeded'


@pytest.mark.parametrize('octets, status', [
    (b'GET / HTTP/1.1\r\n\r\n', b'400'), (b'nonsense\r\n\r\n', b'400'), (b'GET http://a/' + b'a' * 70000, b'414'),
    (b'GET http://a/ HTTP/1.1\r\nHost: a\r\n' + b'A: b\r\n' * 1001 + b'\r\n', b'431'),
    (b'GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n', b'501'), (b'GET http://a/ HTTP/2.0\r\nHost: a\r\n\r\n', b'505'),
])
def test_requests_that_cannot_be_understood_count_too(octets, status):
    with proxying('[limits]\nrequests = 0.001\nburst = 2') as (address, proxy):
        assert [ask(address, octets)[9:12] for _ in range(4)] == [status] * 2 + [b'429'] * 2
        assert ask(address, get(('127.0.0.1', 1)))[9:12] == b'429'
        assert proxy.wait(5)[4].reason == 'request_rate_exceeded'


def test_connections_beyond_those_of_one_client_get_429():
    with proxying('[limits]\nper_client = 2') as (address, proxy):
        clients = [connect(address) for _ in range(2)]
        for client in clients:
            client.sendall(b'OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n')
            assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        refused = ask(address, get(('127.0.0.1', 1)))
        assert refused.startswith(b'HTTP/1.1 429 client 127.0.0.1 has 2 connections already ([limits] per_client)\r\n')
        assert b'\r\nRetry-After: 1\r\n' in refused
        clients.pop().close()
        clients.pop().close()
        proxy.wait_until(lambda: not proxy.server.live)
        assert b' 429 ' not in ask(address, get(('127.0.0.1', 1)))


@pytest.mark.parametrize('more', ['[limits]\nrate = 200k', '[access]\nrules =\n  allow any any rate 200k'])
def test_octets_go_no_faster_than_their_rate(more):
    with listening(length_of(100000)) as origin, proxying(more) as (address, _proxy):
        began = monotonic()
        assert len(ask(address, get(origin))) > 100000
        # Neither much faster (the first twentieth of a second is free) nor as slow as if it went both ways at once.
        assert monotonic() - began > 0.35


def test_a_quota_ends_what_goes_on_and_refuses_what_comes(tmpdir):
    more = '[limits]\nquota = 50k\nquota_file = %s\n' % tmpdir.join('quota')
    with listening(length_of(30000)) as origin, proxying(more) as (address, proxy):
        for _ in range(2):
            assert len(ask(address, get(origin))) > 30000
        refused = ask(address, get(origin))
        assert refused.startswith(b'HTTP/1.1 429 client 127.0.0.1 has had its 50k octets for today ([limits] quota)\r\n')
        assert b'\r\nRetry-After: ' in refused
        assert [record.reason for record in proxy.wait(3)] == ['', '', 'quota_exceeded']
    assert 'client' not in tmpdir.join('quota').read() and ' 127.0.0.1\n' in tmpdir.join('quota').read()
    with listening(nothing) as origin, proxying(more) as (address, proxy):
        assert ask(address, get(origin)).startswith(b'HTTP/1.1 429 ')       # a restart forgives nobody


# --- log-ins

def basic(user, password):
    """The field line of a log-in."""
    return b'Proxy-Authorization: Basic %s\r\n' % base64.b64encode(b'%s:%s' % (user, password))


@pytest.fixture
def people(tmpdir):
    """The [auth] section that knows bob, in ops, and eve."""
    sha = b'{SHA}%s'
    lines = [b'%s:%s' % (name, sha % base64.b64encode(hashlib.sha1(name + b'-secret').digest())) for name in (b'bob', b'eve')]
    tmpdir.join('users').write_binary(b'\n'.join(lines))
    tmpdir.join('groups').write_binary(b'ops: bob\n')
    return '[auth]\nusers = %s\ngroups = %s\nrealm = the gateway\n' % (tmpdir.join('users'), tmpdir.join('groups'))


def test_who_has_not_logged_in_is_asked_on_the_same_connection(people):
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying(people) as (address, proxy), Client(address) as client:
        asked = client.ask(get(origin))
        assert asked.startswith(b'HTTP/1.1 407 this proxy asks for a name and a password\r\n')
        assert split(asked)[1][b'proxy-authenticate'] == b'Basic realm="the gateway", charset="UTF-8"'
        assert b'\r\nConnection: close\r\n' not in asked
        assert client.ask(get(origin, more=basic(b'bob', b'wrong'))).startswith(b"HTTP/1.1 407 log-in as 'bob' failed\r\n")
        # a body that has come is read, and CONNECT may come again, too
        assert client.ask(get(origin, method=b'POST', more=b'Content-Length: 5\r\n') + b'12345')[9:12] == b'407'
        client.send(get(origin, method=b'POST', more=b'Content-Length: 6\r\n') + b'123')
        client.send(b'456')
        assert client.response()[9:12] == b'407'
        assert client.ask(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin))[9:12] == b'407'
        assert client.ask(get(origin, more=basic(b'bob', b'bob-secret'))).endswith(b'ok')
        # per request, never remembered for the connection
        assert client.ask(get(origin))[9:12] == b'407'
        records = proxy.wait(7)
        assert [record.user for record in records] == [b''] * 5 + [b'bob', b'']
        assert [record.reason for record in records][:2] == ['login_required', 'login_failed']
    assert b'authorization' not in seen[0].lower() and len(seen) == 1


@pytest.mark.parametrize('behind', [b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', b'\x16\x03\x01', b'\r\n', b'x'])
def test_a_client_that_does_not_wait_behind_connect_loses_its_connection_when_it_must_log_in(people, behind):
    head = b'CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\n%s\r\n'
    with proxying(people) as (address, proxy):
        for more in (b'', basic(b'bob', b'wrong')):
            with Client(address) as client:
                client.send(head % more + behind)
                shown = client.rest()
                assert shown.startswith(b'HTTP/1.1 407 ') and shown.count(b'HTTP/1.1 ') == 1
                assert b'\r\nConnection: close\r\n' in shown
        assert [record.method for record in proxy.wait(2)] == [b'CONNECT'] * 2


def test_a_client_that_waits_behind_connect_may_log_in_on_the_same_connection(people):
    with listening(lambda sock: sock.sendall(sock.recv(100))) as origin, proxying(people) as (address, _proxy):
        with Client(address) as client:
            for more in (b'', basic(b'bob', b'wrong')):
                shown = client.ask(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (text_of(origin), more))
                assert shown.startswith(b'HTTP/1.1 407 ') and b'\r\nConnection: close\r\n' not in shown
            more = basic(b'bob', b'bob-secret')
            client.send(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n%s\r\n' % (text_of(origin), more))
            assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            client.send(b'through')
            assert client.socket.recv(100) == b'through'


def test_a_large_body_behind_a_refused_log_in_is_not_read(people):
    with proxying(people) as (address, _proxy):
        shown = ask(address, get(('127.0.0.1', 1), method=b'POST', more=b'Content-Length: 100000\r\n'))
        assert shown.startswith(b'HTTP/1.1 407 ') and b'\r\nConnection: close\r\n' in shown


def test_rules_know_users_and_groups(people):
    rules = '[access]\nrules =\n  allow group:ops any\n  deny user:* any # ask ops\n'
    with listening(saying(b'ok')) as origin, proxying(people + rules) as (address, proxy):
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret'))).endswith(b'ok')
        refused = ask(address, get(origin, more=basic(b'eve', b'eve-secret')))
        assert re.match(br'HTTP/1.1 403 denied by test\.ini:\d+: deny user:\* any', refused)
        assert [record.user for record in proxy.wait(2)] == [b'bob', b'eve']


def test_who_is_exempt_need_not_log_in_but_must_not_lie(people):
    with listening(saying(b'ok')) as origin, proxying(people + 'exempt = loopback\n') as (address, _proxy):
        assert ask(address, get(origin)).endswith(b'ok')
        assert ask(address, get(origin, more=basic(b'bob', b'wrong')))[9:12] == b'407'
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret') * 2))[9:12] == b'400'


def test_users_who_are_new_are_known_without_a_reload(people, tmpdir):
    with listening(saying(b'ok')) as origin, proxying(people) as (address, proxy):
        assert ask(address, get(origin, more=basic(b'new', b'new-secret')))[9:12] == b'407'
        tmpdir.join('users').write_binary(b'new:{SHA}' + base64.b64encode(hashlib.sha1(b'new-secret').digest()))
        proxy.wait_until(lambda: any('reread: 1 users' in text for text in proxy.said))
        assert ask(address, get(origin, more=basic(b'new', b'new-secret'))).endswith(b'ok')
        assert ask(address, get(origin, more=basic(b'bob', b'bob-secret')))[9:12] == b'407'


def test_a_request_is_judged_by_the_users_it_began_with(people, tmpdir):
    policy = '[access]\nrules =\n  deny group:ops any\n  allow user:* any\n'
    with listening(nothing) as origin, proxying(people + policy) as (address, proxy), Client(address) as client:
        octets = get(origin, more=basic(b'bob', b'bob-secret'))
        client.send(octets[:30])
        proxy.wait_until(lambda: any(handler.record for handler in proxy.server.live))
        tmpdir.join('groups').write_binary(b'ops:\n')
        proxy.wait_until(lambda: any('reread: 2 users' in text for text in proxy.said))
        client.send(octets[30:])
        assert b'denied by test.ini:' in client.response()


def test_what_is_for_one_address_never_goes_to_another_that_a_retry_dials():
    heads = []

    def dying(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        heads.append(read_until(sock, b'\r\n\r\n'))        # and ends, as a kept connection may at any time

    def other(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother')
    rules = '[access]\nrules =\n  allow any 127.0.0.2 set Authorization=for-2-only\n  allow any 127.0.0.3\n'
    with listening(dying, '127.0.0.2') as (_host, port), proxying(rules) as (address, proxy), Client(address) as client:
        there = ['127.0.0.2']
        proxy.server._upstream.dialling.resolver = Resolver(keep=-1, ask=lambda host: list(there))
        assert client.ask(get(('a.test', port))).endswith(b'ok')
        with listening(other, '127.0.0.3', port):
            there[:] = ['127.0.0.3']
            assert client.ask(get(('a.test', port))).endswith(b'other')
    assert b'for-2-only' in heads[0] and b'for-2-only' not in heads[1] and b'uthorization' not in heads[1]


def test_who_asks_in_vain_has_asked(people):
    with proxying(people + '[limits]\nrequests = 0.1\nburst = 2\n') as (address, _proxy), Client(address) as client:
        statuses = [client.ask(get(('127.0.0.1', 1)))[9:12] for _ in range(4)]
    assert statuses == [b'407', b'407', b'429', b'429']


def test_a_body_that_trickles_behind_a_refused_log_in_is_not_waited_for(people):
    with proxying(people) as (address, _proxy), Client(address) as client:
        client.send(get(('127.0.0.1', 1), method=b'POST', more=b'Content-Length: 60000\r\n') + b'x')
        began = monotonic()
        trickle = gevent.spawn(lambda: [client.send(b'x') or gevent.sleep(0.1) for _ in range(100)])
        answer = client.response()
        trickle.kill()
        assert answer[9:12] == b'407' and b'\r\nConnection: close\r\n' in answer and monotonic() - began < 5


@pytest.mark.parametrize('more', ['', '[access]\nrules = deny any any\n', 'auth'])
def test_a_browser_that_visits_gets_its_page_whatever_the_policy_is(people, more):
    with proxying(people if more == 'auth' else more) as (address, _proxy):
        shown = ask(address, b'GET / HTTP/1.1\r\nHost: gateway:%d\r\n\r\n' % address[1])
        assert shown.startswith(b'HTTP/1.1 200 ') and b'This is a proxy, not a web site' in shown
        if more:
            assert ask(address, get(('gateway', address[1])))[9:12] in (b'403', b'407')


def test_a_loop_is_told_even_where_a_log_in_is_asked_for(people):
    with proxying(people) as (address, proxy):
        via = b'Via: 1.1 %s\r\n' % proxy.server.proxy.name_octets
        assert ask(address, get(('127.0.0.1', 1), more=via))[9:12] == b'508'


def test_a_refusal_is_charged_to_nobody(tmpdir):
    # The quota ends in the middle of the request, so there is a pace by then; the answer has to get through all the same.
    more = '[limits]\nquota = 50k\nquota_file = %s\n' % tmpdir.join('quota')
    with listening(read_all) as origin, proxying(more) as (address, proxy), Client(address) as client:
        client.send(get(origin, method=b'POST', more=b'Content-Length: 1000000\r\n'))
        for _ in range(20):
            client.send(b'x' * 10000)
            gevent.sleep(0.01)          # so that it comes in pieces, each of which is charged
        answer = client.response()
        assert answer.startswith(b'HTTP/1.1 429 client 127.0.0.1 has had its 50k octets for today ([limits] quota)\r\n')
        assert proxy.wait()[0].reason == 'quota_exceeded' and not proxy.said


def test_an_answer_that_is_over_the_quota_before_it_begins_is_told_and_not_just_missing(tmpdir):
    # The quota ends with the request head: the response is held back, whole.
    more = '[limits]\nquota = 1k\nquota_file = %s\n' % tmpdir.join('quota')

    def origin(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    with listening(origin) as place, proxying(more) as (address, proxy), Client(address) as client:
        assert client.ask(get(place, more=b'X: %s\r\n' % (b'x' * 1000))).startswith(
            b'HTTP/1.1 429 client 127.0.0.1 has had its 1k octets for today ')
        assert client.ask(get(place))[9:12] == b'429'          # and the connection is as good as ever
        assert [(each.status, each.reason) for each in proxy.wait(2)] == [(429, 'quota_exceeded')] * 2


def test_what_is_cut_at_the_end_of_a_drain_does_not_look_whole():
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

REFUSED = '[access]\nrules =\n  deny any refused.test\n  allow any any:any\n'


def test_pipelined_requests_that_are_refused_at_once_let_others_run(monkeypatch):
    monkeypatch.setattr('geproxy.net.turns.TURN', 0.0)      # on a quick machine all of it takes few turns
    many = b'GET http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\n\r\n' * 270        # one read takes all
    with proxying(REFUSED) as (address, proxy), Client(address) as first, Client(address) as second:
        def ask_again_and_again():
            while True:
                second.ask(b'GET http://refused.test/second HTTP/1.1\r\nHost: refused.test\r\n\r\n')
        asking = gevent.spawn(ask_again_and_again)
        first.send(many)
        proxy.wait_until(lambda: sum(record.url[-1:] == b'/' for record in proxy.records) == 270)
        asking.kill()
        ends = b''.join(record.url[-1:] for record in proxy.records)       # / is one of many
        assert b'd' in ends[ends.index(b'/'):ends.rindex(b'/')]


def test_large_heads_are_understood_one_at_a_time_and_others_are_served_in_between():
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
def test_what_is_swallowed_behind_an_early_response_counts_for_the_rates_of_its_exchange(more):
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 403 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n')
    with listening(handle) as (host, port), proxying(more + '[timeouts]\nlinger = 1\n') as (address, proxy), Client(
            address) as client:
        client.send(b'POST http://%s:%d/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n' % (
            host.encode('ascii'), port))
        proxy.wait_until(lambda: proxy.server.live)
        handler, = proxy.server.live
        stream, began = handler.client, monotonic()
        with pytest.raises(socket.error):
            while True:
                client.send(b'x' * 100000)
        assert proxy.wait()[0].status == 403
        assert stream.received < 100000 * (monotonic() - began) + 200000


def test_bodies_that_are_read_behind_a_407_count_for_the_rate(tmpdir):
    users = tmpdir.join('users')
    users.write('bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=')
    with proxying('[limits]\nrate = 200k\n[auth]\nusers = %s\n' % users) as (address, _proxy), Client(
            address) as client:
        began = monotonic()
        for _ in range(4):
            answer = client.ask(b'POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 60000\r\n\r\n' +
                                b'x' * 60000)
            assert answer[9:12] == b'407' and b'\r\nConnection: close\r\n' not in answer
        assert monotonic() - began > 3 * 60000 / (200 * 1024) - 0.4         # a pause of a moment is made up for


def test_what_is_swallowed_behind_a_refusal_counts_for_the_rate():
    more = REFUSED + '[limits]\nrate = 100k\n[timeouts]\nlinger = 1\n'
    with proxying(more) as (address, proxy), Client(address) as client:
        client.send(b'POST http://refused.test/ HTTP/1.1\r\nHost: refused.test\r\nContent-Length: 1000000000\r\n\r\n')
        proxy.wait()
        handler, = proxy.server.live
        stream = handler.client
        began = monotonic()
        with pytest.raises(socket.error):
            while True:
                client.send(b'x' * 100000)
        assert stream.received < 100000 * (monotonic() - began) + 100000
