"""Requests that go through parents: which one, what it gets, what its answers and failures become. Real sockets."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from test_conversation import get, saying, split, text_of
from test_dialling import bound_alike

from geproxy.upstream.resolver import Resolver

ESTABLISHED = b'HTTP/1.1 200 OK\r\n\r\n'


class Parent(object):
    """A scripted parent, an HTTP proxy. It answers each head with the next of `answers`, the last one again and again; an
    answer that is None closes the connection without a word. After a 200 to CONNECT it says what it gets."""

    def __init__(self, *answers):
        self.answers, self.heads, self.connections = list(answers), [], 0

    def __call__(self, sock):
        self.connections += 1
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
