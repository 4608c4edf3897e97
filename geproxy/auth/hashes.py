"""Reads password hashes of htpasswd files, and compares passwords with them. Pure, and slow on purpose.

{SHA}, md5-crypt and sha-crypt are computed here, since the standard library no longer has crypt. bcrypt would be too
slow in Python, and needs the library of that name. A hash is a secret: no message quotes one.
"""
from __future__ import absolute_import, division, print_function

import base64
import collections
import hashlib
import hmac
import re

from geproxy import compat

try:
    import bcrypt
except ImportError:             # an extra, on any Python: setup.py
    bcrypt = None

# `kind`: 'sha', 'apr1', '1', '5', '6' or 'bcrypt'; `rounds`: what it costs, in the measure of its kind; `digest`: as
# the file has it, of bcrypt the whole text.
Secret = collections.namedtuple('Secret', 'kind salt rounds digest')
# `new`: of hashlib; `order`: of the octets in `_encode`; `size`: of the encoded digest; `salt`: octets at most.
Crypt = collections.namedtuple('Crypt', 'new order size salt')

FEWEST_ROUNDS = 1000            # of sha-crypt, by its specification
MOST_ROUNDS = 1000000           # which allows 999,999,999; these take a second, and a log-in is no place for more
USUAL_ROUNDS = 5000
COSTS = range(4, 16)            # of bcrypt, which allows 31; 15 takes 2 s
BCRYPT_SIZE = 72                # octets of a password that bcrypt looks at
# The most that a hash may cost, by its kind, to take about 100 ms (bcrypt 10: 65 to 80 ms; 50,000 rounds of sha-crypt:
# 60 to 110 ms; Python 2.7 to 3.13, 2026). By this table and not by a clock: a busy host would be called slow.
MOST_USUAL = {'bcrypt': 10, '5': 50000, '6': 50000}
CYCLE = 42                      # rounds, after which their pattern repeats: 2 * 3 * 7
PAUSE = 8                       # cycles between two pauses: 0.2 ms of work, or 1 ms with a very long password

_match_sha = re.compile(br'\{SHA\}([A-Za-z0-9+/]{27}=)\Z').match
_match_crypt = re.compile(
    br'\$(apr1|1|5|6)\$(?:rounds=([0-9]{1,9})\$)?([\x21-\x23\x25-\x7e]{0,16})\$([./0-9A-Za-z]{22,86})\Z').match
_match_bcrypt = re.compile(br'\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}\Z').match
# What names a kind, in hashes of others: never a part of the hash itself.
_match_label = re.compile(br'\{[A-Z][A-Z0-9-]{1,15}\}|\$[0-9A-Za-z][0-9a-z-]{0,15}\$').match
_match_des = re.compile(br'[./0-9A-Za-z]{13}\Z|_[./0-9A-Za-z]{19}\Z').match
_KNOWN = (b'{SHA}', b'$apr1$', b'$1$', b'$5$', b'$6$', b'$2a$', b'$2b$', b'$2y$')


def parse(text):
    """Return the Secret for a hash. `text`: the hash, octets. Raises ValueError, whose message never has the hash."""
    match = _match_sha(text)
    if match:
        return Secret('sha', b'', 1, match.group(1))
    match = _match_bcrypt(text)
    if match:
        return _parse_bcrypt(text, int(match.group(1)))
    match = _match_crypt(text)
    if match:
        return _parse_crypt(*match.groups())
    raise ValueError(_describe(text))


def _parse_bcrypt(text, cost):
    if bcrypt is None:
        raise ValueError('a bcrypt hash, which needs a library: pip install bcrypt, or the package python3-bcrypt')
    if cost not in COSTS:
        raise ValueError('a bcrypt hash with a cost of %d: it takes %d to %d' % (cost, COSTS[0], COSTS[-1]))
    return Secret('bcrypt', b'', cost, text)


def _parse_crypt(label, rounds, salt, digest):
    kind = compat.to_native(label)
    crypt = _CRYPTS[kind]
    crypt.new()                 # a host in FIPS mode has no MD5, and says so by a ValueError
    if len(digest) != crypt.size or len(salt) > crypt.salt or (rounds is not None and crypt.new is hashlib.md5):
        raise ValueError('a broken $%s$ hash' % kind)
    rounds = USUAL_ROUNDS if rounds is None else int(rounds)
    if not FEWEST_ROUNDS <= rounds <= MOST_ROUNDS:
        raise ValueError('a $%s$ hash with %d rounds: it takes %d to %d' % (kind, rounds, FEWEST_ROUNDS, MOST_ROUNDS))
    return Secret(kind, salt, rounds, digest)


def is_slow(secret):
    """Return True if it takes more than about 100 ms to compare a password with `secret`, a Secret."""
    return secret.rounds > MOST_USUAL.get(secret.kind, secret.rounds)


