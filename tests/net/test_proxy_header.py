"""PROXY headers: who the client is, how many octets that took, and what is no header; each also in pieces."""
from __future__ import absolute_import, division, print_function

import binascii
import socket
import struct

import pytest

from geproxy import errors
from geproxy.net import proxy_header
from geproxy.net.proxy_header import SIGNATURE, V1_SIZE, V2_SIZE, Header


def v2(command, family, rest, length=None):
    """A header of version 2; `length`: what it says of itself, if that is not true."""
    return SIGNATURE + command + family + struct.pack('!H', len(rest) if length is None else length) + rest


def places(source, destination, ports=(56324, 9000)):
    """The addresses of version 2."""
    family = socket.AF_INET6 if ':' in source else socket.AF_INET
    return b''.join(socket.inet_pton(family, text) for text in (source, destination)) + struct.pack('!HH', *ports)


IPV4, IPV6 = places('192.0.2.7', '10.0.0.1'), places('2001:db8::7', '2001:db8::1')
MAPPED = places('::ffff:192.0.2.7', '::1')
SSL = binascii.unhexlify(b'20000f0100000000210007544c5376312e33')        # a TLV as HAProxy sends it
LONGEST = b'PROXY UNKNOWN ' + b'f' * (V1_SIZE - 16) + b'\r\n'
LOCAL, PROXY, TCP4, TCP6, NONE, UNIX = b'\x20', b'\x21', b'\x11', b'\x21', b'\x00', b'\x31'

