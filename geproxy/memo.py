"""Bounded caches: dicts that remember what a function has returned. They know nothing about what they hold."""
from __future__ import absolute_import, division, print_function

import collections

MOST = 2000             # values in one dict
LONGEST = 256           # octets of a key; a longer one does not come again, or comes from a client that fills the cache


class Bounded(dict):
    """{key: value} with so many keys at most. A look-up costs no more than that of a dict.

    To push out only the key that is used least would cost each look-up more than it saves.
    """
    __slots__ = ('_most',)

    def __init__(self, most):
        """`most`: how many keys there may be."""
        dict.__init__(self)
        self._most = most

    def remember(self, key, value):
        """Remember `value` for `key`. If the dict is full, all other keys are removed first."""
        if len(self) >= self._most:
            self.clear()
        self[key] = value


class Memo(Bounded):
    """A bounded cache: {key: what a function returned for it}. Ask by `memo[key]`, which costs no more than a dict.

    A value is kept when its key comes for the second time: keys that come once would push out those that come again.
    """
    __slots__ = ('_make', '_longest', '_keeps', '_seen')

    def __init__(self, make, most=MOST, longest=LONGEST, keeps=None):
        """`make`: a function of the key, mostly octets. Its value must depend on the key alone, and is never changed;
        an exception is passed on and not kept. `most`: how many values are kept; `longest`: the longest key that is
        kept, in octets; `keeps`: a function of key and value that returns False if they must not be kept, or None."""
        Bounded.__init__(self, most)
        self._make, self._longest, self._keeps = make, longest, keeps
        self._seen = set()      # hashes of the keys that came once

    def __missing__(self, key):
        return self.learn(key)

    def learn(self, key):
        """Return the value of a key that is not in the dict, and keep it if it came before. Raises what `make` does."""
        value = self._make(key)
        if len(key) <= self._longest:
            seen = hash(key)        # not the key itself: it may be a secret
            if seen not in self._seen:
                if len(self._seen) >= self._most:
                    self._seen.clear()
                self._seen.add(seen)
            elif self._keeps is None or self._keeps(key, value):
                self.remember(key, value)
        return value


class ExpiringCache(object):
    """{key: value}. Each value expires at a time of its own. When it is full, the least recently used key is removed.
    """
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
        """Return the value of `key`, and note that it was used; None if there is none or it has expired.

        `now`: seconds, on the same clock as `until` of `put`.
        """
        entry = self._entries.pop(key, None)
        if entry is None or entry[1] < now:
            return None
        self._entries[key] = entry
        return entry[0]

    def peek(self, key, now):
        """Return the value of `key` at `now`, as `get` does, but do not note that it was used."""
        entry = self._entries.get(key)
        return None if entry is None or entry[1] < now else entry[0]

    def put(self, key, value, until):
        """Set the `value` of `key`. `until`: the last moment at which the value is valid, in seconds."""
        self._entries.pop(key, None)
        self._entries[key] = value, until
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def forget(self, key):
        """Remove `key` if it is there."""
        self._entries.pop(key, None)
