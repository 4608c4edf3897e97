"""How much is too much: requests and octets per second, connections per client. Pure: values and times in, a time or
an error out; nothing here waits or reads a clock.

All is kept per key: a user if it is known who asks, else a client's address. What was taken outlives a reload;
how much may be taken is handed in each time, so that the figures of today count.
"""
from __future__ import absolute_import, division, print_function

import collections
import math
import re
import weakref

from geproxy import errors
from geproxy.compat import to_native
from geproxy.net.address import household

KEYS = 10000                # remembered in a table; each costs about 1 KiB
FORGET = 3600.0             # seconds: whoever was not heard of for so long begins anew
RETRY_CONNECTION = 1        # seconds: nobody knows when a connection ends, and nothing shorter can be said
PIECE = 0.05                # seconds' worth of octets that all who share a rate send in one round
LEAST_PIECE = 1024          # octets; smaller ones would be mostly overhead
MOST_PIECE = 256 * 1024     # octets; no read gives more (stream.SCRATCH_SIZE)
SLACK = 0.2                 # seconds: who was late by less makes up for it; who was idle for longer does not

_find_unsafe = re.compile(br'[^!-$&-~]')


def key_of(user, client, ipv6_prefix=64):
    """The key of who asks. `user`: octets, None if nobody knows; `client`: its address, native text; `ipv6_prefix`: see
    address.household. Printable ASCII without blanks, and no user is called like an address."""
    if user is None:
        return household(client, ipv6_prefix)
    return 'user:' + to_native(_find_unsafe.sub(lambda match: b'%%%02X' % ord(match.group()), user))


def show_octets(count):
    """A number of octets as the ini file has it: 1g, 64k, 1000."""
    for unit, size in (('g', 1024 ** 3), ('m', 1024 ** 2), ('k', 1024)):
        if count and count % size == 0:
            return '%d%s' % (count // size, unit)
    return '%d' % count


class Table(object):
    """Values by key, made when first asked for. Those asked for last are kept, and those that are still in use."""

    def __init__(self, make, most=KEYS):
        """`make`: called for a new value, which can be weakly referred to; `most`: how many are kept."""
        self._make, self._most = make, most
        self._kept = collections.OrderedDict()              # {key: (value, when it was asked for)}, the oldest first
        self._used = weakref.WeakValueDictionary()          # all of these, and what a tunnel still has

    def __len__(self):
        return len(self._kept)

    def get(self, key, now):
        """The value of `key`; `now`: monotonic seconds."""
        value = self._used.get(key)
        if value is None:
            value = self._used[key] = self._make()
        self._kept.pop(key, None)
        self._kept[key] = (value, now)
        self._forget(now)
        return value

    def _forget(self, now):
        for _ in range(2):          # one more than comes: it shrinks in time, and nobody has to wait for it
            key = next(iter(self._kept))
            if len(self._kept) <= self._most and self._kept[key][1] >= now - FORGET:
                break
            del self._kept[key]


class Bucket(object):
    """A token bucket, as the one time at which it will be (or was) full: the GCRA of ITU-T I.371."""
    __slots__ = ('_full', '__weakref__')

    def __init__(self):
        self._full = float('-inf')

    def take(self, rate, burst, now):
        """Take one token of `burst` that come back at `rate` per second -> 0.0, or seconds until there will be one."""
        full = max(self._full, now) + 1.0 / rate
        wait = full - now - max(1, burst) / rate
        if wait > 1e-9:             # as much as rounding may add up to
            return wait
        self._full = full
        return 0.0


class Meter(object):
    """A rate that is shared, as the time up to which its octets are given away. Who takes gets the next place in the
    queue, so that pieces of all who share it go by turns."""
    __slots__ = ('_next', '_last', '_turns', '__weakref__')

    def __init__(self):
        self._next = self._last = float('-inf')
        self._turns = collections.OrderedDict()     # {who: when it may go, or went lately}

    def take(self, who, count, rate, now):
        """Take `count` octets at `rate` per second -> when they may go, in the seconds of `now`. `who`: which of those
        that share it this is, anything that can be a key."""
        idle = now - max(self._next, self._last) >= SLACK
        start = now if idle else max(self._next, now - SLACK)
        self._last = now
        self._next = start + count / rate
        self._forget(now)
        self._turns.pop(who, None)
        self._turns[who] = start
        return start

    def piece(self, who, rate, now):
        """How many octets should be taken at once, so that a round of all who share it is short."""
        self._forget(now)
        # Not only who waits: after a moment without the processor all wake at once, and the first would take it all.
        others = len(self._turns) - (who in self._turns)
        return max(LEAST_PIECE, min(MOST_PIECE, int(rate * PIECE / (1 + others))))

    def _forget(self, now):
        while self._turns and self._turns[next(iter(self._turns))] < now - SLACK:
            self._turns.popitem(last=False)


class Pace(object):
    """How fast one direction of an exchange may go: the slowest of the meters that it takes from decides."""
    __slots__ = ('until', '_shares', '_charge')

    def __init__(self, shares, charge):
        """`shares`: [(Meter, octets per second)]; `charge`: None, or a function of a number of octets that counts
        them, or raises why there may be no more."""
        self.until = float('-inf')              # what was taken last is held back until then, in monotonic seconds
        self._shares, self._charge = shares, charge

    def piece(self, now):
        """How many octets should be read at once."""
        return min([MOST_PIECE] + [meter.piece(id(self), rate, now) for meter, rate in self._shares])

    def take(self, count, now):
        """Octets are to be sent -> when they may go, in monotonic seconds. Raises what `charge` does."""
        if self._charge is not None:
            self._charge(count)
        self.until = max([now] + [meter.take(id(self), count, rate, now) for meter, rate in self._shares])
        return self.until

    def uncharged(self):
        """Return another Pace that shares the same rates and charges nothing."""
        return Pace(self._shares, None)


class Limits(object):
    """What all have taken, for as long as the process lives."""

    def __init__(self):
        self._buckets = Table(Bucket)
        self._meters = Table(Meter, 2 * KEYS)
        self._connections = {}

    def enter(self, client, most):
        """A client has connected: count it until `leave`. `most`: connections at once, None for no limit. Raises
        ClientFull, and has not counted it then."""
        count = self._connections.get(client, 0)
        if most is not None and count >= most:
            raise errors.ClientFull('client %s has %d connections already ([limits] per_client)' % (client, count),
                                    RETRY_CONNECTION)
        self._connections[client] = count + 1

    def leave(self, client):
        """One of its connections has ended."""
        count = self._connections.pop(client) - 1
        if count:
            self._connections[client] = count

    def check_request(self, key, rate, burst, now):
        """One more request. `rate`: per second, may be broken; `burst`: how many may come at once. Raises
        TooManyRequests; what is refused counts for nothing."""
        wait = self._buckets.get(key, now).take(rate, burst, now)
        if wait:
            raise errors.TooManyRequests('%s sends more than %.6g requests per second ([limits] requests)' % (
                show_key(key), rate), int(math.ceil(wait)))

    def paces(self, shares, charge, now):
        """-> (Pace up, Pace down) for an exchange; (None, None) if nothing limits it.

        `shares`: [(key, octets per second or None)], of which each direction has its own; `charge`: see Pace.
        """
        shares = [share for share in shares if share[1] is not None]
        if not shares and charge is None:
            return None, None
        return tuple(Pace([(self._meters.get((way, key), now), rate) for key, rate in shares], charge)
                     for way in ('up', 'down'))


def show_key(key):
    """A key, for people: client 10.0.0.1, user joe."""
    return 'user ' + key[len('user:'):] if key.startswith('user:') else 'client ' + key