def _describe(text):
    """Return what is wrong with a hash that cannot be used, native text."""
    match = _match_label(text)
    if match:
        label = compat.to_native(match.group())
        return 'a broken %s hash' % label if match.group() in _KNOWN else 'a hash of a kind not known here, %s' % label
    if not text:
        return 'no hash'
    if _match_des(text):
        return 'a crypt(3) DES hash, which is too weak: make another with openssl passwd -6'
    return 'a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6'


def verify(secret, password, pause=lambda: None):
    """Return True if a password is the right one for a Secret. Takes milliseconds to seconds.

    `secret`: the Secret; `password`: octets without NUL; `pause`: a function that is called after each piece of work
    that holds the interpreter. (The bcrypt library releases it while it works.)
    """
    if secret.kind == 'bcrypt':
        # bcrypt ignores all octets behind the first 72, so a longer password is refused. It is compared all the same:
        # the time that this takes must not tell which kind of hash the user has.
        good = bcrypt.checkpw(password[:BCRYPT_SIZE], secret.digest)
        return good and len(password) <= BCRYPT_SIZE
    if secret.kind == 'sha':
        made = base64.b64encode(hashlib.sha1(password).digest())
    elif secret.kind in ('5', '6'):
        made = _sha_crypt(secret, password, pause)
    else:
        made = _md5_crypt(secret, password, pause)
    return equal(made, secret.digest)


def _equal(one, other):
    """Return True if octets are equal, in a time that does not tell how many of them are."""
    different = len(one) ^ len(other)
    for a, b in zip(bytearray(one), bytearray(other)):
        different |= a ^ b
    return not different


equal = getattr(hmac, 'compare_digest', _equal)         # from 2.7.7 on


# --- md5-crypt, by Poul-Henning Kamp (FreeBSD, 1994), and sha-crypt, by Ulrich Drepper (2007) -------------------------

def _md5_crypt(secret, password, pause):
    """Return the encoded digest of $1$ and $apr1$, which differ only in the name that is hashed, too."""
    new, salt = hashlib.md5, secret.salt
    inner = new(password + salt + password).digest()
    digest = new(password + b'$' + compat.to_octets(secret.kind) + b'$' + salt + _repeat(inner, len(password))
                 + _by_bits(len(password), b'\0', password[:1])).digest()
    return _encode(_stretch(new, digest, password, salt, 1000, pause), _CRYPTS[secret.kind])


def _sha_crypt(secret, password, pause):
    """Return the encoded digest of $5$ and $6$."""
    new, salt = _CRYPTS[secret.kind].new, secret.salt
    inner = new(password + salt + password).digest()
    digest = new(password + salt + _repeat(inner, len(password)) + _by_bits(len(password), inner, password)).digest()
    again = _repeat(new(password * len(password)).digest(), len(password))
    salt = _repeat(new(salt * (16 + bytearray(digest)[0])).digest(), len(salt))
    return _encode(_stretch(new, digest, again, salt, secret.rounds, pause), _CRYPTS[secret.kind])


def _repeat(octets, size):
    return (octets * (size // len(octets) + 1))[:size]


def _by_bits(number, one, zero):
    """Return `one` or `zero` for each bit of `number`, from the lowest up to the highest that is set."""
    return b''.join(one if number >> at & 1 else zero for at in range(number.bit_length()))


def _stretch(new, digest, password, salt, rounds, pause):
    """Return the digest after all the rounds, which make it slow; the same for both kinds."""
    steps = []
    for at in range(CYCLE):
        middle = (salt if at % 3 else b'') + (password if at % 7 else b'')
        steps.append((password + middle, b'') if at % 2 else (b'', middle + password))
    for done in range(0, rounds, CYCLE):
        for before, behind in steps[:rounds - done]:
            digest = new(before + digest + behind).digest()
        if not done % (PAUSE * CYCLE):
            pause()
    return digest


def _encode(digest, crypt):
    """Return the base64 of crypt(3): three octets at a time, in the order of the Crypt, the lowest bits first."""
    octets = bytearray(digest + b'\0')
    text = bytearray()
    for first, second, third in crypt.order:
        bits = octets[first] << 16 | octets[second] << 8 | octets[third]
        text.extend(_ALPHABET[bits >> shift & 63] for shift in (0, 6, 12, 18))
    return bytes(text[:crypt.size])


def _turning(size, turn):
    """Return triples of positions: each is the one before, plus one, rotated by `turn`."""
    triple, order = [0, size, 2 * size], []
    for _ in range(size):
        order.append(tuple(triple))
        triple = [at + 1 for at in triple[turn:] + triple[:turn]]
    return order


_ALPHABET = bytearray(b'./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')
# -1 is the zero that `_encode` puts behind the digest, to fill up the last triple.
_MD5_ORDER = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5), (-1, -1, 11)]
_CRYPTS = {
    '1': Crypt(hashlib.md5, _MD5_ORDER, 22, 8),
    'apr1': Crypt(hashlib.md5, _MD5_ORDER, 22, 8),
    '5': Crypt(hashlib.sha256, _turning(10, 2) + [(-1, 31, 30)], 43, 16),
    '6': Crypt(hashlib.sha512, _turning(21, 1) + [(-1, -1, 63)], 86, 16),
}
