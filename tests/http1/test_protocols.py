"""Other protocols on the port are told by their first octets; HTTP never is."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import protocols


@pytest.mark.parametrize('octets, kind, remedy', [
    (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'tls', 'https_proxy=http://'),
    (b'\x16\x03\x03\x00\x50', 'tls', 'https_proxy=http://'),
    (b'\x05\x01\x00', 'socks5', 'http:// instead of socks5://'),
    (b'\x05', 'socks5', 'http:// instead of socks5://'),
    (b'\x04\x01\x00\x50\x00\x00\x00\x01a\x00example.com\x00', 'socks4', 'http:// instead of socks4://'),
    (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http2', 'HTTP/1.1'),
])
def test_another_protocol_is_named_with_its_remedy(octets, kind, remedy):
    with pytest.raises(errors.WrongProtocol) as raised:
        protocols.check(octets)
    assert raised.value.kind == kind
    assert remedy in str(raised.value)


@pytest.mark.parametrize('octets', [
    b'', b'G', b'GET / HTTP/1.1\r\n', b'CONNECT a:443 HTTP/1.1\r\n', b'PRI', b'PRI * HTTP/1.1\r\n', b'PRINT / HTTP/1.1',
    b'\x16', b'\x16\x02', b'\x00\x05', b'\xff',
])
def test_octets_that_may_be_http_are_left_to_the_parser(octets):
    assert protocols.check(octets) == ''
    assert protocols.check(octets, ('socks4', 'socks5')) == ''


def test_a_protocol_that_is_spoken_is_told():
    assert protocols.check(b'\x05\x01\x00', ('socks4', 'socks5')) == 'socks5'
    assert protocols.check(b'\x04', ('socks4', 'socks5')) == 'socks4'
    with pytest.raises(errors.WrongProtocol):
        protocols.check(b'\x16\x03\x01', ('socks4', 'socks5'))


def test_the_kind_of_a_protocol_is_told_by_the_same_octets():
    for protocol in protocols.PROTOCOLS:
        assert protocols.kind_of(protocol.sign + b'more') == protocol.kind
    for octets in (b'', b'\x16', b'GET http://a.test/', b'PROXY TCP4 '):
        assert protocols.kind_of(octets) == ''


@pytest.mark.parametrize('kind, refusal', [
    ('tls', b'\x15\x03\x01\x00\x02\x02\x46'), ('socks5', b'\x05\xff'), ('socks4', b'\x00\x5b' + b'\0' * 6),
    ('http2', b'\0\0\0\4\0\0\0\0\0' b'\0\0\x08\7\0\0\0\0\0' b'\0\0\0\0' b'\0\0\0\x0d'),
])
def test_each_protocol_is_refused_in_its_own_language(kind, refusal):
    assert protocols.REFUSALS[kind] == refusal
    assert len(protocols.REFUSALS) == len(protocols.PROTOCOLS) == 4


@pytest.mark.parametrize('octets', [
    b'PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\n\r\n', b'PROXY TCP6 ::1 ::1 1 2\r\n', b'PROXY UNKNOWN\r\n',
    b'\x00\r\nQUIT\n\x21\x11\x00\x0c',
])
def test_a_proxy_header_here_is_a_spoof(octets):
    with pytest.raises(errors.SpoofedClient):
        protocols.check(octets)


@pytest.mark.parametrize('octets, undecided', [
    (b'\x16', True), (b'P', True), (b'PRI * HTTP/2.0\r', True), (b'PROXY TCP', True), (b'\x00\r', True),
    (b'\x16\x03', False), (b'\x05', False), (b'G', False), (b'PO', False), (b'PRINT', False), (b'\x16\x02', False),
])
def test_it_is_known_when_more_octets_are_needed_to_tell(octets, undecided):
    assert protocols.undecided(octets) is undecided
