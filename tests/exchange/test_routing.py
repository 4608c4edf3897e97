"""Requests that go through parents: which one, what it gets, what its answers and failures become. Real sockets."""
from __future__ import absolute_import, division, print_function

import base64
import os
import re
import socket

import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from test_conversation import get, nothing, saying, split, text_of
from test_dialling import bound_alike
from test_fetch import reset

from geproxy.net import socks_messages
from geproxy.settings import loading
from geproxy.upstream import parents
from geproxy.upstream.resolver import Resolver

ESTABLISHED = b'HTTP/1.1 200 OK\r\n\r\n'


class Parent(object):
    """A scripted parent, an HTTP proxy. It answers each head with the next of `answers`, the last one again and again; an
    answer that is None closes the connection without a word. After a 200 to CONNECT it says what it gets."""

    def __init__(self, *answers):
        self.answers, self.heads, self.connections = list(answers), [], 0

    def __call__(self, sock):
        self.connections += 1
        try:
            self._serve(sock)
        except socket.error:
            pass                        # what comes behind a failure is thrown away

    def _serve(self, sock):
        rest = b''
        while True:
            while b'\r\n\r\n' not in rest:
                piece = sock.recv(65536)
                if not piece:
                    return
                rest += piece
            head, _end, rest = rest.partition(b'\r\n\r\n')
            self.heads.append(head)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is None:
                return
            sock.sendall(answer)
            if head.startswith(b'CONNECT') and answer[9:12] == b'200':
                while True:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    sock.sendall(piece.upper())

    def starts(self):
        """The first lines of all heads."""
        return [head.partition(b'\r\n')[0] for head in self.heads]


def answer(body, status=b'200 OK', more=b''):
    """A response."""
    return b'HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s' % (status, len(body), more, body)


def url(address, scheme='http'):
    """The URL of a parent."""
    return '%s://%s:%d' % (scheme, address[0], address[1])


def routes(*rows):
    """[upstream] routes with these rows, and loopback addresses that answer."""
    return '[upstream]\nroutes =\n' + ''.join('  %s\n' % row for row in rows)


def knows(proxy, **names):
    """Let names have these addresses, and no others any. Return the list of the names that are asked for."""
    asked = []

    def look_up(name):
        asked.append(name)
        found = names.get(name.replace('.', '_'))
        if not found:
            raise socket.gaierror(-2, 'Name or service not known')
        return [found] if isinstance(found, str) else found
    proxy.server._upstream.dialling.resolver = Resolver(ask=look_up)
    return asked


@pytest.fixture
def closed():
    """The URL of a parent where nobody listens."""
    sock = bound_alike('127.0.0.1')[0]
    yield url(sock.getsockname())
    sock.close()


# --- what a parent gets

def test_a_plain_request_goes_in_absolute_form_by_name_and_connections_are_shared_by_hosts():
    parent = Parent(answer(b'hello'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[proxy]\nname = me') as (address, proxy):
        asked = knows(proxy)
        shown = ask(address, b'GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\n\r\n'
                             b'GET http://b.test:81/ HTTP/1.1\r\nHost: wrong.test\r\nProxy-Authorization: Basic eDp5\r\n\r\n'
                             b'OPTIONS http://c.test HTTP/1.1\r\nHost: c.test\r\n\r\n')
        assert shown.count(b'HTTP/1.1 200 OK') == 3 and shown.endswith(b'\r\n\r\nhello')
        records = proxy.wait(3)
    assert parent.heads == [
        b'GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nX-A: 1\r\nVia: 1.1 me',
        b'GET http://b.test:81/ HTTP/1.1\r\nHost: b.test:81\r\nVia: 1.1 me',
        b'OPTIONS http://c.test HTTP/1.1\r\nHost: c.test\r\nVia: 1.1 me']
    assert parent.connections == 1 and asked == []
    assert [record.route for record in records] == [url(at)] * 3 and [record.kept for record in records] == [False, True, True]
    assert records[0].address == '127.0.0.1'


def test_connect_asks_the_parent_by_name_and_shares_nothing():
    parent = Parent(ESTABLISHED + b'first')
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[proxy]\nname = me') as (address, proxy):
        asked = knows(proxy)
        for _ in range(2):
            client = connect(address)
            client.sendall(b'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nVia: 1.1 before\r\n\r\n')
            assert read_until(client, b'first').endswith(b'\r\n\r\nfirst')     # what came behind the answer is not lost
            client.sendall(b'more')
            assert client.recv(10) == b'MORE'
            client.close()
        assert proxy.wait(2)[0].tunnel and proxy.records[0].route == url(at)
    assert parent.heads == [
        b'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nVia: 1.1 before, 1.1 me'] * 2
    assert parent.connections == 2 and asked == []


@pytest.mark.parametrize('framing', [b'Content-Length: 5\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'])
def test_a_body_goes_up_and_its_connection_is_not_used_again(framing):
    bodies = []

    def handle(sock):
        head = read_until(sock, b'\r\n\r\n')
        while not head.endswith((b'hello', b'0\r\n\r\n')):
            head += sock.recv(100)
        bodies.append(head)
        sock.sendall(answer(b'thanks'))
        read_all(sock)
    with listening(handle) as at, proxying(routes('any ' + url(at)) + '[proxy]\nvia = off') as (address, proxy):
        for _ in range(2):
            assert ask(address, b'POST http://a.test/up HTTP/1.1\r\nHost: a.test\r\n' + framing).endswith(b'thanks')
        assert [record.kept for record in proxy.wait(2)] == [False, False]
    assert bodies == [b'POST http://a.test/up HTTP/1.1\r\nHost: a.test\r\n' + framing] * 2


def test_a_websocket_goes_by_connect_and_then_in_origin_form():
    got = []

    def handle(sock):
        got.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(ESTABLISHED)
        got.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
        sock.sendall(sock.recv(100).upper())
        read_all(sock)
    with listening(handle) as at, proxying(routes('any ' + url(at)) + '[proxy]\nname = me') as (address, _proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
        client.sendall(b'frame')
        assert client.recv(100) == b'FRAME'
        client.close()
    assert got == [b'CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\nVia: 1.1 me\r\n\r\n',
                   b'GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nVia: 1.1 me\r\n\r\n']


def test_an_upgrade_that_is_not_offered_needs_no_tunnel():
    parent = Parent(answer(b'plain'))
    with listening(parent) as at, proxying(routes('any ' + url(at))) as (address, _proxy):
        assert ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n').endswith(b'plain')
    assert parent.starts() == [b'GET http://a.test/ HTTP/1.1']


def test_the_first_row_decides_and_what_no_row_names_goes_directly():
    parent = Parent(answer(b'by parent'))
    with listening(parent) as at, listening(saying(b'directly')) as origin:
        rows = routes('127.0.0.0/8 direct', '.test ' + url(at), 'b.test direct')
        with proxying(rows) as (address, proxy):
            assert ask(address, get(origin)).endswith(b'directly')
            assert ask(address, b'GET http://b.test/ HTTP/1.0\r\n\r\n').endswith(b'by parent')
            knows(proxy, **{'elsewhere_example': '127.0.0.1'})
            assert ask(address, get(('elsewhere.example', origin[1]))).endswith(b'directly')
            assert [record.route for record in proxy.wait(3)] == ['direct', url(at), 'direct']


def test_without_routes_the_record_says_none():
    with listening(saying(b'directly')) as origin, proxying() as (address, proxy):
        ask(address, get(origin))
        assert proxy.wait()[0].route == ''


def test_a_kept_connection_that_is_dead_costs_the_client_nothing():
    parent = Parent(answer(b'one'), None, answer(b'two'))
    with listening(parent) as at, proxying(routes('any ' + url(at))) as (address, proxy):
        shown = ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n' * 2)
        assert shown.endswith(b'two') and len(parent.heads) == 3
        assert not proxy.said


# --- log-ins, and parents that speak SOCKS

@pytest.fixture
def login(tmpdir):
    """A function of the URL of a parent: the line of [upstream] parents with its log-in."""
    def write(name):
        path = str(tmpdir.join('parents'))
        with open(path, 'w') as opened:
            opened.write('[%s]\nuser = joe\npassword = secret\n' % name)
        os.chmod(path, 0o600)
        return '[upstream]\nparents = %s\n' % path
    return write


LINE = b'Proxy-Authorization: Basic ' + base64.b64encode(b'joe:secret')


def test_a_parent_gets_the_login_of_this_proxy_and_never_that_of_a_client(login):
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + login(url(at)) + '[proxy]\nvia = off') as (address, proxy):
        shown = ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nProxy-Authorization: Basic eDp5\r\n\r\n'
                             b'POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx')
        assert shown.count(b'200 OK') == 2
        parent.answers[:] = [ESTABLISHED]
        assert refused(address, b'CONNECT a.test:443 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\n\r\n').endswith(b'established')
        proxy.wait(3)
        assert not any('secret' in repr(record.route) + record.message for record in proxy.records)
    assert parent.heads[0].split(b'\r\n') == [b'GET http://a.test/ HTTP/1.1', LINE, b'Host: a.test']
    assert parent.heads[1].split(b'\r\n') == [b'POST http://a.test/ HTTP/1.1', LINE, b'Host: a.test', b'Content-Length: 1']
    assert LINE in parent.heads[2].split(b'\r\n') and all(head.count(b'Authorization') == 1 for head in parent.heads)


def test_a_trace_gets_no_login_because_its_answer_would_show_it(login):
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + login(url(at))) as (address, _proxy):
        for method in (b'TRACE', b'trace'):
            ask(address, method + b' http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n')
    assert len(parent.heads) == 2 and not any(b'Authorization' in head for head in parent.heads)


