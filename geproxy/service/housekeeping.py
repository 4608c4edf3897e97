"""The tasks that a process does about once a second. A task that fails does not stop the others."""
from __future__ import absolute_import, division, print_function

import time

import gevent

from geproxy.compat import monotonic
from geproxy.net import supervise, workers
from geproxy.wording import plural

PAUSE = 1.0             # seconds between two rounds
A_DAY = 86400


class Housekeeping(object):
    """The tasks of a server.Server."""

    def __init__(self, server, logins, quota, more):
        """`server`: has `log`, `proxy`, `admin`, `strangers`, `certificates` and `use_users`; `logins`: a
        logins.Logins; `quota`: a quota.Quota, or None; `more`: [(name, function)], further tasks."""
        self._server, self._logins, self._quota = server, logins, quota
        self._dropped_reported = 0      # lines that the log has dropped, as far as that was reported
        self._warn_at = 0.0             # monotonic seconds
        self._tasks = [supervise.guard('housekeeping: ' + name, task, server.log.say) for name, task in more + [
            ('workers', workers.prune), ('the log', self.report_log), ('rules', self._warn),
            ('users', self._refresh_users), ('quotas', self._count_quotas)]]

    def run(self):
        """Do all tasks again and again, as long as the process lives. Needs a greenlet of its own."""
        while True:
            for task in self._tasks:
                task()
            gevent.sleep(PAUSE)

    def warn_soon(self):
        """Report in the next round what ends soon or is missing: the settings have changed."""
        self._warn_at = 0.0

    def report_log(self):
        """Report trouble with the log, lines that it has dropped, and how many strangers were refused."""
        server = self._server
        found = [server.strangers] + ([server.admin.strangers] if server.admin else [])
        for text in server.log.troubles() + [line for each in found for line in each.report(monotonic())]:
            server.log.say(text)
        dropped = server.log.dropped()
        if dropped > self._dropped_reported:
            server.log.say('%s dropped: the disk is full, or nobody reads the pipe' % (
                plural(dropped - self._dropped_reported, 'log line')))
            self._dropped_reported = dropped

    def _warn(self):
        """Report once a day, and after a reload, which rules and certificates end soon, and missing sources."""
        if monotonic() >= self._warn_at:
            self._warn_at = monotonic() + A_DAY
            for text in self._server.proxy.warnings(time.time()):
                self._server.log.say('rule ' + text)
            for source in self._server.proxy.missing_sources():
                self._server.log.say('this host does not have the address %s of [upstream] source or routes: requests '
                                     'that leave from it fail until it has' % source)
            for text in self._server.certificates.warnings():
                self._server.log.say(text)

    def _refresh_users(self):
        self._logins.refresh(self._server.proxy.settings.users, self._server.use_users)

    def _count_quotas(self):
        if self._quota is not None:
            self._quota.tick(time.time())
