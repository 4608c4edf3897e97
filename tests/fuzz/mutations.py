"""What fuzzed clients and origins send: messages of a corpus with mutations. No I/O.

The same dice give the same octets on every Python. So only `random` of random.Random is used: the other methods differ.
"""
from __future__ import absolute_import, division, print_function

import collections
import glob
import os
import re

HEADS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'heads')
MOST = 200000           # octets of one message, at most: more would only be slower

# What a connection does. `what`: send, half-close, close, reset or read (until the proxy closes); `value`: octets to send.
Step = collections.namedtuple('Step', 'what value')

# Requests that reach the origin. @ stands for its authority, PORT for its port.
REQUESTS = [
    b'GET http://@/ HTTP/1.1\r\nHost: @\r\n\r\n',
    b'GET / HTTP/1.1\r\nHost: @\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n',
    b'HEAD http://@/a?b=c HTTP/1.1\r\nHost: @\r\nConnection: close\r\n\r\n',
    b'GET http://@/ HTTP/1.0\r\n\r\n',
    b'POST http://@/ HTTP/1.1\r\nHost: @\r\nContent-Length: 11\r\n\r\nhello world',
    b'PUT http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a="b"\r\n world\r\n0\r\n\r\n',
    b'POST http://@/ HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n',
    b'POST http://@/ HTTP/1.1\r\nHost: @\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
    b'GET http://@/1 HTTP/1.1\r\nHost: @\r\n\r\nGET http://@/2 HTTP/1.1\r\nHost: @\r\n\r\n'
    b'GET http://@/3 HTTP/1.1\r\nHost: @\r\n\r\n',
    b'CONNECT @ HTTP/1.1\r\nHost: @\r\n\r\n',
    b'CONNECT @ HTTP/1.1\r\nHost: @\r\n\r\nGET / HTTP/1.1\r\nHost: @\r\n\r\n',
    b'CONNECT @ HTTP/1.0\r\n\r\n\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    b'GET http://@/ HTTP/1.1\r\nHost: @\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello',
    b'OPTIONS * HTTP/1.1\r\nHost: @\r\nMax-Forwards: 0\r\n\r\n',
    b'TRACE http://@/ HTTP/1.1\r\nHost: @\r\nMax-Forwards: 1\r\n\r\n',
    b'GET http://name.test:PORT/ HTTP/1.1\r\nHost: name.test:PORT\r\nProxy-Authorization: Basic YTpi\r\n\r\n',
    b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', b'\x05\x01\x00', b'\x04\x01\x00\x50\x7f\x00\x00\x01\x00',
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'SSH-2.0-OpenSSH_9\r\n', b'\r\n\r\n',
    b'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET http://@/ HTTP/1.1\r\nHost: @\r\n\r\n',
]

RESPONSES = [
    b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine',
    b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n' + b'x' * 4096 + b'\r\n0\r\nX: y\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n\r\nto the end of the connection', b'HTTP/1.0 200 OK\r\n\r\nold',
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
    b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n',
    b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello',
    b'HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n' + b'0123456789' * 15000,
    b'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n', b'', b'SSH-2.0-x\r\n',
]

NUMBERS = [b'0', b'00', b'-1', b'+1', b'1', b'4294967296', b'9223372036854775807', b'18446744073709551616', b'9' * 40,
           b'0x10', b'1e3', b'1_0', b'fffffffffffffff', b'ffffffffffffffff', b'65535', b'65536', b'7fffffff']
ENDS = [b'\r\n', b'\n', b'\r', b'\n\r', b'\r\r\n', b'\r\n\r\n', b'\x00\r\n', b' \r\n', b'\x0b', b'\x85']
WORDS = [b'Content-Length: 5\r\n', b'Content-Length: 0\r\n', b'Transfer-Encoding: chunked\r\n', b'Connection: close\r\n',
         b'Connection: keep-alive, Host\r\n', b'Host: @\r\n', b'Expect: 100-continue\r\n', b'Upgrade: websocket\r\n',
         b'Transfer-Encoding: gzip, chunked\r\n', b'Via: 1.1 fuzz\r\n', b'Max-Forwards: 0\r\n', b'TE: trailers\r\n',
         b'Connection: ' + b'a,' * 500 + b'b\r\n', b'X: ' + b'y' * 70000 + b'\r\n', b'A: b\r\n' * 250, b' folded\r\n',
         b'Keep-Alive: timeout=1\r\n', b'Proxy-Authorization: Basic !!!\r\n', b'\xff\xfe: \x80\r\n', b'%00', b'..', b'@@']
_find_example = re.compile(br'(?i)\b(?:[a-z]+\.)*example(?:\.com)?(?::[0-9]+)?')


def corpus(kind):
    """Return all heads in tests/heads, good and bad, as octets with @ for the hosts. `kind`: request or response."""
    found = []
    for path in sorted(glob.glob(os.path.join(HEADS, '*', kind + '-*.http'))):
        with open(path, 'rb') as opened:
            found.append(_find_example.sub(b'@', opened.read().partition(b'\n')[2]))
    return found