class Socks(object):
    """A scripted SOCKS server. It grants each request (or answers with `code`), and then is the origin itself."""

    def __init__(self, serve, code=socks_messages.GRANTED):
        self.asked, self._serve, self._code = [], serve, code

    def __call__(self, sock):
        first = sock.recv(1)
        if first == b'\x05':
            self._read(sock, socks_messages.read_methods, first)
            sock.sendall(socks_messages.write_method(socks_messages.NO_LOGIN))
            first = b''
        request = self._read(sock, socks_messages.read_request, first)
        self.asked.append((request.host, request.port))
        sock.sendall(socks_messages.write_reply(request.version, self._code))
        if self._code == socks_messages.GRANTED:
            self._serve(sock)

    def _read(self, sock, parse, octets):
        while True:
            found = parse(octets)
            if found is not None:
                return found[0]
            octets += sock.recv(1)


@pytest.mark.parametrize('scheme, hosts', [
    ('socks5h', [b'a.test', b'b.test']), ('socks4a', [b'a.test', b'b.test']), ('socks5', [b'8.8.4.1', b'8.8.4.2'])])
def test_a_request_through_socks_goes_in_origin_form_by_a_connection_for_its_host(scheme, hosts):
    heads = []
    parent = Socks(saying(b'hello', heads))
    with listening(parent) as at, proxying(routes('any ' + url(at, scheme)) + '[proxy]\nname = me') as (address, proxy):
        asked = knows(proxy, a_test='8.8.4.1', b_test='8.8.4.2')
        for host in (b'a.test', b'b.test', b'a.test'):
            assert ask(address, b'GET http://%s/x HTTP/1.1\r\nHost: %s\r\n\r\n' % (host, host)).endswith(b'hello')
        assert refused(address, b'CONNECT a.test:443 HTTP/1.1\r\n\r\n').endswith(b'established')
        assert [record.kept for record in proxy.wait(4)] == [False, False, True, False]
        assert [record.route for record in proxy.records] == [url(at, scheme)] * 4
        assert set(asked) == (set(['a.test', 'b.test']) if scheme == 'socks5' else set())
    assert parent.asked == [(hosts[0], 80), (hosts[1], 80), (hosts[0], 443)]
    assert heads == [b'GET /x HTTP/1.1\r\nHost: %s\r\nVia: 1.1 me' % host for host in (b'a.test', b'b.test', b'a.test')]


def test_a_connection_to_an_address_that_a_name_no_longer_has_is_not_used():
    parent = Socks(saying(b'hello'))
    with listening(parent) as at, proxying(routes('any ' + url(at, 'socks5'))) as (address, proxy):
        for number in (1, 2):
            knows(proxy, a_test='8.8.4.%d' % number)
            ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n')
    assert parent.asked == [(b'8.8.4.1', 80), (b'8.8.4.2', 80)]


