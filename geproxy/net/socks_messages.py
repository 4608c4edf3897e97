"""SOCKS 4, 4a and 5: the messages of both sides, octets to values and back. Does no I/O.

Sources: RFC 1928 (SOCKS 5), RFC 1929 (its username/password login), and the memos "SOCKS: A protocol for TCP proxy
across firewalls" (SOCKS 4) and "SOCKS 4A". Numbers in comments are sections of RFC 1928.

Each `read_...` function takes `octets`, those that have come so far. It returns None if the message is not complete,
else (its value, how many octets it has). It raises Malformed as soon as the octets cannot be that message.
"""
from __future__ import absolute_import, division, print_function

import collections
import socket
import struct

from geproxy.compat import to_native, to_octets
from geproxy.net.address import is_ip, parse_ip

CONNECT, BIND, UDP = 1, 2, 3                        # commands: 4
NO_LOGIN, PASSWORD, NONE_FITS = 0, 2, 255           # methods of logging in: 3

# Reply codes of SOCKS 5 (6). SOCKS 4 knows granted and refused only, see write_reply.
GRANTED, FAILED, NOT_ALLOWED, NETWORK, HOST, REFUSED, EXPIRED, COMMAND, ADDRESS = range(9)
REPLIES = {
    GRANTED: 'succeeded',
    FAILED: 'general failure',
    NOT_ALLOWED: 'not allowed by its rules',
    NETWORK: 'network unreachable',
    HOST: 'host unreachable',
    REFUSED: 'connection refused',
    EXPIRED: 'timed out',
    COMMAND: 'command not supported',
    ADDRESS: 'address type not supported',
}
REPLIES_4 = {90: 'granted', 91: 'rejected or failed', 92: 'no identd on the client', 93: 'identd names another user'}

USER_SIZE = 255         # octets of a user name in SOCKS 4, which has no limit of its own; that of SOCKS 5 is the same
HOST_SIZE = 255         # octets of a host name in SOCKS 4a, likewise

_IPV4, _NAME, _IPV6 = b'\x01', b'\x03', b'\x04'     # address types: 5

# What a client asks for. `version`: 4 or 5; `command`: a number; `host`: octets, a name or an address as text; `port`:
# a number; `user`: octets that the client calls itself in SOCKS 4, b'' else. Nothing proves it, so it is no login.
Request = collections.namedtuple('Request', 'version command host port user')
# What a SOCKS server answers. `granted`: true if the way is open; `code`: as sent; `reason`: native text.
Reply = collections.namedtuple('Reply', 'granted code reason')


class Malformed(ValueError):
    """The octets are not what SOCKS has at this point. `code`: the reply code of SOCKS 5 that fits."""

    def __init__(self, message, code=FAILED):
        """`message`: native text for people; `code`: one of REPLIES."""
        ValueError.__init__(self, message)
        self.code = code


# --- the client's side, as a server reads it

def read_methods(octets):
    """Read the first message of a SOCKS 5 client: the log-in methods that it offers (3). `octets`: see above.

    Returns (frozenset of numbers, size), or None. Raises Malformed.
    """
    _expect(octets, b'\x05', 'a SOCKS 5 greeting')
    if len(octets) < 2:
        return None
    size = 2 + ord(octets[1:2])
    if size == 2:
        raise Malformed('a SOCKS 5 greeting without any method')
    if len(octets) < size:
        return None
    return frozenset(bytearray(octets[2:size])), size


def read_login(octets):
    """Read a username and a password (RFC 1929, 2). `octets`: see above.

    Either may be empty, although RFC 1929 says 1 to 255 octets: clients send that where no login is needed.
    Returns ((name, password) as octets, size), or None. Raises Malformed.
    """
    _expect(octets, b'\x01', 'a SOCKS 5 login')
    name = _counted(octets, 1)
    if name is None:
        return None
    password = _counted(octets, 2 + len(name))
    if password is None:
        return None
    return (name, password), 3 + len(name) + len(password)


