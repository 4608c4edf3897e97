"""The clock of the host jumps, by days, back, and to 1970: whatever has a time-out does not notice, what has a date does.

By libfaketime, for all of the process, its event loop included; where that is not there, or too old for this Python, by
a time.time of our own.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import datetime
import glob
import json
import os
import re
import signal
import socket
import time

import gevent
import pytest
from helpers import PATIENCE, listening, read_until
from processes import PYTHON, Client, folder, get, read, run, running, wait_until, write

pytestmark = pytest.mark.programs

DAY = 86400
INI = """
rules =
    allow any 127.0.0.1 until %s
[limits]
requests = 1000
quota = 1g
quota_file = FOLDER/quota
[timeouts]
head = 5
idle = 5
response = 5
body = 5
tunnel = 5
linger = 5
[upstream]
keep_time = 5
[log]
access = FOLDER/access.log
format = json
"""
PATCH = """
import os, time
_time, _localtime, _gmtime, _strftime = time.time, time.localtime, time.gmtime, time.strftime
def _now():
    with open(os.environ['OFFSET']) as opened:
        return _time() + int(opened.read())
time.time = _now
time.localtime = lambda at=None: _localtime(_now() if at is None else at)
time.gmtime = lambda at=None: _gmtime(_now() if at is None else at)
time.strftime = lambda form, at=None: _strftime(form, _localtime(_now()) if at is None else at)
"""


class Clock(object):
    """What the process takes for the time: `more_env` makes it do so."""

    def __init__(self, here):
        self._path = os.path.join(here, 'offset')
        self._offset = 0
        self.more_env = {'OFFSET': self._path, 'PYTHONPATH': here, 'TZ': 'UTC'}
        self.jump(0)

    def preloaded(self, library):
        """`more_env` for libfaketime."""
        return {'TZ': 'UTC', 'LD_PRELOAD': library, 'FAKETIME_TIMESTAMP_FILE': self._path, 'FAKETIME_NO_CACHE': '1',
                'DONT_FAKE_MONOTONIC': '1', 'FAKETIME_DONT_FAKE_MONOTONIC': '1'}

    def jump(self, seconds):
        """It is now as many seconds later, or earlier, than it is."""
        self._offset = seconds
        write(self._path + '.new', '%+d' % seconds)
        os.rename(self._path + '.new', self._path)

    def now(self):
        """What time it is."""
        return time.time() + self._offset

    def jump_to(self, weekday, hours, weeks=1):
        """It is now that time, UTC, of the next Monday (0) or so, or of one before or behind that."""
        now = time.time()
        today = int(now // DAY)
        days = (weekday - (today + 3)) % 7 + 7 * weeks          # 1970 began with a Thursday
        self.jump((today + days) * DAY + int(hours * 3600) - int(now))


@pytest.fixture
def clock():
    """A Clock."""
    with folder() as here:
        made = Clock(here)
        write(os.path.join(here, 'sitecustomize.py'), PATCH)
        for library in glob.glob('/usr/lib*/*/faketime/libfaketime.so.1') + glob.glob('/usr/lib*/faketime/libfaketime.so.1'):
            preloaded = made.preloaded(library)
            asked = run(PYTHON + ['-c', 'import time; time.sleep(0.01); print("fine")'], more_env=preloaded)
            if asked.out == b'fine\n':         # an old one breaks time.sleep of a new Python
                made.more_env = preloaded
        yield made


def echo(sock):
    """An origin that answers requests, and whatever else comes with the same."""
    while True:
        try:
            data = sock.recv(65536)
        except socket.error:
            return                      # reset, behind an answer that was over the quota
        if not data:
            return
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine' if data.startswith(b'GET') else data)


@contextlib.contextmanager
def clients(count, address):
    """Several of them."""
    made = [Client(address) for _ in range(count)]
    try:
        yield made
    finally:
        for client in made:
            client.socket.close()


def logged(proxy, count):
    """That many lines of the access log, or more, read."""
    path = os.path.join(proxy.folder, 'access.log')
    wait_until(lambda: read(path).count(b'\n') >= count, 'the log')
    return [json.loads(line.decode('ascii')) for line in read(path).splitlines()]


def test_a_clock_that_jumps_ends_no_exchange_and_dates_follow_it(clock):
    until = (datetime.date.today() + datetime.timedelta(3)).isoformat()
    with listening(echo) as place, running(INI % until, more_env=clock.more_env) as proxy:
        with clients(2 + 4, proxy.address) as (kept, tunnel, one, two, three, four):
            tunnel.send(b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n' % (place[0].encode('ascii'), place[1]))
            assert read_until(tunnel.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            for client in (one, two, three, four):
                client.send(get(place)[:20])
            jumps = ((one, DAY, b'200'), (two, 30 * DAY, b'403'), (three, -int(time.time()) + DAY, b'200'),
                     (four, 0, b'200'))
            for number, (slow, jump, status) in enumerate(jumps, 1):
                clock.jump(jump)
                gevent.sleep(0.6)           # what is waited for is a look at all deadlines
                tunnel.send(b'ping')
                assert tunnel.socket.recv(4) == b'ping'
                slow.send(get(place)[20:])
                # Judged at the time at which it began; whoever begins now meets a rule that has ended, or has not.
                assert slow.response()[9:12] == b'200'
                assert kept.ask(get(place))[9:12] == status
                line = logged(proxy, 2 * number)[-1]
                now = (datetime.datetime.utcfromtimestamp(0) + datetime.timedelta(seconds=time.time() + jump))
                assert abs(now - datetime.datetime.strptime(line['@timestamp'][:19], '%Y-%m-%dT%H:%M:%S')) < (
                    datetime.timedelta(seconds=PATIENCE))
            proxy.tell(signal.SIGHUP)
            proxy.wait_for(br' SIGHUP: \S+ read\n')
        proxy.tell(signal.SIGTERM)
        assert proxy.wait() == 0
        for line in logged(proxy, 9):
            assert 0 <= line['event.duration'] < PATIENCE * 1e9
        assert b'Traceback' not in proxy.err and b'blocked' not in proxy.err


HOURS = """
rules =
    allow any 127.0.0.1 mon-fri 10:00-11:00
