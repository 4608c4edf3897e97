"""What a process does every second or so, beside serving: a list of chores, of which none can stop the others."""
from __future__ import absolute_import, division, print_function

import time

import gevent

from geproxy.compat import monotonic
from geproxy.net import supervise, workers

PAUSE = 1.0             # seconds between two rounds
A_DAY = 86400


class Housekeeping(object):
    """The chores of a server.Server."""

    def __init__(self, server, logins, quota, more):
        """`server`: has `log`, `proxy`, `admin`, `strangers` and `use_users`; `logins`: a logins.Logins; `quota`: a
        quota.Quota, or None; `more`: [(name, function)] of further chores."""
        self._server, self._logins, self._quota = server, logins, quota
        self._dropped_said = 0
        self._warn_at = 0.0             # on the monotonic clock
        self._chores = [supervise.guard('housekeeping: ' + name, chore, server.log.say) for name, chore in more + [
            ('workers', workers.prune), ('the log', self.tell_of_the_log), ('rules', self._warn),
            ('users', self._look_at_users), ('quotas', self._count_quotas)]]

    def run(self):
        """Do all chores again and again, for as long as the process lives. For a greenlet of its own."""
        while True:
            for chore in self._chores:
                chore()
            gevent.sleep(PAUSE)

    def warn_soon(self):
        """Say in the next round which rules end soon: the settings have changed."""
        self._warn_at = 0.0

    def tell_of_the_log(self):
        """Say what has befallen the log, and how many strangers were refused."""
        server = self._server
        found = [server.strangers] + ([server.admin.strangers] if server.admin else [])
        for text in server.log.troubles() + [line for each in found for line in each.report(monotonic())]:
            server.log.say(text)
        dropped = server.log.dropped()
        if dropped > self._dropped_said:
            count = dropped - self._dropped_said
            server.log.say('%d log line%s dropped: the disk is full, or nobody reads' % (
                count, '' if count == 1 else 's'))
            self._dropped_said = dropped

    def _warn(self):
        """Say, once a day and after a reload, which rules end soon."""
        if monotonic() >= self._warn_at:
            self._warn_at = monotonic() + A_DAY
            for text in self._server.proxy.warnings(time.time()):
                self._server.log.say('rule ' + text)

    def _look_at_users(self):
        self._logins.refresh(self._server.proxy.settings.users, self._server.use_users)

    def _count_quotas(self):
        if self._quota is not None:
            self._quota.tick(time.time())
