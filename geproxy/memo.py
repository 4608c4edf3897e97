"""What comes again and again, worked out once: dicts that remember, and never grow for ever. Knows no meaning."""
from __future__ import absolute_import, division, print_function

import collections

MOST = 2000             # values in one dict
LONGEST = 256           # octets of a key; what is longer comes once, or from somebody who means to fill it


class Memo(dict):
    """{key: what a function made of it}. To ask is to look up: `memo[key]`, at the price of a dict's.

    What was asked for only once is not remembered: it would push out what comes again.
    """
    __slots__ = ('_make', '_most', '_longest', '_keeps', '_seen')

    def __init__(self, make, most=MOST, longest=LONGEST, keeps=None):
        """`make`: a function of the key, mostly octets, and of nothing else; what it raises is not remembered, and
        raised. Nobody may change what it returned. `keeps`: None, or a function of key and value that returns False if
        they are not to be remembered."""
        dict.__init__(self)
        self._make, self._most, self._longest, self._keeps = make, most, longest, keeps
        self._seen = set()      # hashes of what was asked for once

    def __missing__(self, key):
        return self.learn(key)

    def learn(self, key):
        """The value of a key that `get` has not found."""
        value = self._make(key)
        if len(key) <= self._longest:
            # To know what is used least would cost all the others more than to begin anew costs the few.
            seen = hash(key)        # not the key: it may be a secret
            if seen not in self._seen:
                if len(self._seen) >= self._most:
                    self._seen.clear()
                self._seen.add(seen)
            elif self._keeps is None or self._keeps(key, value):
                if len(self) >= self._most:
                    self.clear()
                self[key] = value
        return value


class ExpiringCache(object):
    """{key: value}, each good until a moment of its own, and of all only so many: the least recently used one goes."""
    __slots__ = ('_most', '_entries')

    def __init__(self, most):
        """`most`: how many keys there may be."""
        self._most = most
        self._entries = collections.OrderedDict()       # {key: (value, its last moment)}, the least recently used first

    def __len__(self):
        return len(self._entries)

    def __contains__(self, key):
        return key in self._entries

    def get(self, key, now):
        """Return the value of a key that was used now, or None if there is none that is still good. `now`: seconds, of
        the clock by which `put` was told."""
        entry = self._entries.pop(key, None)
        if entry is None or entry[1] < now:
            return None
        self._entries[key] = entry
        return entry[0]

    def peek(self, key, now):
        """Return what `get` does, and leave the order as it is."""
        entry = self._entries.get(key)
        return None if entry is None or entry[1] < now else entry[0]

    def put(self, key, value, until):
        """Remember a value, in place of the one that the key had. `until`: the last moment at which it is good, in
        seconds."""
        self._entries.pop(key, None)
        self._entries[key] = value, until
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def forget(self, key):
        """Forget a key, if it is there."""
        self._entries.pop(key, None)
