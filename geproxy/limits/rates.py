"""Limits of requests and octets per second, and of connections per client. Pure: nothing here waits or reads a clock.
Functions get the time as an argument, and return a time or raise an error.

Everything is counted by key: the user that has logged in, or else the client's address. The counts outlive a reload.
The limits are arguments of each call, so the settings that hold now are used.
"""
from __future__ import absolute_import, division, print_function

import collections
import math
import re
import weakref

from geproxy import errors
from geproxy.compat import to_native
from geproxy.net.address import client_network

KEYS = 10000                # keys in a table; each costs about 1 KiB
FORGET = 3600.0             # seconds after which an unused key is forgotten, and begins anew
RETRY_CONNECTION = 1        # seconds for Retry-After, the shortest: it cannot be known when a connection ends
PIECE = 0.05                # seconds' worth of octets that all exchanges which share a rate send in one round
LEAST_PIECE = 1024          # octets; smaller ones would be mostly overhead
MOST_PIECE = 256 * 1024     # octets; no read gives more (stream.SCRATCH_SIZE)
SLACK = 0.2                 # seconds; octets late by less may go at once; a longer idle time is not made up for

_find_unsafe = re.compile(br'[^!-$&-~]')


def key_of(user, client, ipv6_prefix=64):
    """Return the key for limits of a client: printable ASCII without blanks. The key of a user is never an address.

    `user`: octets of the name, or None without a log-in; `client`: its address, native text; `ipv6_prefix`: bits of an
    IPv6 address that count, see address.client_network.
    """
    if user is None:
        return client_network(client, ipv6_prefix)
    return 'user:' + to_native(_find_unsafe.sub(lambda match: b'%%%02X' % ord(match.group()), user))


