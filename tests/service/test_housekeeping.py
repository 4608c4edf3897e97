"""The tasks of a process: each is done in each round, even if another one fails."""
from __future__ import absolute_import, division, print_function

import gevent
from authorities import Authority
from gevent.event import Event
from helpers import PATIENCE, Recorder, proxying

from geproxy.service.certificate_store import Store
from geproxy.service.housekeeping import A_DAY, Housekeeping


class Server(object):
    """What the tasks need of a server.Server, with nothing to report."""

    def __init__(self, proxy):
        self.log, self.proxy, self.admin = Recorder(), proxy, None
        self.strangers, self.use_users = self, None
        self.certificates = Store(self.log.say)

    def report(self, _now):
        """No stranger was refused."""
        return []


class Logins(object):
    """In the place of a logins.Logins."""

    def refresh(self, _book, _use):
        """The file of users has not changed."""


def test_a_task_that_fails_is_reported_and_the_others_go_on():
    done = Event()
    with proxying() as (_address, recorder):
        server = Server(recorder.server.proxy)
        house = Housekeeping(server, Logins(), None, [('bad', lambda: 1 // 0), ('good', done.set)])
        greenlet = gevent.spawn(house.run)
        try:
            assert done.wait(PATIENCE)
        finally:
            greenlet.kill()
    assert 'ZeroDivisionError' in server.log.said[0] and 'housekeeping: bad' in server.log.said[0]


def test_dropped_lines_are_reported_once():
    with proxying() as (_address, recorder):
        server = Server(recorder.server.proxy)
        house = Housekeeping(server, Logins(), None, [])
        server.log.dropped = lambda: 1
        house.report_log()
        house.report_log()
        server.log.dropped = lambda: 3
        house.report_log()
    assert [text.partition(' dropped')[0] for text in server.log.said] == ['1 log line', '2 log lines']


def test_certificates_that_end_soon_are_told_once_a_day_and_after_a_reload(tmpdir):
    pair = Authority(tmpdir, 'ca').make('x', u'x', hosts=[u'x.test'], until=10)
    with proxying('[tls]\ncertificate = %s\nkey = %s\n' % pair) as (_address, recorder):
        def told():
            return [text for text in recorder.said if 'renew it' in text]
        house = recorder.server._housekeeping
        recorder.wait_until(told)
        house._warn()
        assert len(told()) == 1 and pair.certificate in told()[0] and 'in 9 days' in told()[0]
        house._warn_at -= A_DAY
        house._warn()
        assert len(told()) == 2
        house.warn_soon()
        house._warn()
        assert len(told()) == 3