GOOD = [    # octets, the client (None: it is not said), the sender speaks for itself
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 56324 9000\r\n', ('192.0.2.7', 56324), False),
    (b'PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n', ('255.255.255.255', 65535), False),
    (b'PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n', ('0.0.0.0', 0), False),
    (b'PROXY TCP6 2001:db8::7 2001:db8::1 56324 9000\r\n', ('2001:db8::7', 56324), False),
    (b'PROXY TCP6 2001:0DB8:0:0:0:0:0:7 ::1 1 2\r\n', ('2001:db8::7', 1), False),
    (b'PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n', ('192.0.2.7', 1), False),
    (b'PROXY UNKNOWN\r\n', None, False),
    (b'PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n', None, False),
    (b'PROXY UNKNOWN \x00\xff\r\n', None, False),
    (LONGEST, None, False),
    (v2(PROXY, TCP4, IPV4), ('192.0.2.7', 56324), False),
    (v2(PROXY, TCP4, IPV4 + SSL), ('192.0.2.7', 56324), False),
    (v2(PROXY, TCP4, IPV4 + b'\x04' * (V2_SIZE - 12)), ('192.0.2.7', 56324), False),
    (v2(PROXY, TCP6, IPV6), ('2001:db8::7', 56324), False),
    (v2(PROXY, TCP6, IPV6 + SSL), ('2001:db8::7', 56324), False),
    (v2(PROXY, TCP6, MAPPED), ('192.0.2.7', 56324), False),
    (v2(PROXY, NONE, b''), None, False),
    (v2(PROXY, NONE, SSL), None, False),
    (v2(PROXY, UNIX, b'/run/client'.ljust(108, b'\0') + b'/run/server'.ljust(108, b'\0')), None, False),
    (v2(LOCAL, NONE, b''), None, True),
    (v2(LOCAL, TCP4, IPV4), None, True),
    (v2(LOCAL, b'\xff', b'anything'), None, True),
]
BAD = [     # octets, what is said
    (b'GET / HTTP/1.1\r\n\r\n', 'no PROXY header came'),
    (b'CONNECT a:443 HTTP/1.1\r\n\r\n', 'no PROXY header came'),
    (b'POST / HTTP/1.1\r\n\r\n', 'no PROXY header came'),
    (b'PRI * HTTP/2.0\r\n\r\n', 'no PROXY header came'),
    (b'proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n', 'no PROXY header came'),
    (b'\r\n\r\nGET / HTTP/1.1\r\n\r\n', 'no PROXY header came'),
    (b'\x16\x03\x01', 'no PROXY header came'),
    (SIGNATURE[:-1] + b'\r' + PROXY, 'no PROXY header came'),
    (b'PROXY \r\n', 'two addresses'),
    (b'PROXY TCP4\r\n', 'two addresses'),
    (b'PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n', 'two addresses'),
    (b'PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n', 'two addresses'),
    (b'PROXY UNKNOWN\t\r\n', 'two addresses'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n', 'two addresses'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n', 'two addresses'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n', 'two addresses'),
    (b'PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n', 'two addresses'),
    (b'PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n', 'two addresses'),
    (b'PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n', 'IPv6 addresses'),
    (b'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n', 'IPv6 addresses'),
    (b'PROXY TCP6 [::1] ::1 1 2\r\n', 'IPv6 addresses'),
    (b'PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.256 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP4 a.example 10.0.0.1 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP4 192.0.2.7\x00 10.0.0.1 1 2\r\n', 'IPv4 addresses'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n', 'two ports'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n', 'two ports'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n', 'two ports'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1 -2\r\n', 'two ports'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 \xb2 2\r\n', 'two ports'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n', 'ends in CR LF'),
    (b'PROXY TCP4 192.0.2.7 10.0.0.1 1 2\nGET / HTTP/1.1\r\n\r\n', 'ends in CR LF'),
    (b'PROXY UNKNOWN ' + b'f' * (V1_SIZE - 15) + b'\r\n', 'ends in CR LF'),
    (b'PROXY UNKNOWN ' + b' ' * 65536, 'ends in CR LF'),
    (v2(b'\x22', TCP4, IPV4), 'LOCAL or PROXY'),
    (v2(b'\x11', TCP4, IPV4), 'LOCAL or PROXY'),
    (v2(b'\x31', TCP4, IPV4), 'LOCAL or PROXY'),
    (v2(PROXY, b'\x12', IPV4), 'not datagrams'),
    (v2(PROXY, b'\x22', IPV6), 'not datagrams'),
    (v2(PROXY, b'\x32', b'\0' * 216), 'not datagrams'),
    (v2(PROXY, b'\x10', IPV4), 'a family that there is'),
    (v2(PROXY, b'\x41', IPV4), 'a family that there is'),
    (v2(PROXY, TCP4, IPV4[:-1]), '12 octets of addresses'),
    (v2(PROXY, TCP4, b''), '12 octets of addresses'),
    (v2(PROXY, TCP6, IPV6[:-1]), '36 octets of addresses'),
    (v2(PROXY, UNIX, b'\0' * 215), '216 octets of addresses'),
    (v2(PROXY, TCP4, IPV4, V2_SIZE + 1), 'no more than 4096 octets'),
    (v2(LOCAL, NONE, b'', 65535), 'no more than 4096 octets'),
]


def grown(octets):
    """What each beginning of `octets` is said to be, up to where that is settled: None so often, then the Header."""
    for size in range(len(octets) + 1):
        header = proxy_header.parse(octets[:size])
        if header is not None:
            return header, size
    return None, len(octets)


@pytest.mark.parametrize('octets,client,is_local', GOOD)
def test_a_header_tells_the_client_and_its_own_size(octets, client, is_local):
    for behind in (b'', b'GET / HTTP/1.1\r\n\r\n', octets, b'\x00'):
        assert proxy_header.parse(octets + behind) == Header(client, is_local, len(octets))


@pytest.mark.parametrize('octets,client,is_local', GOOD)
def test_a_header_in_pieces_is_over_with_its_last_octet_and_not_before(octets, client, is_local):
    assert grown(octets) == (Header(client, is_local, len(octets)), len(octets))


@pytest.mark.parametrize('octets,said', BAD)
def test_an_invalid_header_is_refused_with_the_reason(octets, said):
    with pytest.raises(errors.BadProxyHeader) as raised:
        proxy_header.parse(octets)
    assert said in str(raised.value) and len(str(raised.value)) < 400


@pytest.mark.parametrize('octets,said', BAD)
def test_in_pieces_it_is_refused_too_and_never_taken_for_one_on_the_way(octets, said):
    with pytest.raises(errors.BadProxyHeader) as raised:
        grown(octets[:200])
    assert said in str(raised.value)


@pytest.mark.parametrize('octets,_said', BAD)
def test_octets_that_cannot_become_a_header_are_refused_at_once(octets, _said):
    size = next(size for size in range(len(octets) + 1) if refuses(octets[:size]))
    assert all(refuses(octets[:more]) for more in range(size, min(len(octets), 300)))


def refuses(octets):
    try:
        proxy_header.parse(octets)
    except errors.BadProxyHeader:
        return True
    return False


def test_nothing_yet_may_become_anything():
    assert proxy_header.parse(b'') is None


def test_a_wrong_header_shows_no_controls():
    for octets, _said in BAD:
        with pytest.raises(errors.BadProxyHeader) as raised:
            proxy_header.parse(octets)
        assert '\n' not in str(raised.value)