def show_octets(count):
    """Return `count`, a number of octets, in the form of the ini file: 1g, 64k, 1000."""
    for unit, size in (('g', 1024 ** 3), ('m', 1024 ** 2), ('k', 1024)):
        if count and count % size == 0:
            return '%d%s' % (count // size, unit)
    return '%d' % count


class Table(object):
    """{key: value}, made when it is first asked for. The values asked for last are kept, and those still in use."""

    def __init__(self, make, most=KEYS):
        """`make`: a function that returns a new value, which must allow weak references; `most`: how many are kept."""
        self._make, self._most = make, most
        self._kept = collections.OrderedDict()              # {key: (value, when it was last used)}, the oldest first
        self._used = weakref.WeakValueDictionary()          # all of these, and those that a tunnel still uses

    def __len__(self):
        return len(self._kept)

    def get(self, key, now):
        """Return the value of a key, native text. `now`: monotonic seconds."""
        value = self._used.get(key)
        if value is None:
            value = self._used[key] = self._make()
        self._kept.pop(key, None)
        self._kept[key] = (value, now)
        self._forget(now)
        return value

    def _forget(self, now):
        for _ in range(2):          # one more than is added: it shrinks over time, and no request has to wait for that
            key = next(iter(self._kept))
            if len(self._kept) <= self._most and self._kept[key][1] >= now - FORGET:
                break
            del self._kept[key]


class Bucket(object):
    """A token bucket. It stores only the time at which it will be (or was) full: the GCRA of ITU-T I.371."""
    __slots__ = ('_full', '__weakref__')

    def __init__(self):
        self._full = float('-inf')

    def take(self, rate, burst, now):
        """Take one token and return 0.0. If there is none, return the seconds until there will be one.

        `rate`: tokens that come back per second; `burst`: how many there are when it is full; `now`: seconds.
        """
        full = max(self._full, now) + 1.0 / rate
        wait = full - now - max(1, burst) / rate
        if wait > 1e-9:             # seconds; rounding may add up to as much
            return wait
        self._full = full
        return 0.0


class Meter(object):
    """A rate that exchanges share. It stores the time up to which all octets are taken. Each piece is sent after the
    pieces that were taken before it, so the exchanges take turns."""
    __slots__ = ('_next', '_last', '_turns', '__weakref__')

    def __init__(self):
        self._next = self._last = float('-inf')
        self._turns = collections.OrderedDict()     # {exchange: when its piece may go, or went lately}

    def take(self, who, count, rate, now):
        """Take octets. Return when they may be sent, on the clock of `now`.

        `who`: the exchange, anything that can be a key; `count`: octets; `rate`: octets per second; `now`: seconds.
        """
        idle = now - max(self._next, self._last) >= SLACK
        start = now if idle else max(self._next, now - SLACK)
        self._last = now
        self._next = start + count / rate
        self._forget(now)
        self._turns.pop(who, None)
        self._turns[who] = start
        return start

    def piece(self, who, rate, now):
        """Return how many octets to take at once, so that no exchange waits long for its turn.

        `who`, `rate`, `now`: as for `take`.
        """
        self._forget(now)
        # Not only exchanges that wait: after a time without the processor all wake at once, and the first would take
        # everything.
        others = len(self._turns) - (who in self._turns)
        return max(LEAST_PIECE, min(MOST_PIECE, int(rate * PIECE / (1 + others))))

    def _forget(self, now):
        while self._turns and self._turns[next(iter(self._turns))] < now - SLACK:
            self._turns.popitem(last=False)


class Pace(object):
    """The speed of one direction of an exchange: the slowest of its meters decides."""
    __slots__ = ('until', '_shares', '_charge')

    def __init__(self, shares, charge):
        """`shares`: [(Meter, octets per second)]; `charge`: None, or a function that counts a number of octets, and
        raises an error if there may be no more."""
        self.until = float('-inf')              # when the octets taken last may go, in monotonic seconds
        self._shares, self._charge = shares, charge

    def piece(self, now):
        """Return how many octets to read at once. `now`: monotonic seconds."""
        return min([MOST_PIECE] + [meter.piece(id(self), rate, now) for meter, rate in self._shares])

    def take(self, count, now):
        """Take `count` octets. Return when they may be sent, on the clock of `now`. Raises what `charge` does."""
        if self._charge is not None:
            self._charge(count)
        self.until = max([now] + [meter.take(id(self), count, rate, now) for meter, rate in self._shares])
        return self.until

    def uncharged(self):
        """Return another Pace that shares the same rates and charges nothing."""
        return Pace(self._shares, None)


class Consumption(object):
    """What all clients have used, for as long as the process lives."""

    def __init__(self):
        self._buckets = Table(Bucket)
        self._meters = Table(Meter, 2 * KEYS)
        self._connections = {}

    def enter(self, client, most):
        """Count a connection of a client until `leave`. Raises ClientFull, and then has not counted it.

        `client`: its key, native text; `most`: connections at the same time, None for no limit.
        """
        count = self._connections.get(client, 0)
        if most is not None and count >= most:
            raise errors.ClientFull('client %s has %d connections already ([limits] per_client)' % (client, count),
                                    RETRY_CONNECTION)
        self._connections[client] = count + 1

    def leave(self, client):
        """Stop counting one connection of a client, since it has ended. `client`: its key, native text."""
        count = self._connections.pop(client) - 1
        if count:
            self._connections[client] = count

    def check_request(self, key, rate, burst, now):
        """Count one more request. Raises TooManyRequests, and then has not counted it.

        `key`: see key_of; `rate`: requests per second, may be a fraction; `burst`: how many may come at the same time;
        `now`: monotonic seconds.
        """
        wait = self._buckets.get(key, now).take(rate, burst, now)
        if wait:
            raise errors.TooManyRequests('%s sends more than %.6g requests per second ([limits] requests)' % (
                show_key(key), rate), int(math.ceil(wait)))

    def check_handshake(self, client, rate, burst, now):
        """Count one more TLS handshake, apart from the requests. Raises TooManyRequests, and then has not counted it.

        `client`: its key, native text; `rate`, `burst`, `now`: as for `check_request`.
        """
        wait = self._buckets.get('handshakes ' + client, now).take(rate, burst, now)
        if wait:
            raise errors.TooManyRequests('%s begins more than %.6g TLS handshakes per second ([limits] requests)' % (
                show_key(client), rate), int(math.ceil(wait)))

    def paces(self, shares, charge, now):
        """Return (Pace up, Pace down) for an exchange, or (None, None) if nothing limits it.

        `shares`: [(key, octets per second, or None for no limit)], which hold for each direction apart; `charge`: see
        Pace; `now`: monotonic seconds.
        """
        shares = [share for share in shares if share[1] is not None]
        if not shares and charge is None:
            return None, None
        return tuple(Pace([(self._meters.get((way, key), now), rate) for key, rate in shares], charge)
                     for way in ('up', 'down'))


def show_key(key):
    """Return `key`, see key_of, in the form for people: client 10.0.0.1, user joe."""
    return 'user ' + key[len('user:'):] if key.startswith('user:') else 'client ' + key
