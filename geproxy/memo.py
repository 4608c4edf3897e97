"""Bounded caches: dicts that remember what a function has returned. They know nothing about what they hold."""
from __future__ import absolute_import, division, print_function

MOST = 2000             # values in one dict
LONGEST = 256           # octets of a key; a longer one does not come again, or comes from a client that fills the cache


class Memo(dict):
    """A bounded cache: {key: what a function returned for it}. Ask by `memo[key]`, which costs no more than a dict.

    A value is kept when its key comes for the second time: keys that come once would push out those that come again.
    When it is full, it is emptied.
    """
    __slots__ = ('_make', '_most', '_longest', '_keeps', '_seen')

    def __init__(self, make, most=MOST, longest=LONGEST, keeps=None):
        """`make`: a function of the key, mostly octets, whose value depends on nothing else, and which nobody changes;
        an exception is passed on and not kept. `most`: how many values are kept; `longest`: the longest key that is
        kept, in octets; `keeps`: a function of key and value that returns False if they must not be kept, or None."""
        dict.__init__(self)
        self._make, self._most, self._longest, self._keeps = make, most, longest, keeps
        self._seen = set()      # hashes of the keys that came once

    def __missing__(self, key):
        return self.learn(key)

    def learn(self, key):
        """Return the value of a key that is not in the dict, and keep it if it came before. Raises what `make` does."""
        value = self._make(key)
        if len(key) <= self._longest:
            # To push out only the value that is used least would cost each look-up more than it saves.
            seen = hash(key)        # not the key itself: it may be a secret
            if seen not in self._seen:
                if len(self._seen) >= self._most:
                    self._seen.clear()
                self._seen.add(seen)
            elif self._keeps is None or self._keeps(key, value):
                if len(self) >= self._most:
                    self.clear()
                self[key] = value
        return value
