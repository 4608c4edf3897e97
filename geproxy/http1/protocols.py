"""Recognises clients that speak another protocol than HTTP/1, and has the refusal for each protocol. No I/O.

To add a protocol, add a row to PROTOCOLS.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors

# `kind`: its name in code, and WrongProtocol.kind; `sign`: the octets that a connection begins with; `name`: of the
# protocol, for people; `remedy`: the advice for people; `refusal`: the octets that refuse it in that protocol.
Protocol = collections.namedtuple('Protocol', 'kind sign name remedy refusal')

PROTOCOLS = (
    Protocol(
        'tls', b'\x16\x03', 'a TLS handshake',
        '[tls] certificate is not set: in https_proxy write http:// too, as in https_proxy=http://gateway:9000/',
        b'\x15\x03\x01\x00\x02\x02\x46'),               # an alert, fatal: protocol_version (RFC 8446, 6)
    Protocol(
        'socks5', b'\x05', 'SOCKS 5',
        '[proxy] socks is off: use http:// instead of socks5:// in all_proxy',
        b'\x05\xff'),                                   # no acceptable methods (RFC 1928, 3)
    Protocol(
        'socks4', b'\x04', 'SOCKS 4',
        '[proxy] socks is off: use http:// instead of socks4:// in all_proxy',
        b'\x00\x5b\x00\x00\x00\x00\x00\x00'),           # request rejected or failed
    Protocol(
        'http2', b'PRI * HTTP/2.0\r\n', 'HTTP/2',
        'this proxy speaks HTTP/1.1: HTTP/2 goes through it inside CONNECT',
        # empty SETTINGS, then GOAWAY with HTTP_1_1_REQUIRED (RFC 9113, 6.5, 6.8, 7)
        b'\x00\x00\x00\x04\x00\x00\x00\x00\x00' b'\x00\x00\x08\x07\x00\x00\x00\x00\x00'
        b'\x00\x00\x00\x00\x00\x00\x00\x0d'),
)
# Refuses a TLS client for another reason than TLS itself: an alert, fatal: access_denied (RFC 8446, 6).
TLS_DENIED = b'\x15\x03\x01\x00\x02\x02\x31'
REFUSALS = dict((protocol.kind, protocol.refusal) for protocol in PROTOCOLS)

# The first octets of a PROXY header, without the empty lines that are skipped (see net.proxy_header). HTTP has no
# method PROXY.
PROXY_HEADERS = (b'\x00\r\nQUIT\n', b'PROXY TCP4 ', b'PROXY TCP6 ', b'PROXY UNKNOWN')
_SIGNS = PROXY_HEADERS + tuple(protocol.sign for protocol in PROTOCOLS)
_LONGEST = max(len(sign) for sign in _SIGNS)


def undecided(octets):
    """Return True if more octets are needed to tell the protocol.

    `octets`: the first of a connection.
    """
    return len(octets) < _LONGEST and any(len(sign) > len(octets) and sign.startswith(octets) for sign in _SIGNS)


def kind_of(octets):
    """Return the kind of the protocol that a connection begins with, native text; '' for HTTP/1.

    `octets`: the first of the connection.
    """
    return next((protocol.kind for protocol in PROTOCOLS if octets.startswith(protocol.sign)), '')


def check(octets, spoken=()):
    """Return the kind of the protocol that a connection begins with, native text; '' for HTTP/1.

    `octets`: the first of the connection; `spoken`: the kinds that this proxy speaks beside HTTP/1. Raises
    WrongProtocol if it is none of these, and SpoofedClient for a PROXY header: one from a peer that may send it was
    taken off before.
    """
    if not octets.startswith(_SIGNS):
        return ''
    if octets.startswith(PROXY_HEADERS):
        raise errors.SpoofedClient('that is a PROXY header, from a peer that may not say who the client is')
    for protocol in PROTOCOLS:
        if octets.startswith(protocol.sign):
            if protocol.kind in spoken:
                return protocol.kind
            raise errors.WrongProtocol('that is %s; %s' % (protocol.name, protocol.remedy), protocol.kind)
