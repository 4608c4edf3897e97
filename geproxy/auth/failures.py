"""Counts failed log-ins by client and by name, and says how long the next attempt has to wait. Does not wait itself.

Many people may share one client key, which is an address or a network of IPv6. So failures count for the pair of client
key and name first: a guesser slows down only the user whose name it tries, and only for its own address. They count for
the client key alone much later, after a guesser has tried many names.
"""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import math

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.memo import ExpiringCache

FREE = 3                # failures of one name from one client that cost nothing; mistakes happen
FREE_OF_CLIENT = 50     # failures of one client that cost nothing; of each name, only the first FREE are counted
STEP = 10               # further failures of one client that double its delay
FIRST_DELAY = 0.5       # seconds that the next attempt waits; doubled by each further failure
MOST_DELAY = 8.0        # seconds
MEMORY = 600.0          # seconds after which failures are forgotten
REMEMBERED = 10000      # clients whose failures are remembered, and as many pairs of client and name
WAITING = 4             # attempts with one name from one client that may wait at once, if they have a delay
WAITING_OF_CLIENT = 16  # attempts of one client that may wait at once, if it has a delay
VERIFYING = 64          # the same two without a delay: what can be guessed at once, before any of it has failed


class Failures(object):
    """How often log-ins have failed lately, and how many attempts are under way."""

    def __init__(self):
        self._pairs = ExpiringCache(REMEMBERED)         # {(client key, name): how often}
        self._clients = ExpiringCache(REMEMBERED)       # {client key: how often}
        self._under_way = collections.Counter()         # {client key, or (client key, name): attempts}

    def delay(self, client_key, name):
        """Return the seconds that the next attempt has to wait.

        `client_key`: native text, see rates.key_of; `name`: octets, of the user.
        """
        times = self._pairs.peek((client_key, name), monotonic()) or 0
        return max(_delay(times - FREE), self._delay_of(client_key))

    def _delay_of(self, client_key):
        times = self._clients.peek(client_key, monotonic()) or 0
        return _delay((times - FREE_OF_CLIENT) // STEP)

    @contextlib.contextmanager
    def attempt(self, client_key, name):
        """Count an attempt as under way during a `with` block, which gets the delay of the attempt in seconds.

        `client_key`, `name`: as for `delay`. Raises LoginsThrottled if too many attempts are under way.
        """
        delay, pair = self.delay(client_key, name), (client_key, name)
        for key, most in ((pair, WAITING if delay else VERIFYING),
                          (client_key, WAITING_OF_CLIENT if self._delay_of(client_key) else VERIFYING)):
            under_way = self._under_way[key]
            if under_way >= most:
                raise errors.LoginsThrottled('%d log-ins %sfrom your address are under way already%s' % (
                    under_way, 'with this name ' if key is pair else '', ', after others failed' if delay else ''),
                    int(math.ceil(delay)) or 1)
        for key in (pair, client_key):
            self._under_way[key] += 1
        try:
            yield delay
        finally:
            for key in (pair, client_key):
                self._under_way[key] -= 1
                if not self._under_way[key]:
                    del self._under_way[key]

    def add(self, client_key, name):
        """Count one more failure. `client_key`, `name`: as for `delay`."""
        if _add(self._pairs, (client_key, name)) <= FREE:
            _add(self._clients, client_key)

    def forget(self, client_key, name):
        """Forget the failures of a name after a log-in with it. The failures of other names stay, because the client
        may be guessing their passwords. `client_key`, `name`: as for `delay`."""
        self._pairs.forget((client_key, name))


def _delay(beyond):
    """Return the seconds of a delay after so many failures beyond those that are free."""
    return min(MOST_DELAY, FIRST_DELAY * 2 ** min(beyond, 10)) if beyond >= 0 else 0.0


def _add(failed, key):
    now = monotonic()
    times = (failed.peek(key, now) or 0) + 1
    failed.put(key, times, now + MEMORY)
    return times
