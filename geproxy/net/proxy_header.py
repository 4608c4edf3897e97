"""Parses the PROXY header, versions 1 and 2, by which a load balancer names the client of a connection.

See HAProxy's proxy-protocol.txt (https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt); numbers in comments are
its sections. No I/O. The caller must know that the sender is trusted. The parser is strict, because this header decides
who the client is.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import re
import socket
import struct

from geproxy import errors
from geproxy.compat import to_native
from geproxy.net.address import is_ip, parse_ip, show_ip, unmap

V1_SIZE = 107                       # octets, with CR LF: 2.1
V2_SIZE = 4096                      # octets behind the first sixteen; 16 bits say 65535, a certificate 2 K
SIGNATURE = b'\r\n\r\n\x00\r\nQUIT\n'       # 2.2
_V1_START = b'PROXY '
_FIXED = 16                         # octets of version 2 before the addresses

# client: (address as native text, port), or None if the sender does not know; is_local: True if the sender speaks for
# itself, as in health checks; size: octets of the header.
Header = collections.namedtuple('Header', 'client is_local size')

# {family and protocol: (family of the addresses, octets of both addresses and ports)}: 2.2. Streams only: datagrams are
# never HTTP, and an unspecified family or a UNIX socket has no address.
_FAMILIES = {b'\x11': (socket.AF_INET, 12), b'\x21': (socket.AF_INET6, 36)}
_WITHOUT_ADDRESS = {b'\x00': 0, b'\x31': 216}
_DATAGRAMS = (b'\x12', b'\x22', b'\x32')

_find_unprintable = re.compile(br'[^ -~]')
# Decimal without leading zeros: 2.1
_is_port = re.compile(br'(?:0|[1-9][0-9]{0,4})\Z').match


def parse(octets):
    """Return the Header that a connection begins with, or None if more octets are needed.

    `octets`: the first of the connection. Raises BadProxyHeader as soon as they cannot begin a header.
    """
    if octets[:len(SIGNATURE)] == SIGNATURE[:len(octets)]:
        return _parse_v2(octets) if len(octets) >= _FIXED else None
    if octets[:len(_V1_START)] == _V1_START[:len(octets)]:
        return _parse_v1(octets) if len(octets) > len(_V1_START) else None
    raise errors.BadProxyHeader(
        'no PROXY header came from a peer that [proxy] proxy_protocol trusts, so it has to send one: let it send one '
        '(HAProxy: send-proxy-v2), or take the peer out of that list')


def _parse_v1(octets):
    line, end, _rest = octets[:V1_SIZE].partition(b'\r\n')
    if b'\n' in line or not end and len(octets) >= V1_SIZE:
        raise _bad('a line of no more than %d octets that ends in CR LF', line, V1_SIZE)
    if not end:
        return None
    size = len(line) + len(end)
    words = line.split(b' ')
    if words[1:2] == [b'UNKNOWN']:          # the rest of the line is to be ignored: 2.1
        return Header(None, False, size)
    version = {b'TCP4': 4, b'TCP6': 6}.get(words[1])
    if version is None or len(words) != 6:
        raise _bad('PROXY, TCP4 or TCP6, two addresses, two ports', line)
    addresses = [_address(word, version) for word in words[2:4]]
    if None in addresses:
        raise _bad('IPv%d addresses', line, version)
    if not all(_is_port(word) and int(word) < 65536 for word in words[4:]):
        raise _bad('two ports', line)
    return Header((addresses[0], int(words[4])), False, size)


def _address(word, version):
    """Return an address as native text in its usual form, or None if it is invalid or of another version."""
    text = to_native(word)
    if '%' in text or not is_ip(text) or parse_ip(text).version != version:
        return None
    return _show(text)


def _show(text):
    return show_ip(unmap(parse_ip(text)))


def _parse_v2(octets):
    command, family = octets[12:13], octets[13:14]
    length, = struct.unpack('!H', octets[14:_FIXED])
    if command not in (b'\x20', b'\x21'):
        raise _bad('version 2 with the command LOCAL or PROXY', octets[:_FIXED])
    if length > V2_SIZE:
        raise _bad('no more than %d octets', octets[:_FIXED], V2_SIZE)
    size, is_local = _FIXED + length, command == b'\x20'
    kind, least = (None, 0) if is_local else _kind(family, octets)     # of LOCAL, the rest is to be ignored: 2.2
    if length < least:
        raise _bad('%d octets of addresses', octets[:_FIXED], least)
    if len(octets) < size:
        return None
    if kind is None:
        return Header(None, is_local, size)
    # Source, destination, source port, destination port; then optional parts (TLV), which are not used here.
    width = 4 if kind == socket.AF_INET else 16
    port, = struct.unpack('!H', octets[_FIXED + 2 * width:_FIXED + 2 * width + 2])
    return Header((_show(socket.inet_ntop(kind, octets[_FIXED:_FIXED + width])), port), False, size)


def _kind(family, octets):
    if family in _DATAGRAMS:
        raise _bad('a stream, not datagrams', octets[:_FIXED])
    if family not in _FAMILIES and family not in _WITHOUT_ADDRESS:
        raise _bad('a family that there is', octets[:_FIXED])
    return _FAMILIES.get(family) or (None, _WITHOUT_ADDRESS[family])


def _bad(wanted, octets, *particulars):
    shown = to_native(_find_unprintable.sub(b'?', octets) if octets[:1] == b'P' else binascii.hexlify(octets))
    return errors.BadProxyHeader('a PROXY header takes %s; this one is: %s' % (wanted % particulars, shown))
