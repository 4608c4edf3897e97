"""Octets per day and key: counted at once, kept by a thread, and over at midnight."""
from __future__ import absolute_import, division, print_function

import time

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits import quota
from geproxy.limits.quota import Quota
from geproxy.limits.quota_file import QuotaFile, day_of, parse, show
from helpers import PATIENCE
from test_quota_file import written

NOON = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))


@pytest.fixture
def keep(tmpdir):
    """A function that makes a Quota, which is closed in the end; with `path` of its file, and what it `said`."""
    made = []

    def make(now=None):
        made.append(Quota(make.path, make.said.append, time.time() if now is None else now))
        return made[-1]
    make.path, make.said = str(tmpdir.join('quota')), []
    yield make
    for each in made:
        each.close(PATIENCE)


def write_all(kept):
    """Hand over what was counted, and wait until it is written and known."""
    for _ in range(2):
        kept.tick(time.time())
        deadline = monotonic() + PATIENCE
        while kept._writing:
            assert monotonic() < deadline
            gevent.sleep(0.001)


def test_a_file_that_hangs_is_told_once_and_counted_once_it_does_not(keep, monkeypatch):
    kept = keep()
    monkeypatch.setattr(quota, 'SLOW', -1)
    with QuotaFile(keep.path)._locked():               # as a process has it that is stopped in the middle
        kept.add('a', 7)
        for _ in range(4):
            kept.tick(time.time())
        assert keep.said == ['quotas are counted in memory only: %s could not be written within -1 s; its disk hangs, '
                             'or a process that is stopped holds its lock' % keep.path]
        assert kept.used('a') == 7
    monkeypatch.undo()
    write_all(kept)
    write_all(kept)
    assert parse(written(keep.path))[1] == {'a': 7} and len(keep.said) == 1


BERLIN, NEW_YORK = 'CET-1CEST,M3.5.0,M10.5.0/3', 'EST5EDT'


@pytest.mark.parametrize('zone, date, seconds', [
    ('UTC', (2026, 11, 24, 0, 0, 0), 86400),
    ('UTC', (2026, 11, 24, 23, 59, 59), 1),
    ('UTC', (2026, 12, 31, 12, 0, 0), 43200),
    (BERLIN, (2026, 3, 29, 0, 0, 0), 23 * 3600),       # the clocks go forward
    (BERLIN, (2026, 10, 25, 0, 0, 0), 25 * 3600),
    (NEW_YORK, (2028, 2, 29, 18, 0, 0), 6 * 3600),
])
def test_midnight_is_the_local_one(monkeypatch, zone, date, seconds):
    monkeypatch.setenv('TZ', zone)
    time.tzset()
    try:
        now = time.mktime(date + (0, 0, -1))
        assert quota.seconds_to_midnight(now) == seconds
        assert quota.seconds_to_midnight(now + 0.5) == seconds
        assert day_of(now + seconds - 0.5) == day_of(now) != day_of(now + seconds)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_client_over_its_quota_gets_the_figure_the_option_and_retry_after(keep):
    kept = keep(NOON)
    kept.add('user:joe', 2047)
    kept.check('user:joe', 2048, NOON)
    kept.add('user:joe', 1)
    with pytest.raises(errors.QuotaExceeded) as caught:
        kept.check('user:joe', 2048, NOON)
    assert str(caught.value) == 'user joe has had its 2k octets for today ([limits] quota)'
    assert caught.value.retry_after == 43200
    kept.check('user:joe', 4096, NOON)          # a reload may raise it
    kept.check('10.0.0.1', 2048, NOON)
    assert (kept.used('user:joe'), kept.used('10.0.0.1')) == (2048, 0)


def test_at_midnight_all_begin_anew(keep):
    kept = keep(NOON)
    kept.add('a', 5000)
    with pytest.raises(errors.QuotaExceeded):
        kept.check('a', 5000, NOON + 43199)
    kept.check('a', 5000, NOON + 43200)
    assert kept.used('a') == 0


def test_a_flow_is_ended_once_it_is_over_its_quota(keep):
    kept = keep()
    charge = kept.charge('a', 1000)
    charge(600)
    charge(600)             # the piece that goes over still goes
    with pytest.raises(errors.QuotaExceeded) as caught:
        charge(1)
    assert kept.used('a') == 1200 and 0 < caught.value.retry_after <= 25 * 3600


def test_counts_survive_a_restart(keep):
    kept = keep()
    kept.add('a', 1000)
    kept.add('b', 1)
    write_all(kept)
    kept.add('a', 500)
    assert kept.used('a') == 1500
    kept.close(PATIENCE)
    assert parse(written(keep.path)) == (day_of(time.time()), {'a': 1500, 'b': 1}, [])
    assert keep().used('a') == 1500
    assert keep.said == []


def test_counts_are_there_at_every_moment_of_the_hand_over(keep):
    kept, seen = keep(), set()
    kept.add('a', 7)
    for _ in range(3):
        kept.tick(time.time())
        while kept._writing:
            seen.add(kept.used('a'))
            gevent.sleep(0)
    assert seen <= set([7]) and kept.used('a') == 7


def test_processes_see_the_counts_of_the_others(keep):
    one, two = keep(), keep()
    one.add('a', 3)
    two.add('a', 4)
    write_all(one)
    write_all(two)
    write_all(one)
    assert one.used('a') == two.used('a') == 7


def test_counting_goes_on_after_a_failed_write_which_is_reported_once(keep, tmpdir):
    tmpdir.mkdir('quota')
    kept = keep()
    kept.add('a', 3)
    for _ in range(3):
        write_all(kept)
    assert kept.used('a') == 3 and len(keep.said) == 1
    assert keep.said[0].startswith('quotas are counted in memory only')
    tmpdir.join('quota').remove()
    write_all(kept)
    assert parse(written(keep.path))[1] == {'a': 3}


def test_a_broken_file_stops_no_client(keep, tmpdir):
    tmpdir.join('quota').write_binary(b'\0\0\0')
    kept = keep()
    kept.add('a', 3)
    write_all(kept)
    assert parse(written(keep.path))[1] == {'a': 3}
    assert len(keep.said) == 1 and 'line 1 is not understood' in keep.said[0]


def test_a_file_that_another_process_locks_stops_no_client(keep):
    kept = keep()
    kept.add('a', 3)
    with QuotaFile(keep.path)._locked():
        kept.tick(time.time())
        began = monotonic()
        kept.tick(time.time())
        kept.add('a', 4)
        assert kept.used('a') == 7 and kept._writing
        kept.close(0.05)
        assert monotonic() - began < 1
        assert keep.said == ['the file of quotas could not be written in time: the last counts are lost']
    write_all(kept)
    assert parse(written(keep.path))[1] == {'a': 7}


def test_counts_of_yesterday_are_not_written_today(keep, tmpdir):
    tmpdir.join('quota').write_binary(show('2000-01-01', {'a': 9}))
    kept = keep(NOON - 86400 * 400)
    kept.add('a', 5)
    write_all(kept)
    kept.add('a', 1)
    write_all(kept)
    assert kept.used('a') == 1 and parse(written(keep.path))[1] == {'a': 1}


def test_a_thread_that_failed_goes_on_and_loses_no_count(keep):
    kept = keep()
    kept._file, file_of_quotas = None, kept._file           # as any bug would be
    kept.add('a', 3)
    write_all(kept)
    assert kept.used('a') == 3
    assert len(keep.said) == 1 and 'the file of quotas failed, and goes on' in keep.said[0]
    kept._file = file_of_quotas
    write_all(kept)
    assert parse(written(keep.path))[1] == {'a': 3}
