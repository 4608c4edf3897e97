"""Other protocols that arrive on the port of an HTTP proxy, told by their first octets, with how to mend it."""
from __future__ import absolute_import, division, print_function

from geproxy import errors

# (what it begins with, kind, what it is, what to do)
SIGNS = (
    (b'\x16\x03', 'tls', 'a TLS handshake',
     'this port speaks plain HTTP: in https_proxy write http:// too, as in https_proxy=http://gateway:9000/'),
    (b'\x05', 'socks5', 'SOCKS 5',
     'this is an HTTP proxy: use http:// instead of socks5:// in all_proxy'),
    (b'\x04', 'socks4', 'SOCKS 4',
     'this is an HTTP proxy: use http:// instead of socks4:// in all_proxy'),
    (b'PRI * HTTP/2.0\r\n', 'http2', 'HTTP/2',
     'this proxy speaks HTTP/1.1: HTTP/2 goes through it inside CONNECT'),
)

# How a PROXY header begins, behind what is skipped as empty lines (see net.proxy_header). HTTP knows no method PROXY.
PROXY_SIGNS = (b'\x00\r\nQUIT\n', b'PROXY TCP4 ', b'PROXY TCP6 ', b'PROXY UNKNOWN')
_ALL = PROXY_SIGNS + tuple(sign for sign, _kind, _name, _remedy in SIGNS)
_LONGEST = max(len(sign) for sign in _ALL)


def undecided(octets):
    """Return True if `octets`, the first of a connection, may still become the beginning of another protocol."""
    return len(octets) < _LONGEST and any(len(sign) > len(octets) and sign.startswith(octets) for sign in _ALL)


def kind_of(octets):
    """Return the kind of the protocol, as of WrongProtocol, that `octets`, the first of a connection, begin; '' for
    HTTP/1."""
    return next((kind for sign, kind, _name, _remedy in SIGNS if octets.startswith(sign)), '')


def check(octets):
    """Raise WrongProtocol if `octets`, the first of a connection, begin another protocol than HTTP/1, SpoofedClient if
    they are a PROXY header: one that may be believed has been taken before."""
    if octets.startswith(PROXY_SIGNS):
        raise errors.SpoofedClient('that is a PROXY header, from a peer that may not say who the client is')
    for sign, kind, name, remedy in SIGNS:
        if octets[:len(sign)] == sign:
            raise errors.WrongProtocol('that is %s; %s' % (name, remedy), kind)
