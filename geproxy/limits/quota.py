"""Counts octets per day and key, and writes the counts to a file about once a second. Never delays a connection.

The hub's thread counts. A native thread keeps the file (see quota_file): it is given what was counted here, and gives
back what all processes that share the file have counted together.
"""
from __future__ import absolute_import, division, print_function

import math
import time

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits.quota_file import KEYS, QuotaFile, day_of
from geproxy.limits.rates import show_key, show_octets
from geproxy.net import supervise
from geproxy.net.background import Background

SLOW = 3.0              # seconds of writing the file after which the log says so


def seconds_to_midnight(now):
    """Return the whole seconds until the next local day begins. `now`: seconds since the epoch."""
    local = time.localtime(now)
    midnight = time.mktime((local.tm_year, local.tm_mon, local.tm_mday + 1, 0, 0, 0, 0, 0, -1))
    return max(1, int(math.ceil(midnight - now)))


class Quota(object):
    """What each key has used today. For the hub's thread only. `close` waits, and `tick` for a moment at most."""

    def __init__(self, path, say, now):
        """`path`: of the file, native text; it is read at once. `say`: a function of native text, called if something
        is wrong with the file; `now`: seconds since the epoch."""
        self._report = say
        self._said = ''
        self._day = day_of(now)
        self._totals = {}               # {key: octets} of all processes, as the file has them
        self._pending = {}              # {key: octets} counted here since then
        self._handed = (self._day, {})  # what the thread was given: (day, {key: octets})
        self._file = QuotaFile(path)
        self._over = False
        self._thread = Background(1)
        # A function of what the thread is given. Returns what QuotaFile.update does, or None after a failure.
        self._update = supervise.guard('the file of quotas', lambda counts: self._file.update(counts), say)
        self._job = None                # what Background.do returned: the thread writes, or its result is to be taken
        self._since = 0.0               # when the thread was given it, in monotonic seconds
        self._use(self._file.update(self._handed))

    def used(self, key):
        """Return the octets that a key has used today."""
        return self._totals.get(key, 0) + self._handed[1].get(key, 0) + self._pending.get(key, 0)

    def check(self, key, most, now):
        """Raise QuotaExceeded if `key` has used `most` octets today. `now`: seconds since the epoch."""
        self._roll(now)
        if self.used(key) >= most:
            raise errors.QuotaExceeded('%s has had its %s octets for today ([limits] quota)' % (
                show_key(key), show_octets(most)), seconds_to_midnight(now))

    def add(self, key, octets):
        """Count `octets`, an int, that `key` has used in any direction."""
        if key in self._pending or len(self._pending) < KEYS:
            self._pending[key] = self._pending.get(key, 0) + octets

    def charge(self, key, most):
        """Return a function for rates.Pace that counts octets of `key`, and raises QuotaExceeded once `most` are used.

        The piece that crosses the limit still goes. Otherwise an answer of exactly `most` octets could not end.
        """
        def count(octets):
            if self.used(key) >= most:
                self.check(key, most, time.time())
            self.add(key, octets)
        return count

    def tick(self, now):
        """Give the thread what was counted. Call this about once a second. `now`: seconds since the epoch."""
        self._roll(now)
        if self._over:
            return
        if self._writing:
            if monotonic() - self._since > SLOW:
                self._tell('quotas are counted in memory only: %s could not be written within %d s; its disk hangs, or '
                           'a process that is stopped holds its lock' % (self._file.path, SLOW))
            return
        self._take_result()
        handed = self._day, self._pending
        self._job = self._thread.do(self._update, handed)       # if there can be no thread, all of it stays pending
        self._handed, self._pending, self._since = handed, {}, monotonic()

    def close(self, seconds):
        """Write what was counted, and wait for that, at most so many seconds."""
        if self._over:
            return
        deadline = monotonic() + seconds
        self._wait(deadline)
        self.tick(time.time())
        self._wait(deadline)
        if self._writing:
            self._report('the file of quotas could not be written in time: the last counts are lost')
            return
        self._take_result()
        self._over = True

    @property
    def _writing(self):
        return self._job is not None and not self._job.ready()

    def _wait(self, deadline):
        if self._job is not None:
            self._job.wait(max(0.0, deadline - monotonic()))

    def _roll(self, now):
        """Begin anew at midnight."""
        today = day_of(now)
        if today != self._day:
            self._day, self._totals, self._pending, self._handed = today, {}, {}, (today, {})

    def _take_result(self):
        """Take over what the thread has found, if it had something to do."""
        if self._job is not None:
            found, self._job = self._job.value[0], None
            self._use(found or (None, ''))

    def _use(self, found):
        """Take over what QuotaFile.update has returned; its first value is None if nothing was written."""
        merged, said = found
        day, counts = self._handed
        if merged is None:              # it is given to the thread again
            for key, octets in counts.items() if day == self._day else ():
                self.add(key, octets)
        elif merged[0] == self._day:
            self._totals = merged[1]
        self._handed = self._day, {}
        self._tell(said)

    def _tell(self, said):
        if said and said != self._said:
            self._report(said)             # once, not every second
        self._said = said