def read_request(octets):
    """Read the request of a client: the first message in SOCKS 4; in SOCKS 5 it follows the log-in (4).

    `octets`: see above. Returns (Request, size), or None. Raises Malformed.
    """
    if octets[:1] == b'\x04':
        return _read_request_4(octets)
    _expect(octets, b'\x05', 'a SOCKS request')
    if len(octets) < 5:
        return None
    command, = struct.unpack('!B', octets[1:2])
    found = _read_address(octets)
    if found is None:
        return None
    host, port, size = found
    return Request(5, command, host, port, b''), size


def _read_request_4(octets):
    if len(octets) < 9:
        return None
    command, port = struct.unpack('!BH', octets[1:4])
    user = _terminated(octets, 8, USER_SIZE, 'user name')
    if user is None:
        return None
    size = 9 + len(user)
    packed = octets[4:8]
    if packed[:3] != b'\0\0\0' or packed == b'\0\0\0\0':        # 0.0.0.x, x not 0: the name follows (4a)
        return Request(4, command, to_octets(socket.inet_ntoa(packed)), port, user), size
    host = _terminated(octets, size, HOST_SIZE, 'host name')
    if host is None:
        return None
    return Request(4, command, _checked_name(host), port, user), size + len(host) + 1


def _read_address(octets):
    """Return (host, port, size) of the message that has an address from octet 3 on; None if it goes on."""
    kind = octets[3:4]
    if kind == _NAME:
        name = _counted(octets, 4)
        if name is None or len(octets) < 7 + len(name):
            return None
        size = 7 + len(name)
        host = _checked_name(name)
    elif kind in (_IPV4, _IPV6):
        family, width = (socket.AF_INET, 4) if kind == _IPV4 else (socket.AF_INET6, 16)
        size = 6 + width
        if len(octets) < size:
            return None
        host = to_octets(socket.inet_ntop(family, octets[4:4 + width]))
    else:
        raise Malformed('SOCKS 5 knows no address type %d' % ord(kind), ADDRESS)
    port, = struct.unpack('!H', octets[size - 2:size])
    return host, port, size


def _checked_name(name):
    if not name or b'\0' in name:
        raise Malformed('an empty host name' if not name else 'a host name with a NUL octet', ADDRESS)
    return name


# --- the server's side, as it answers

def write_method(method):
    """Return the octets that tell a SOCKS 5 client which method of logging in to use (3). `method`: a number."""
    return b'\x05' + _octet(method)


def write_login_answer(good):
    """Return the octets that answer a login (RFC 1929, 2). `good`: True if it is right."""
    return b'\x01' + _octet(0 if good else 1)


def write_reply(version, code):
    """Return the octets that answer a request.

    `version`: 4 or 5; `code`: one of REPLIES. The address in it is 0.0.0.0:0, since from which address the proxy went
    on is nothing that a client needs to know (6).
    """
    if version == 4:
        return b'\0' + _octet(90 if code == GRANTED else 91) + b'\0' * 6
    return b'\x05' + _octet(code) + b'\0' + _IPV4 + b'\0' * 6


# --- the client's side, as we write it to another SOCKS server

def write_methods(with_login):
    """Return the first octets of a SOCKS 5 client. `with_login`: true if it can log in by name and password."""
    return b'\x05\x02\x00\x02' if with_login else b'\x05\x01\x00'


def write_login(name, password):
    """Return the octets of a login (RFC 1929, 2).

    `name`, `password`: octets, 1 to 255 each. Raises ValueError if they do not fit.
    """
    if not 0 < len(name) < 256 or not 0 < len(password) < 256:
        raise ValueError('a SOCKS 5 login takes a name and a password of 1 to 255 octets each')
    return b'\x01' + _octet(len(name)) + name + _octet(len(password)) + password