class Dice(object):
    """Random choices, the same on every Python. `roll`: random.Random(...).random."""

    def __init__(self, roll):
        self._roll = roll

    def below(self, count):
        """Return an int from 0 to `count` - 1; 0 if `count` is 0."""
        return int(self._roll() * count)

    def one_of(self, things):
        """Return one of a list."""
        return things[self.below(len(things))]

    def chance(self, part):
        """Return true with this probability (0 to 1)."""
        return self._roll() < part


def flip_bits(octets, dice, _pool):
    """Change a few bits."""
    changed = bytearray(octets)
    for _ in range(1 + dice.below(4)):
        if changed:
            changed[dice.below(len(changed))] ^= 1 << dice.below(8)
    return bytes(changed)


def put_octets(octets, dice, _pool):
    """Insert a few random octets."""
    at = dice.below(len(octets) + 1)
    return octets[:at] + bytes(bytearray(dice.below(256) for _ in range(1 + dice.below(8)))) + octets[at:]


def splice(octets, dice, pool):
    """Join the beginning with the end of another message."""
    other = dice.one_of(pool)
    return octets[:dice.below(len(octets) + 1)] + other[dice.below(len(other) + 1):]


def cut(octets, dice, _pool):
    """Cut off the end."""
    return octets[:dice.below(len(octets) + 1)]


def drop(octets, dice, _pool):
    """Remove some octets in the middle."""
    at = dice.below(len(octets) + 1)
    return octets[:at] + octets[at + 1 + dice.below(20):]


def repeat_line(octets, dice, _pool):
    """Repeat a line once or 300 times."""
    lines = octets.split(b'\n')
    at = dice.below(len(lines))
    return b'\n'.join(lines[:at] + [lines[at]] * (2 if dice.chance(0.8) else 300) + lines[at:])


def swap_lines(octets, dice, _pool):
    """Swap two lines."""
    lines = octets.split(b'\n')
    one, two = dice.below(len(lines)), dice.below(len(lines))
    lines[one], lines[two] = lines[two], lines[one]
    return b'\n'.join(lines)


def put_number(octets, dice, _pool):
    """Replace a number."""
    found = list(re.finditer(br'[0-9]+', octets))
    if not found:
        return octets
    match = dice.one_of(found)
    return octets[:match.start()] + dice.one_of(NUMBERS) + octets[match.end():]


def put_line_end(octets, dice, _pool):
    """Change the end of one line or of all lines."""
    end = dice.one_of(ENDS)
    if dice.chance(0.2):
        return octets.replace(b'\r\n', end)
    lines = octets.split(b'\r\n')
    at = dice.below(len(lines))
    return b'\r\n'.join(lines[:at + 1]) + (end + b'\r\n'.join(lines[at + 1:]) if at + 1 < len(lines) else b'')


def put_word(octets, dice, _pool):
    """Insert a field that matters."""
    lines = octets.split(b'\n')
    at = 1 + dice.below(len(lines))
    return b'\n'.join(lines[:at]) + (b'\n' if at < len(lines) else b'') + dice.one_of(WORDS) + b'\n'.join(lines[at:])


def blow_up(octets, dice, _pool):
    """Repeat a few octets a thousand times."""
    at = dice.below(len(octets) + 1)
    return octets[:at] + octets[at:at + 1 + dice.below(30)] * 1000 + octets[at:]


def append(octets, dice, pool):
    """Append another message."""
    return octets + dice.one_of(pool)


MUTATIONS = [flip_bits, flip_bits, put_octets, splice, cut, drop, repeat_line, swap_lines, put_number, put_line_end,
             put_word, put_word, blow_up, append, append]


def mutate(octets, dice, pool):
    """Return octets with 0 to 2 mutations."""
    for _ in range(dice.below(3)):
        octets = dice.one_of(MUTATIONS)(octets, dice, pool)[:MOST]
    return octets


def conversation(dice, pool, authority):
    """Return what a client does, as a list of Steps. `pool`: messages, octets; `authority`: of the origin, octets."""
    own = dice.chance(0.7)
    octets = mutate(dice.one_of(REQUESTS if own else pool), dice, pool).replace(b'@', authority).replace(
        b'PORT', authority.rpartition(b':')[2])
    steps = []
    if dice.chance(0.3):                        # in pieces
        while octets and len(steps) < 10:
            size = 1 + dice.below(min(len(octets), 400))
            steps.append(Step('send', octets[:size]))
            octets = octets[size:]
    steps.append(Step('send', octets))
    if dice.chance(0.1):
        del steps[dice.below(len(steps) + 1):]      # it stops in the middle
    ends = ['half-close'] * 12 + ['read'] * 3 + ['close'] * 3 + ['reset'] * 2
    steps.append(Step(dice.one_of(ends), None))
    return steps


def answer(dice, pool):
    """Return what an origin does, as a list of Steps. `pool`: messages, octets."""
    own = dice.chance(0.6)
    octets = mutate(dice.one_of(RESPONSES if own else pool), dice, pool)
    at = dice.below(len(octets) + 1) if dice.chance(0.3) else len(octets)
    return [Step('send', octets[:at]), Step('send', octets[at:]),
            Step(dice.one_of(['close'] * 7 + ['reset', 'read', 'half-close']), None)]
