"""What the proxy answers by itself: when it is meant, and what it says. (test_conversation asks for it through a proxy.)"""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.exchange import own_answers
from geproxy.http1 import reading


class Access(object):
    """Takes one port for that of the proxy."""

    def may_be_ours(self, _host, port, listening):
        """As access.Access has it."""
        return port == listening


def request(line, host=b'gateway:9000'):
    """A Request of a request line."""
    return reading.parse_request(b'%s HTTP/1.1\r\nHost: %s\r\n\r\n' % (line, host))


@pytest.mark.parametrize('line, error, meant', [
    (b'GET /', errors.DnsError(''), True), (b'GET /x', errors.Denied(''), True), (b'GET /', errors.LoginRequired(''), True),
    (b'OPTIONS *', errors.Ourselves(''), True),
    (b'GET http://gateway:9000/', errors.DnsError(''), False),          # a client that knows that this is a proxy
    (b'GET /', errors.ConnectTimeout(''), False), (b'GET /', errors.BadResponse(''), False),
])
def test_a_browser_that_visits_the_proxy_is_recognised_by_its_request_and_its_failure(line, error, meant):
    assert own_answers.is_asked_for(request(line), error, Access(), 9000) is meant


def test_a_request_for_another_port_than_the_listener_is_not_for_the_proxy():
    assert not own_answers.is_asked_for(request(b'GET /', b'gateway:81'), errors.DnsError(''), Access(), 9000)


@pytest.mark.parametrize('line, status, start', [
    (b'GET /', 200, b'HTTP/1.1 200 '), (b'GET /x', 404, b'HTTP/1.1 404 '), (b'POST /', 405, b'HTTP/1.1 405 '),
    (b'OPTIONS *', 200, b'HTTP/1.1 200 '), (b'TRACE /', 200, b'HTTP/1.1 200 '),
])
def test_there_is_one_page(line, status, start):
    found, octets = own_answers.page(request(line), b'', True)
    assert found == status and octets.startswith(start) and b'\r\nConnection: close\r\n' in octets


def test_trace_shows_neither_a_password_in_the_target_nor_secret_fields():
    head = b'TRACE http://u:pass@a/ HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nX: y\r\n\r\n'
    answer = own_answers.last_hop(reading.parse_request(head), head, False)
    assert b'TRACE http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n' in answer
    assert b'pass' not in answer and b'secret' not in answer
