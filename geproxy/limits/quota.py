"""Octets per day and key: counted, compared, and handed to a file about once a second. Never stalls a connection.

The counts live on the hub. A native thread keeps the file (see ledger): it gets what was counted, and gives back what
all processes that share the file have counted together.
"""
from __future__ import absolute_import, division, print_function

import math
import time

from geproxy import errors
from geproxy.compat import monotonic, native_lock, native_sleep, start_native_thread
from geproxy.limits.quota_file import KEYS, Ledger, day_of
from geproxy.limits.rates import show_key, show_octets
from geproxy.net import supervise


SLOW = 3.0              # seconds that the file may take before the log says so


def seconds_to_midnight(now):
    """Whole seconds until the next local day begins. `now`: seconds since the epoch."""
    local = time.localtime(now)
    midnight = time.mktime((local.tm_year, local.tm_mon, local.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    return max(1, int(math.ceil(midnight - now)))


class Quota(object):
    """What each key has had today. All methods are for the hub's thread, and none but `close` waits."""

    def __init__(self, path, say, now):
        """`path`: of the file, which is read here and now; `say`: called with what went wrong with it, native text;
        `now`: seconds since the epoch."""
        self._say = say
        self._said = ''
        self._day = day_of(now)
        self._totals = {}               # of all processes, as the file has them
        self._pending = {}              # counted here since then
        self._handed = (self._day, {})  # what the thread has been given
        self._ledger = Ledger(path)
        self._result = self._ledger.update(self._handed)
        self._writing = self._over = False
        self._since = 0.0               # when it was handed to the thread, in monotonic seconds
        self._failed = False            # the thread, at what it was handed
        self._work = native_lock()      # held while there is nothing to do
        self._work.acquire()
        self._settle()
        start_native_thread(supervise.keep, ('the file of quotas', self._run, say, native_sleep))

    def used(self, key):
        """Octets today."""
        return self._totals.get(key, 0) + self._handed[1].get(key, 0) + self._pending.get(key, 0)

    def check(self, key, most, now):
        """May there be more? `most`: octets per day. Raises QuotaExceeded."""
        self._roll(now)
        if self.used(key) >= most:
            raise errors.QuotaExceeded('%s has had its %s octets for today ([limits] quota)' % (
                show_key(key), show_octets(most)), seconds_to_midnight(now))

    def add(self, key, octets):
        """Count octets of either direction."""
        if key in self._pending or len(self._pending) < KEYS:
            self._pending[key] = self._pending.get(key, 0) + octets

    def charge(self, key, most):
        """A function of a number of octets that counts them; raises QuotaExceeded once `most` are over: for
        limits.Pace. What is over by one piece still goes, or an answer of `most` octets could not end."""
        def count(octets):
            if self.used(key) >= most:
                self.check(key, most, time.time())
            self.add(key, octets)
        return count

    def tick(self, now):
        """To be called about once a second. `now`: seconds since the epoch."""
        self._roll(now)
        if self._writing or self._over:
            if self._writing and monotonic() - self._since > SLOW:
                self._tell('quotas are counted in memory only: %s could not be written within %d s; its disk hangs, or '
                           'a process that is stopped holds its lock' % (self._ledger.path, SLOW))
            return
        self._settle()
        self._handed, self._pending = (self._day, self._pending), {}
        self._result = None
        self._writing, self._since = True, monotonic()
        self._work.release()

    def close(self, seconds):
        """Write what was counted, for no longer than `seconds`; blocks."""
        if self._over:
            return
        deadline = monotonic() + seconds
        self._wait(deadline)
        self.tick(time.time())
        self._wait(deadline)
        if self._writing:
            self._say('the file of quotas could not be written in time: what was counted last is lost')
            return
        self._settle()
        self._over = True
        self._work.release()

    def _wait(self, deadline):
        while self._writing and monotonic() < deadline:
            native_sleep(0.002)

    def _roll(self, now):
        """Begin anew at midnight."""
        today = day_of(now)
        if today != self._day:
            self._day, self._totals, self._pending, self._handed = today, {}, {}, (today, {})

    def _settle(self):
        """Take over what the thread has found out."""
        if self._result is None:
            return
        merged, said = self._result
        day, counts = self._handed
        if merged is None:              # not written: it goes along the next time
            for key, octets in counts.items() if day == self._day else ():
                self.add(key, octets)
        elif merged[0] == self._day:
            self._totals = merged[1]
        self._handed, self._result = (self._day, {}), None
        self._tell(said)

    def _tell(self, said):
        if said and said != self._said:
            self._say(said)             # once, not every second
        self._said = said

    def _run(self):
        """The thread; started anew if it has failed."""
        if self._failed:
            self._result = None, ''         # what it was handed goes along the next time
            self._writing = False
        while True:
            self._failed = False
            self._work.acquire()
            if self._over:
                return
            self._failed = True         # until it has not
            self._result = self._ledger.update(self._handed)
            self._writing = False