"""


def test_a_rule_with_hours_goes_by_the_clock_wherever_it_jumps(clock):
    clock.jump_to(0, 10.5)
    with listening(echo) as place, running(HOURS, more_env=clock.more_env) as proxy, Client(proxy.address) as kept:
        for weekday, hours, weeks, status in (
                (0, 10.5, 1, b'200'), (0, 11.5, 1, b'403'), (4, 10.99, 1, b'200'), (5, 10.5, 1, b'403'),
                (0, 9.99, 1, b'403'), (1, 10.01, -3, b'200'), (6, 10.5, 100, b'403'), (2, 10.5, 100, b'200')):
            clock.jump_to(weekday, hours, weeks)
            with Client(proxy.address) as fresh:
                assert [client.ask(get(place))[9:12] for client in (kept, fresh)] == [status] * 2, (weekday, hours)
        assert b'Traceback' not in proxy.err


QUOTA = """
[limits]
quota = 2k
quota_file = FOLDER/quota
[log]
access = FOLDER/access.log
"""


def asked_until_it_is_over(client, place):
    """Ask until the quota is used up -> (how often it was not, the refusal)."""
    for count in range(100):
        response = client.ask(get(place))
        if not response.startswith(b'HTTP/1.1 200 '):
            return count, response
    raise AssertionError('the quota has no end')


def test_a_quota_begins_anew_with_each_day_that_the_clock_shows(clock):
    clock.jump_to(0, 12)
    with listening(echo) as place, running(QUOTA, more_env=clock.more_env) as proxy, Client(proxy.address) as client:
        counts = []
        for weekday, hours, weeks in ((0, 12, 1), (1, 23, 1), (2, 0.1, 1), (3, 12, 50), (0, 12, 1)):
            clock.jump_to(weekday, hours, weeks)
            count, response = asked_until_it_is_over(client, place)
            counts.append(count)
            assert response.startswith(b'HTTP/1.1 429 ') and b'\r\nProxy-Status: ' in response
            left = int(re.search(br'\r\nRetry-After: (\d+)\r\n', response).group(1))
            assert 0 <= (24 - hours) * 3600 - left < PATIENCE
            clock.jump_to(weekday, max(0.1, hours - 3), weeks)          # an hour of the same day forgives nobody
            assert client.ask(get(place))[9:12] == b'429'
        today = datetime.datetime.utcfromtimestamp(clock.now()).strftime('%Y-%m-%d').encode('ascii')
        # The file follows, too: whoever is started now has had as much.
        wait_until(lambda: re.search(br'(?m)^day %s\n\d{4} ' % today, read(os.path.join(proxy.folder, 'quota'))), 'the file')
        assert min(counts) > 3 and max(counts) - min(counts) <= 1
        assert b'Traceback' not in proxy.err