def test_a_name_that_does_not_resolve_says_which_kind_of_parent_needs_it():
    with listening(Socks(nothing)) as at, proxying(routes('any ' + url(at, 'socks5'))) as (address, proxy):
        knows(proxy)
        status = refused(address, b'CONNECT a.test:443 HTTP/1.1\r\n\r\n')
        assert status.startswith(b"HTTP/1.1 502 'a.test' does not resolve: Name or service not known; its address must be known")
        assert 'write socks5h:// if the parent shall look it up' in proxy.wait()[0].message


def test_a_refusal_by_socks_is_no_failure_of_the_parent():
    with listening(Socks(nothing, socks_messages.NOT_ALLOWED)) as at:
        with proxying(routes('any %s, direct' % url(at, 'socks5h'))) as (address, proxy):
            assert refused(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 403 parent ')
            assert proxy.wait()[0].reason == 'parent_refused' and proxy.server._upstream.parents.view()[0].up


# --- log-ins that are bound to a connection

def test_a_connection_that_is_logged_in_serves_one_client_and_one_host():
    """NTLM and Negotiate log in the connection. A parent passes that on."""
    by_connection = []

    def handle(sock):
        number, rest = len(by_connection), b''
        by_connection.append([])
        while True:
            rest += read_until(sock, b'\r\n\r\n')
            if not rest:
                return
            head, _end, rest = rest.partition(b'\r\n\r\n')
            by_connection[number].append(head.split()[1])
            sock.sendall(answer(b'.', more=b'' if b'NTLM' in head else b'X: y\r\n'))
    login = b'Authorization: NTLM abc\r\n'
    request = b'GET http://%s.test/ HTTP/1.1\r\nHost: a\r\n%s\r\n'
    with listening(handle) as at, proxying(routes('any ' + url(at))) as (address, proxy):
        client, other = connect(address), connect(address)
        for who, host, more in ((client, b'one', login), (client, b'two', b''), (other, b'one', b''), (client, b'one', b'')):
            who.sendall(request % (host, more))         # and the connection is given back before the client gets its answer
            assert read_until(who, b'.').endswith(b'.')
        client.close()
        other.close()
    assert by_connection == [[b'http://one.test/'] * 2, [b'http://two.test/', b'http://one.test/']]


# --- what a parent answers

def test_what_a_parent_answers_to_a_plain_request_is_passed_on():
    parent = Parent(answer(b'<h1>Blocked</h1>', b'403 Forbidden', b'Via: 1.1 squid\r\n'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[proxy]\nname = me') as (address, proxy):
        status, fields, body = split(ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n'))
        assert (status, body) == (b'HTTP/1.1 403 Forbidden', b'<h1>Blocked</h1>') and fields[b'via'] == b'1.1 me'
        assert proxy.wait()[0].reason == '' and proxy.server._upstream.parents.view()[0].up


def test_a_tunnel_that_a_parent_refuses_is_a_refusal_with_the_words_of_the_parent():
    parent = Parent(answer(b'<h1>Blocked</h1> by <b>policy</b> \xe9\x07', b'403 Forbidden', b'Content-Type: text/html\r\n'))
    with listening(parent) as at, proxying(routes('any %s, http://b.test:1' % url(at)) + '[proxy]\nname = me') as (address, proxy):
        status, fields, body = split(ask(address, b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'))
        said = b'parent %s answered 403 Forbidden to CONNECT a.test:443' % text_of(at)
        assert status == b'HTTP/1.1 403 ' + said
        assert body.splitlines()[:2] == [b'geproxy: ' + said, b'The parent says: Blocked by policy \\xe9']
        assert fields[b'proxy-status'].startswith(b'me; error=destination_unavailable; details="parent ')
        record = proxy.wait()[0]
        assert (record.reason, record.route, record.tunnel) == ('parent_refused', url(at), False)
        assert proxy.server._upstream.parents.view()[0].up and not proxy.said      # it is the parent's answer, not its failure


@pytest.mark.parametrize('request_', [b'GET http://a.test/ HTTP/1.0\r\n\r\n', b'CONNECT a.test:443 HTTP/1.1\r\n\r\n',
                                      b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi'])
def test_a_login_that_the_parent_asks_for_is_not_asked_of_the_client(request_):
    parent = Parent(answer(b'log in!', b'407 Proxy Authentication Required', b'Proxy-Authenticate: Basic realm="x"\r\n'))
    with listening(parent) as at, proxying(routes('any ' + url(at))) as (address, proxy):
        status, fields, body = split(ask(address, request_))
        assert status.startswith(b'HTTP/1.1 502 parent ') and b'407 Proxy Authentication Required' in status
        assert b'proxy-authenticate' not in fields and b'file of [upstream] parents' in body
        record = proxy.wait()[0]
        assert (record.reason, record.route) == ('parent_login_failed', url(at))
        assert proxy.server._upstream.parents.view()[0].up


def test_a_407_of_an_origin_inside_a_tunnel_is_its_own_business():
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(ESTABLISHED)
        read_until(sock, b'\r\n\r\n')
        sock.sendall(answer(b'x', b'407 No', b'Proxy-Authenticate: Basic realm="x"\r\n'))
        read_all(sock)
    with listening(handle) as at, proxying(routes('any ' + url(at))) as (address, _proxy):
        shown = ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
        assert shown.startswith(b'HTTP/1.1 407 No\r\n')


# --- parents that fail

def test_the_next_one_is_tried_and_the_first_left_out(closed):
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any %s, %s' % (closed, url(at)))) as (address, proxy):
        for _ in range(3):
            assert ask(address, b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx').endswith(b'ok')
        assert [record.route for record in proxy.wait(3)] == [url(at)] * 3
        assert proxy.said == ['parent %s is left out for 30 s: 127.0.0.1 port %s: connection refused' % (
            closed, closed.rpartition(':')[2])]
        first, second = proxy.server._upstream.parents.view()
        assert not first.up and second.up and first.name == closed


def test_a_parent_is_not_blamed_for_a_source_address_that_this_host_does_not_have():
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes(
            'a.test %s source=192.0.2.77' % url(at), 'b.test %s, direct source=192.0.2.77' % url(at), 'any %s' % url(at))) as (
            address, proxy):
        shown = ask(address, get(('a.test', 80)))
        assert shown.startswith(b'HTTP/1.1 502 ') and b'does not have the source address 192.0.2.77' in shown
        assert b'source= in a row of [upstream] routes' in shown
        assert b'no way to b.test:80: ' in ask(address, get(('b.test', 80)))
        assert ask(address, get(('c.test', 80))).endswith(b'ok')
        assert [record.reason for record in proxy.wait(3)] == ['source_address_missing', 'parent_failed', '']
        state, = proxy.server._upstream.parents.view()
        assert state.up and state.failures == 0


def test_a_parent_comes_back_by_one_request(monkeypatch):
    late = bound_alike('127.0.0.1')[0]
    name = url(late.getsockname())
    with listening(Parent(answer(b'second'))) as at, proxying(routes('any %s, %s' % (name, url(at)))) as (address, proxy):
        request = b'GET http://a.test/ HTTP/1.0\r\n\r\n'
        assert ask(address, request).endswith(b'second')
        late.close()
        with listening(Parent(answer(b'first')), port=int(name.rpartition(':')[2])):
            assert ask(address, request).endswith(b'second')
            now = parents.monotonic()
            monkeypatch.setattr(parents, 'monotonic', lambda: now + parents.LEFT_OUT + 1)
            assert ask(address, request).endswith(b'first') and ask(address, request).endswith(b'first')
        assert [line.partition(' is ')[2].partition(' ')[0] for line in proxy.said] == ['left', 'used']


def test_direct_may_be_the_last_or_the_first(closed):
    parent = Parent(answer(b'by parent'))
    with listening(saying(b'directly')) as origin, listening(parent) as at:
        with proxying(routes('127.0.0.1 %s, direct' % closed, 'any direct, ' + url(at))) as (address, proxy):
            knows(proxy)
            assert ask(address, get(origin)).endswith(b'directly')
            assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'by parent')
            assert [record.route for record in proxy.wait(2)] == ['direct', url(at)]


def test_if_all_fail_the_message_lists_them(closed):
    with proxying(routes('a.test %s, http://none.test:81, direct' % closed, 'b.test ' + closed, 'c.test direct')) as (address, proxy):
        knows(proxy)
        for host in b'abc':
            ask(address, b'CONNECT %s.test:443 HTTP/1.1\r\n\r\n' % bytes(bytearray([host]) if isinstance(host, int) else host))
        first, second, third = proxy.wait(3)
    refused = '%s: 127.0.0.1 port %s: connection refused' % (closed, closed.rpartition(':')[2])
    assert (first.status, first.reason) == (502, 'parent_failed')
    assert first.message == (
        "no way to a.test:443: %s; http://none.test:81: 'none.test' does not resolve: Name or service not known; "
        "direct: 'a.test' does not resolve: Name or service not known" % refused)
    assert (second.reason, second.message) == ('parent_failed', 'no way to b.test:443: ' + refused)
    assert (third.reason, third.message) == ('dns_error', "'c.test' does not resolve: Name or service not known")


def test_a_request_that_may_be_repeated_goes_elsewhere_if_a_parent_closes_without_a_word():
    bad, good = Parent(None), Parent(answer(b'ok'))
    with listening(bad) as one, listening(good) as two, proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
        assert ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n' % (b'x' * 10000)).endswith(b'ok')
        status, _fields, body = split(ask(address, b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi'))
        assert status == b'HTTP/1.1 502 parent %s: it closed the connection without a response' % url(one).encode('ascii')
        assert b'look at the log of the parent proxy or the origin' in body
        assert [head.split()[0] for head in good.heads] == [b'GET'] and len(bad.heads) == 2
        assert good.heads[0] == bad.heads[0] and len(good.heads[0]) > 10000
        for _ in range(parents.DOUBTS):
            assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'ok')
        assert len(bad.heads) == parents.DOUBTS and len(proxy.said) == 1        # it is left out by now, for a POST, too
        assert ask(address, b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi').endswith(b'ok')


def test_if_all_close_without_a_word_the_client_is_told_so():
    with listening(Parent(None)) as one, listening(Parent(None)) as two:
        with proxying(routes('a.test %s, %s' % (url(one), url(two)), 'b.test %s' % url(one))) as (address, proxy):
            ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n')
            ask(address, b'GET http://b.test/ HTTP/1.0\r\n\r\n')
            first, second = proxy.wait(2)
    assert (first.status, first.reason) == (502, 'connection_terminated')
    assert first.message == 'parent %s: it closed the connection without a response' % url(two)
    assert second.message == 'parent %s: it closed the connection without a response' % url(one)


@pytest.mark.parametrize('size', [1, 20000])        # a large head is dropped once it is sent for the last time
@pytest.mark.parametrize('words, reason', [(b'', 'connection_terminated'), (b'SSH-2.0-OpenSSH_9.2\r\n', 'http_protocol_error')])
@pytest.mark.parametrize('way', ['direct', 'socks5h'])
def test_behind_a_parent_that_closes_an_origin_that_does_the_same_gets_the_request_once(way, words, reason, size):
    parent, heads = Parent(None), []

    def origin(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(words)
    socks, third = Socks(origin), Parent(answer(b'never'))
    with listening(parent) as one, listening(origin) as at, listening(socks) as two, listening(third) as three:
        last = 'direct' if way == 'direct' else url(two, way)
        with proxying(routes('any %s, %s, %s' % (url(one), last, url(three)))) as (address, proxy):
            assert refused(address, get(at, more=b'X: %s\r\n' % (b'x' * size))).startswith(b'HTTP/1.1 502 ')
            record = proxy.wait()[0]
    assert len(parent.heads) == 1 and len(heads) == 1 and not third.heads and heads[0].count(b'x') > size
    assert (record.reason, record.route) == (reason, last)


def test_a_kept_connection_to_the_origin_that_is_dead_does_not_lead_to_a_request_without_end():
    heads, parent = [], Parent(None)

    def origin(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        if len(heads) == 1:
            sock.sendall(answer(b'one'))
            heads.append(read_until(sock, b'\r\n\r\n'))
    with listening(origin) as at, listening(parent) as one, proxying(routes('any direct, ' + url(one))) as (address, proxy):
        client = connect(address)
        client.sendall(get(at))
        assert read_until(client, b'one').endswith(b'one')
        client.sendall(get(at))
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 502 the origin closed the connection without a response')
        client.close()
    assert len(heads) == 3 and not parent.heads     # once by the kept connection, once by a new one


def test_a_request_with_a_body_is_sent_to_one_parent_only():
    bad, good = Parent(None), Parent(answer(b'never'))
    with listening(bad) as one, listening(good) as two, proxying(routes('any %s, direct, %s' % (url(one), url(two)))) as (address, proxy):
        for more in (b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi',
                     b'POST http://a.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: %s\r\n\r\n' % (b'x' * 20000)):
            assert refused(address, more).startswith(b'HTTP/1.1 502 parent ')
    assert len(bad.heads) == 2 and not good.heads


@pytest.mark.parametrize('words, reason', [
    (b'SSH-2.0-OpenSSH_9.2\r\n', 'http_protocol_error'), (b'HTTP/1.1 20', 'http_response_incomplete'),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf', 'http_response_incomplete')])
def test_a_parent_that_talks_nonsense_or_dies_is_named_and_no_request_is_sent_twice(words, reason):
    other = Parent(answer(b'ok'))
    bad = Parent(words, None)
    with listening(lambda sock: (read_until(sock, b'\r\n\r\n'), sock.sendall(words))) as one, listening(other) as two:
        with proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
            ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n')
            record = proxy.wait()[0]
    assert record.reason == reason and record.message.startswith('parent %s: ' % url(one)), record.message
    assert not other.heads and not bad.heads


def test_a_request_is_not_repeated_once_a_parent_has_sent_anything():
    other, come = Parent(answer(b'ok')), Event()

    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 20')
        come.wait(PATIENCE)
        reset(sock)
    with listening(handle) as one, listening(other) as two, proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n')
        proxy.wait_until(lambda: any(connection.stream.received for connection in proxy.server._upstream._open))
        come.set()
        record = proxy.wait()[0]
        client.close()
    assert (record.status, record.route) == (502, url(one)) and not other.heads


@pytest.mark.parametrize('words', [b'SSH-2.0-OpenSSH_9.2\r\n', b'HTTP/1.1 20', b''])
def test_a_tunnel_goes_elsewhere_if_a_parent_talks_nonsense_or_closes(words):
    with listening(lambda sock: (read_until(sock, b'\r\n\r\n'), sock.sendall(words))) as one, listening(Parent(ESTABLISHED)) as two:
        with proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
            for number in range(parents.DOUBTS + 1):
                client = connect(address)
                client.sendall(b'CONNECT a.test:443 HTTP/1.1\r\n\r\nhello')
                assert read_until(client, b'HELLO').endswith(b'\r\n\r\nHELLO')
                client.close()
                assert proxy.server._upstream.parents.view()[0].up == (number + 1 < parents.DOUBTS)


def test_a_silent_parent_costs_a_tunnel_the_time_of_one_route_only():
    quiet, told = Event(), []

    def silent(sock):
        told.append(read_until(sock, b'\r\n\r\n'))
        quiet.wait(PATIENCE)
    more = '[timeouts]\nconnect = 0.3\n'
    with listening(silent) as one, listening(Parent(ESTABLISHED)) as two:
        with proxying(routes('any %s, %s' % (url(one), url(two)), ) + more) as (address, proxy):
            client = connect(address)
            client.sendall(b'CONNECT a.test:443 HTTP/1.1\r\n\r\nhello')
            assert read_until(client, b'HELLO').endswith(b'HELLO')
            client.close()
            assert proxy.wait()[0].route == url(two) and len(told) == 1
        quiet.set()


def test_a_parent_that_accepts_a_request_and_says_nothing_is_named_in_the_504():
    quiet = Event()
    with listening(lambda sock: quiet.wait(PATIENCE)) as at:
        with proxying(routes('any %s, direct' % url(at)) + '[timeouts]\nresponse = 0.2') as (address, proxy):
            status, _fields, body = split(ask(address, b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n'))
            assert status == b'HTTP/1.1 504 parent %s: no response for 0.2 s ([timeouts] response)' % url(at).encode('ascii')
            assert proxy.wait()[0].reason == 'http_response_timeout' and proxy.server._upstream.parents.view()[0].up
        quiet.set()


# --- rules, and addresses

def refused(address, request):
    """The status line that a request gets."""
    return split(ask(address, request))[0]


@pytest.mark.parametrize('host', [
    b'169.254.169.254', b'[fe80::1]', b'0.0.0.0', b'[::ffff:169.254.1.1]', b'224.0.0.1', b'127.0.0.1', b'[::1]', b'[0:0::1]',
    # as inet_aton(3) reads them, and many programs with it
    b'127.1', b'2130706433', b'0x7f.1', b'0X7F.0.0.1', b'0177.0.0.1', b'2852039166', b'0xa9fea9fe', b'169.254.43518', b'0',
    b'0169.254.169.254', b'169.254.0169.254',
    # with the dot at the end of a name
    b'127.0.0.1.', b'169.254.169.254.', b'127.1.', b'localhost.'])
def test_a_literal_address_is_judged_before_any_parent_is_asked(host):
    parent = Parent(answer(b'never'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[access]\nloopback = deny\n') as (address, proxy):
        for request in (b'GET http://%s/ HTTP/1.0\r\n\r\n' % host, b'CONNECT %s:443 HTTP/1.1\r\n\r\n' % host):
            assert refused(address, request).startswith(b'HTTP/1.1 403 ')
        assert [record.reason for record in proxy.wait(2)] == ['destination_ip_prohibited'] * 2
    assert parent.heads == []


def test_localhost_is_known_to_be_the_loopback_without_a_look_up():
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[access]\nloopback = deny') as (address, proxy):
        asked = knows(proxy)
        for host in (b'localhost', b'x.localhost', b'LOCALHOST.'):
            assert b'is a loopback address' in refused(address, b'GET http://%s/ HTTP/1.0\r\n\r\n' % host)
        assert asked == [] and parent.heads == []


def test_a_name_that_the_rules_decide_is_not_looked_up():
    parent = Parent(answer(b'ok'))
    rules = '[access]\nrules =\n  deny any .evil.test\n  allow any .test\n'
    with listening(parent) as at, proxying(routes('any ' + url(at)) + rules) as (address, proxy):
        asked = knows(proxy)
        assert refused(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n') == b'HTTP/1.1 200 OK'
        assert refused(address, b'GET http://a.evil.test/ HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 403 ')
        assert asked == [] and proxy.wait(2)[0].rule


NETWORK = '[access]\nrules =\n  allow any 8.8.4.0/24 strip X-Secret\n  deny any 9.9.9.0/24\n'


@pytest.mark.parametrize('plain', [True, False])
@pytest.mark.parametrize('addresses, status', [
    (['8.8.4.1'], 200), (['8.8.4.1', '8.8.4.9'], 200), (['9.9.9.1'], 403), (['8.8.4.1', '9.9.9.1'], 403),
    (['8.8.8.1'], 403)])
def test_a_rule_on_a_network_is_asked_with_all_addresses_of_the_name(plain, addresses, status):
    parent = Parent(answer(b'ok') if plain else ESTABLISHED)
    with listening(parent) as at, proxying(routes('any ' + url(at)) + NETWORK) as (address, proxy):
        asked = knows(proxy, a_test=addresses)
        request = b'GET http://a.test/ HTTP/1.0\r\nX-Secret: 1\r\n\r\n' if plain else b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'
        assert refused(address, request).startswith(b'HTTP/1.1 %d ' % status)
        record = proxy.wait()[0]
        assert asked == ['a.test'] and len(parent.heads) == (status == 200)
        texts = dict((rule.source, rule.text) for rule in proxy.server.proxy.access.ruleset.rules)
        assert texts.get(record.rule, '').split()[:1] == (
            ['allow'] if status == 200 else ['deny'] if '9.9.9.1' in addresses else [])
        if parent.heads:                # by name, and treated as the rule says
            assert b' http://a.test/ ' in parent.heads[0] if plain else b'CONNECT a.test:443 ' in parent.heads[0]
            assert b'X-Secret' not in parent.heads[0]


def test_a_rule_on_a_network_is_asked_on_the_direct_way_too():
    heads, rules = [], '[access]\nrules =\n  allow any 127.0.0.1 strip X-Secret\n'
    with listening(saying(b'hello', heads)) as origin, proxying(routes('any direct') + rules) as (address, proxy):
        knows(proxy, a_test='127.0.0.1', b_test='127.0.0.2')
        request = b'GET http://%s.test:%d/ HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\n\r\n'
        assert ask(address, request % (b'a', origin[1])).endswith(b'hello')
        assert refused(address, request % (b'b', origin[1])).startswith(b'HTTP/1.1 403 ')
        assert proxy.wait(2)[0].rule and b'X-Secret' not in heads[0]


@pytest.mark.parametrize('row, access, why', [
    ('any %s', NETWORK, 'the rule test.ini: allow any 8.8.4.0/24 strip X-Secret'),
    ('any %s', '[access]\nprivate = deny\n', '[access] private = deny'),
    ('any %s', '[access]\ndeny_addresses = 8.8.4.1\n', '[access] deny_addresses'),
    ('any %s resolve=here', '', 'resolve=here (test.ini)')])
def test_a_name_whose_address_matters_and_is_not_known_is_refused(row, access, why):
    parent = Parent(answer(b'never'))
    with listening(parent) as at, proxying(routes(row % url(at)) + access) as (address, proxy):
        knows(proxy)
        status, _fields, body = split(ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n'))
        record = proxy.wait()[0]
        assert (record.status, record.reason) == (502, 'address_unknown')
        said, _because, reason = record.message.partition('; its address must be known because of ')
        assert said == "'a.test' does not resolve: Name or service not known"
        assert re.sub('test.ini:[0-9]+', 'test.ini', reason) == why
        assert parent.heads == [] and proxy.server._upstream.parents.view()[0].up


def test_private_addresses_that_are_denied_are_denied_through_a_parent_too():
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[access]\nprivate = deny') as (address, proxy):
        knows(proxy, in_test='10.0.0.1', out_test='8.8.8.1')
        assert refused(address, b'GET http://in.test/ HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 403 10.0.0.1 is a private address')
        assert refused(address, b'GET http://out.test/ HTTP/1.0\r\n\r\n') == b'HTTP/1.1 200 OK'
    assert parent.starts() == [b'GET http://out.test/ HTTP/1.1']


def test_with_policy_report_requests_pass_and_the_log_says_what_would_be():
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + NETWORK + '[access]\npolicy = report') as (address, proxy):
        knows(proxy, no_test=['8.8.4.1', '9.9.9.1'], yes_test='8.8.4.1')
        for host in (b'no.test', b'yes.test', b'unknown.test'):
            assert refused(address, b'GET http://%s/ HTTP/1.0\r\n\r\n' % host) == b'HTTP/1.1 200 OK'
        would = [record.would for record in proxy.wait(3)]
    assert would[0].startswith('denied by ') and would[0].endswith(' deny any 9.9.9.0/24') and would[1] == ''
    assert would[2].startswith("'unknown.test' does not resolve: ") and 'allow any 8.8.4.0/24' in would[2]


def test_resolve_here_asks_for_the_judged_address_and_never_for_another():
    parent = Parent(ESTABLISHED)
    rows = routes('any %s resolve=here')
    with listening(parent) as at, proxying(rows % url(at) + '[access]\ndeny_addresses = 8.8.4.1') as (address, proxy):
        knows(proxy, a_test=['8.8.4.1', '8.8.4.2'], six_test='2001:4860::1', bad_test='8.8.4.1')
        for host in (b'a.test', b'six.test'):
            assert refused(address, b'CONNECT %s:443 HTTP/1.1\r\n\r\n' % host).startswith(b'HTTP/1.1 200 ')
        assert refused(address, b'CONNECT bad.test:443 HTTP/1.1\r\n\r\n').startswith(b'HTTP/1.1 403 ')
        # A plain request names its host, so the parent may choose any of the addresses.
        assert refused(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').startswith(b'HTTP/1.1 403 ')
    assert parent.starts() == [b'CONNECT 8.8.4.2:443 HTTP/1.1', b'CONNECT [2001:4860::1]:443 HTTP/1.1']


def test_a_parent_that_cannot_reach_one_address_is_asked_for_the_next():
    parent = Parent(answer(b'', b'502 Bad'), answer(b'', b'503 No'), ESTABLISHED, answer(b'', b'403 No'))
    with listening(parent) as at, proxying(routes('any %s resolve=here' % url(at))) as (address, proxy):
        knows(proxy, a_test=['8.8.4.%d' % number for number in range(1, 10)])
        request = b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'
        assert refused(address, request).startswith(b'HTTP/1.1 200 ')
        assert refused(address, request).startswith(b'HTTP/1.1 403 parent ')       # a no is a no
        parent.answers[:] = [answer(b'', b'502 Bad')]
        assert refused(address, request).startswith(b'HTTP/1.1 502 parent ')
    assert len(parent.heads) == 3 + 1 + 4
    assert parent.starts()[2] == b'CONNECT 8.8.4.3:443 HTTP/1.1'


def test_a_name_that_does_not_resolve_is_asked_of_the_parent_where_nothing_depends_on_its_address():
    parent = Parent(answer(b'ok'))
    with listening(parent) as at, proxying(routes('any ' + url(at))) as (address, proxy):
        asked = knows(proxy)
        assert refused(address, b'GET http://only.the.parent.knows/ HTTP/1.0\r\n\r\n') == b'HTTP/1.1 200 OK' and asked == []


@pytest.mark.parametrize('addresses', [[], ['127.0.0.1']])
@pytest.mark.parametrize('policy', ['enforce', 'report'])
def test_a_browser_that_visits_this_proxy_by_name_gets_its_page_and_not_that_of_a_parent(addresses, policy):
    parent = Parent(answer(b'by parent'))
    with listening(parent) as at, proxying(routes('any ' + url(at)) + '[access]\npolicy = ' + policy) as (address, proxy):
        knows(proxy, gateway=addresses, other='8.8.4.1')
        request = b'GET %s HTTP/1.1\r\nHost: %s:%d\r\n\r\n'
        host = b'gateway:%d' % address[1]
        assert b'http_proxy=http://%s/' % host in ask(address, request % (b'/', b'gateway', address[1]))
        assert proxy.wait()[0].reason == '' and parent.heads == []
        # Another host, another port, and a client that knows that this is a proxy.
        for other in (request % (b'/', b'other', address[1]), request % (b'/', b'gateway', 80),
                      request % (b'http://gateway.test:%d/' % address[1], b'a', 80)):
            assert ask(address, other).endswith(b'by parent')


# --- circles

def test_a_parent_that_is_this_proxy_itself_is_refused():
    for request in (b'GET http://a.test/ HTTP/1.0\r\n\r\n', b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'):
        with proxying() as (address, proxy):
            reroute(proxy, address)
            assert refused(address, request).startswith(b'HTTP/1.1 508 the parent at 127.0.0.1 port %d is this proxy' % address[1])
            assert proxy.wait()[0].reason == 'proxy_loop_detected' and len(proxy.records) == 1


def reroute(proxy, *where):
    """Let a running proxy use other routes: all requests go to the parents at these addresses, in turn."""
    lines = ['[upstream]', 'routes = any ' + ', '.join(url(each) for each in where)]
    fresh = loading.load('test.ini', lines).routes
    proxy.server._use(proxy.server.proxy.settings._replace(routes=fresh))


@pytest.mark.parametrize('request_', [b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n', b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'])
@pytest.mark.parametrize('via', ['on', 'off'])
def test_a_circle_of_proxies_is_found_even_if_one_of_them_adds_no_via(request_, via):
    with proxying('[proxy]\nname = one') as (first, one), proxying('[proxy]\nname = two\nvia = %s' % via) as (second, two):
        reroute(one, second)
        reroute(two, first)
        status = refused(first, request_)
        assert status.startswith(b'HTTP/1.1 508 ')
        assert one.wait(2)[0].reason == 'proxy_loop_detected' and 'its Via names one' in one.records[0].message
        assert len(one.records) == 2 and len(two.records) == 1


# --- reload, and proxies behind proxies

def test_a_reload_changes_routes_and_leaves_exchanges_that_have_begun(tmpdir):
    go, parent = Event(), Parent(answer(b'other'))

    def slow(sock):
        read_until(sock, b'\r\n\r\n')
        go.wait(PATIENCE)
        sock.sendall(answer(b'slow'))
        read_all(sock)
    with listening(slow) as one, listening(parent) as two, proxying(routes('any ' + url(one))) as (address, proxy):
        client = connect(address)
        client.sendall(b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n')
        proxy.wait_until(lambda: proxy.server._upstream.connections)
        reroute(proxy, two)
        assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'other')
        go.set()
        assert read_until(client, b'slow').endswith(b'slow')
        client.sendall(b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n')
        assert read_until(client, b'other').endswith(b'other')
        client.close()
        assert [view.name for view in proxy.server._upstream.parents.view()] == [url(two)]


def test_a_proxy_behind_a_proxy_behind_a_proxy():
    got = []

    def origin(sock):
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            got.append(head)
            if b'Content-Length: 100000' in head:
                body = head.partition(b'\r\n\r\n')[2]
                while len(body) < 100000:
                    body += sock.recv(65536)
                sock.sendall(answer(b'%d octets' % len(body)))
            elif b'websocket' in head:
                sock.sendall(b'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
                sock.sendall(sock.recv(100).upper())
                read_all(sock)
            else:
                sock.sendall(answer(b'hello'))
    with listening(origin) as at, proxying('[proxy]\nname = last') as (third, last):
        with proxying('[proxy]\nname = mid\n' + routes('any ' + url(third))) as (second, mid):
            with proxying('[proxy]\nname = near\n' + routes('any ' + url(second))) as (first, near):
                client = connect(first)
                for _ in range(2):
                    client.sendall(get(at))
                    assert read_until(client, b'hello').endswith(b'hello')
                client.sendall(b'POST http://%s/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n' % text_of(at) + b'x' * 100000)
                assert read_until(client, b'octets').endswith(b'100000 octets')
                client.sendall(get(at, more=b'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
                assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
                client.sendall(b'frame')
                assert client.recv(10) == b'FRAME'
                client.close()
                client = connect(first)
                client.sendall(b'CONNECT %s HTTP/1.1\r\n\r\n' % text_of(at))
                assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
                client.sendall(b'GET /inside HTTP/1.1\r\nHost: x\r\n\r\n')
                assert read_until(client, b'hello').endswith(b'hello')
                client.close()
                assert [record.route for record in near.wait(5)] == [url(second)] * 5
                assert [record.reason for record in near.records + mid.wait(5) + last.wait(5)] == [''] * 15
                assert near.records[1].kept and mid.records[1].kept
    assert re.findall(br'Via: 1.1 (\w+)', got[0]) == [b'near', b'mid', b'last']
    assert [head.split()[1] for head in got] == [b'/', b'/', b'/', b'/', b'/inside']


def test_a_reload_of_the_file_says_which_rows_have_changed_and_a_mistake_keeps_the_old(tmpdir):
    ini, parent = tmpdir.join('proxy.ini'), Parent(answer(b'ok'))
    with listening(parent) as at, proxying() as (address, proxy):
        proxy.server.reloads.path = str(ini)
        proxy.change = lambda settings, call: None
        ini.write(routes('any ' + url(at)))
        outcome = proxy.server.reload('test')
        assert outcome.good and '[upstream] routes: +any ' + url(at) in outcome.lines
        assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'ok')
        ini.write(routes('any http://a'))
        assert "'http://a' names no port" in proxy.server.reload('test').lines[0]
        assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'ok')
        ini.write('')
        assert '[upstream] routes: -any ' + url(at) in proxy.server.reload('test').lines
        assert proxy.server.proxy.routes is None and proxy.server._upstream.parents.view() == []


# --- clients that leave, and many at a time

@pytest.mark.parametrize('request_', [b'GET http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n', b'CONNECT a.test:443 HTTP/1.1\r\n\r\n'])
def test_a_client_that_leaves_ends_the_wait_for_its_parent(request_):
    left = Event()

    def silent(sock):
        read_until(sock, b'\r\n\r\n')
        read_all(sock)
        left.set()
    with listening(silent) as at, proxying(routes('any %s, direct' % url(at))) as (address, proxy):
        client = connect(address)
        client.sendall(request_)
        proxy.wait_until(lambda: proxy.server.live and list(proxy.server.live)[0].current is not None)
        reset(client)
        client.close()
        assert left.wait(PATIENCE)
        record = proxy.wait()[0]
        assert (record.reason, record.route) == ('client_lost', url(at))
        assert proxy.server._upstream.parents.view()[0].up and not proxy.said


def test_of_many_requests_at_a_time_one_tries_a_parent_again(monkeypatch):
    waiting, go = [], Event()

    def slow(sock):
        waiting.append(read_until(sock, b'\r\n\r\n'))
        go.wait(PATIENCE)
        sock.sendall(answer(b'first'))
    with listening(slow) as one, listening(Parent(answer(b'second'))) as two:
        with proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
            states = proxy.server._upstream.parents
            states.failed(proxy.server.proxy.routes.choose(b'a.test', 80).routes[0].parents[0], 'a test')
            now = parents.monotonic()
            monkeypatch.setattr(parents, 'monotonic', lambda: now + parents.LEFT_OUT + 1)
            clients = [connect(address) for _ in range(10)]
            for client in clients:
                client.sendall(b'GET http://a.test/ HTTP/1.0\r\n\r\n')
            proxy.wait(9)
            go.set()
            said = [read_all(client)[-6:] for client in clients]
            assert sorted(said) == [b'\nfirst'] + [b'second'] * 9 and len(waiting) == 1
            assert states.view()[0].up


def test_a_request_that_policy_denies_is_no_trial_of_a_parent_that_is_left_out(monkeypatch):
    first, second = Parent(answer(b'first')), Parent(answer(b'second'))
    with listening(first) as one, listening(second) as two:
        rows = routes('any %s, %s' % (url(one), url(two)))
        with proxying(rows + '[access]\nrules =\n  allow any 8.8.4.0/24\n') as (address, proxy):
            knows(proxy, a_test='8.8.4.1', no_test='9.9.9.1')
            states = proxy.server._upstream.parents
            states.failed(proxy.server.proxy.routes.choose(b'a.test', 80).routes[0].parents[0], 'a test')
            assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'second')
            now = parents.monotonic()
            monkeypatch.setattr(parents, 'monotonic', lambda: now + parents.LEFT_OUT + 1)
            for host, status in ((b'no.test', 403), (b'unknown.test', 502), (b'169.254.169.254', 403)):
                assert refused(address, b'GET http://%s/ HTTP/1.0\r\n\r\n' % host).startswith(b'HTTP/1.1 %d ' % status)
                assert not states.view()[0].up and not first.heads
            assert ask(address, b'GET http://a.test/ HTTP/1.0\r\n\r\n').endswith(b'first') and states.view()[0].up


def test_tunnels_that_fail_at_the_same_time_are_one_doubt_about_their_parent():
    waiting, go = [], Event()

    def slow(sock):
        waiting.append(read_until(sock, b'\r\n\r\n'))
        go.wait(PATIENCE)
    with listening(slow) as one, listening(Parent(ESTABLISHED)) as two:
        with proxying(routes('any %s, %s' % (url(one), url(two)))) as (address, proxy):
            clients = [connect(address) for _ in range(parents.DOUBTS + 1)]
            for client in clients:
                client.sendall(b'CONNECT dead.test:443 HTTP/1.1\r\n\r\nhello')
            proxy.wait_until(lambda: len(waiting) == len(clients))
            go.set()
            for client in clients:
                assert read_until(client, b'HELLO').endswith(b'HELLO')
                client.close()
            view = proxy.server._upstream.parents.view()[0]
            assert view.up and view.failures == len(clients) and not proxy.said


def test_a_client_that_speaks_socks_goes_by_connect_through_an_http_parent():
    def read_one(client, parse, octets=b''):
        while parse(octets) is None:
            octets += client.recv(1)
        return parse(octets)[0]
    parent = Parent(ESTABLISHED, answer(b'', b'403 No'))
    with listening(parent) as at, proxying(routes('any ' + url(at))) as (address, proxy):
        for granted in (True, False):
            client = connect(address)
            client.sendall(socks_messages.write_methods(False))
            assert read_one(client, socks_messages.read_method) == socks_messages.NO_LOGIN
            client.sendall(socks_messages.write_request(5, b'a.test', 443))
            reply = read_one(client, lambda octets: socks_messages.read_reply(5, octets))
            assert reply.granted == granted
            if granted:
                client.sendall(b'hello')
                assert client.recv(10) == b'HELLO'
            else:
                assert reply.code == socks_messages.NOT_ALLOWED
            client.close()
        assert [record.route for record in proxy.wait(2)] == [url(at)] * 2 and proxy.records[1].reason == 'parent_refused'
    assert parent.starts() == [b'CONNECT a.test:443 HTTP/1.1'] * 2