def write_request(version, host, port, user=b''):
    """Return the octets of a request to CONNECT.

    `version`: 4 (which includes 4a, used if `host` is a name) or 5; `host`: octets, a name or an address as text;
    `port`: a number; `user`: octets, only for version 4. Raises ValueError if it cannot be said in that version.
    """
    text = to_native(host)
    ip = parse_ip(text) if is_ip(text) else None
    if version == 5:
        return b'\x05\x01\0' + _write_host(host, text, ip) + struct.pack('!H', port)
    if ip is not None and ip.version == 6:
        raise ValueError('SOCKS 4 knows no IPv6 addresses')
    if b'\0' in user or b'\0' in host:
        raise ValueError('SOCKS 4 ends names by a NUL octet')
    packed, behind = (socket.inet_aton(text), b'') if ip else (b'\0\0\0\x01', host + b'\0')
    return b'\x04\x01' + struct.pack('!H', port) + packed + user + b'\0' + behind


def _write_host(host, text, ip):
    if ip is None:
        if not 0 < len(host) < 256:
            raise ValueError('SOCKS 5 takes host names of 1 to 255 octets')
        return _NAME + _octet(len(host)) + host
    if ip.version == 4:
        return _IPV4 + socket.inet_aton(text)
    return _IPV6 + socket.inet_pton(socket.AF_INET6, text)


# --- the server's side, as we read it

def read_method(octets):
    """Read which log-in method a SOCKS 5 server has chosen (3). `octets`: see above.

    Returns (number, 2), or None. Raises Malformed.
    """
    _expect(octets, b'\x05', 'the greeting of a SOCKS 5 server')
    return (ord(octets[1:2]), 2) if len(octets) >= 2 else None


def read_login_answer(octets):
    """Read the answer of a SOCKS 5 server to a log-in (RFC 1929, 2). `octets`: see above.

    Returns (True or False, 2), or None. Raises Malformed.
    """
    # Some servers repeat the version of SOCKS here instead of that of the login.
    if octets[:1] not in (b'', b'\x01', b'\x05'):
        _expect(octets, b'\x01', 'the answer to a SOCKS 5 login')
    return (octets[1:2] == b'\0', 2) if len(octets) >= 2 else None


def read_reply(version, octets):
    """Read the answer to a request.

    `version`: 4 or 5, as the request had it; `octets`: see above. Returns (Reply, size), or None. Raises Malformed.
    """
    if version == 4:
        _expect(octets, b'\0', 'the answer of a SOCKS 4 server')
        if len(octets) < 8:
            return None
        code = ord(octets[1:2])
        return Reply(code == 90, code, REPLIES_4.get(code, 'unknown code %d' % code)), 8
    _expect(octets, b'\x05', 'the answer of a SOCKS 5 server')
    if len(octets) < 5:
        return None
    code = ord(octets[1:2])
    reply = Reply(code == GRANTED, code, REPLIES.get(code, 'unknown code %d' % code))
    if not reply.granted:
        return reply, len(octets)       # some servers send no address with a refusal, and close
    found = _read_bound(octets)
    return None if found is None else (reply, found)


def _read_bound(octets):
    """Return the size of a reply, whatever address it has; some have an empty name."""
    kind = octets[3:4]
    sizes = {_IPV4: 10, _IPV6: 22, _NAME: 7 + ord(octets[4:5])}
    if kind not in sizes:
        raise Malformed('the answer of a SOCKS 5 server has an address of the type %d' % ord(kind))
    return sizes[kind] if len(octets) >= sizes[kind] else None


# --- small parts

def _expect(octets, first, what):
    if octets[:1] not in (b'', first):
        raise Malformed('%s begins with octet %d, not with %d' % (what, ord(first), ord(octets[:1])))


def _octet(number):
    return struct.pack('!B', number)


def _counted(octets, at):
    """Return the octets behind the octet `at`, which says how many; None if not all are there."""
    if len(octets) <= at:
        return None
    size = ord(octets[at:at + 1])
    return octets[at + 1:at + 1 + size] if len(octets) > at + size else None


def _terminated(octets, at, most, what):
    """Return the octets from `at` on up to a NUL; None if that has not come. Raises Malformed if there are too many."""
    end = octets.find(b'\0', at, at + most + 1)
    if end >= 0:
        return octets[at:end]
    if len(octets) > at + most:
        raise Malformed('a SOCKS 4 %s of more than %d octets' % (what, most))
    return None
