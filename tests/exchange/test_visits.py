"""Visits: when a request is for the proxy itself, and what it gets. (test_conversation visits through a proxy.)"""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.exchange import visits
from geproxy.http1 import reading


class Fields(object):
    """An object with these attributes."""

    def __init__(self, **fields):
        self.__dict__.update(fields)


class Access(object):
    """Takes one port for that of the proxy."""

    def may_be_ours(self, _host, port, listening):
        """As access.Access has it."""
        return port == listening


def request(line, host=b'gateway:9000'):
    """A Request of a request line."""
    return reading.parse_request(b'%s HTTP/1.1\r\nHost: %s\r\n\r\n' % (line, host))


def exchange(line, host=b'gateway:9000'):
    """What is_visit looks at of an Exchange, with the listener at port 9000."""
    return Fields(request=request(line, host), begun=False, proxy=Fields(access=Access()),
                  conversation=Fields(local=('', 9000)))


@pytest.mark.parametrize('line, error, meant', [
    (b'GET /', errors.DnsError(''), True), (b'GET /x', errors.Denied(''), True), (b'GET /', errors.LoginRequired(''), True),
    (b'OPTIONS *', errors.Ourselves(''), True), (b'GET /', errors.AddressUnknown(''), True),
    (b'GET http://gateway:9000/', errors.DnsError(''), False),          # a client that knows that this is a proxy
    (b'GET /', errors.ConnectTimeout(''), False), (b'GET /', errors.BadResponse(''), False),
])
def test_a_browser_that_visits_the_proxy_is_recognised_by_its_request_and_its_failure(line, error, meant):
    assert visits.is_visit(exchange(line), error) is meant


def test_an_exchange_without_a_request_or_with_a_response_is_no_visit():
    assert not visits.is_visit(Fields(request=None), errors.Denied(''))
    late = exchange(b'GET /')
    late.begun = True
    assert not visits.is_visit(late, errors.Ourselves(''))


def test_a_request_for_another_port_than_the_listener_is_not_for_the_proxy():
    assert not visits.is_visit(exchange(b'GET /', b'gateway:81'), errors.DnsError(''))


@pytest.mark.parametrize('line, status, start', [
    (b'GET /', 200, b'HTTP/1.1 200 '), (b'GET /x', 404, b'HTTP/1.1 404 '), (b'POST /', 405, b'HTTP/1.1 405 '),
    (b'OPTIONS *', 200, b'HTTP/1.1 200 '), (b'TRACE /', 200, b'HTTP/1.1 200 '),
])
def test_there_is_one_page(line, status, start):
    found, octets = visits.page(request(line), b'', True, False)
    assert found == status and octets.startswith(start) and b'\r\nConnection: close\r\n' in octets
