"""The file of octets per day: readable, shared, and whole after a kill at any moment."""
from __future__ import absolute_import, division, print_function

import os
import signal
import stat
import time

import gevent
import pytest
from gevent import subprocess

from geproxy.limits import quota_file
from geproxy.limits.quota_file import KEYS, QuotaFile, day_of, merge, parse, show
from processes import CHECKOUT, PYTHON

TODAY = day_of(time.time())


@pytest.fixture
def path(tmpdir):
    """Where a file may be."""
    return str(tmpdir.join('quota'))


def written(path):
    """The octets of a file."""
    with open(path, 'rb') as opened:
        return opened.read()


def write(path, octets):
    """Make a file."""
    with open(path, 'wb') as opened:
        opened.write(octets)


def test_a_file_can_be_read_by_people():
    octets = show('2026-11-24', {'10.0.0.1': 5, 'user:joe': 7000000, '2001:db8::1': 5})
    lines = octets.decode('ascii').splitlines()
    assert lines[0].startswith('# geproxy') and len(lines[0]) < 120
    assert lines[1:] == ['day 2026-11-24', '7000000 user:joe', '5 10.0.0.1', '5 2001:db8::1', 'end']


@pytest.mark.parametrize('totals', [{}, {'a': 0}, {'user:joe': 10 ** 15, '10.0.0.1': 1}])
def test_a_written_file_of_quotas_can_be_read_again(totals):
    assert parse(show('2026-11-24', totals)) == ('2026-11-24', totals, [])


DAY, NO_DAY, NO_END = '2026-11-24', 'there is no line with the day', 'there is no end'


@pytest.mark.parametrize('octets, day, totals, wrong', [
    (b'', None, {}, [NO_DAY, NO_END]),
    (b'\0' * 100, None, {}, ['line 1 is not understood', NO_DAY, NO_END]),
    (b'day 2026-11-24\n', DAY, {}, [NO_END]),
    (b'day 2026-11-24\n5 a\n', DAY, {'a': 5}, [NO_END]),
    (b'day 2026-11-24\n5 a\nen', DAY, {'a': 5}, ['line 3 is not understood', NO_END]),
    (b'5 a\nend\n', None, {'a': 5}, [NO_DAY]),
    (b'day 26-11-24\n5 a\nend\n', None, {'a': 5}, ['line 1 is not understood', NO_DAY]),
    (b'day 2026-11-24\nday 2026-11-25\nend\n', DAY, {}, ['line 2 is not understood']),
    (b'day 2026-11-24\n5\n6 a\nend\n', DAY, {'a': 6}, ['line 2 is not understood']),
    (b'day 2026-11-24\n-5 a\n6 b\nend\n', DAY, {'b': 6}, ['line 2 is not understood']),
    (b'day 2026-11-24\n5 a b\n6 b\nend\n', DAY, {'b': 6}, ['line 2 is not understood']),
    (b'day 2026-11-24\n5 \xe9\nend\n', DAY, {}, ['line 2 is not understood']),
    (b'day 2026-11-24\nend\n5 a\n', DAY, {}, ['line 3 is not understood']),
    (b'day 2026-11-24\n' + b'x\n' * 1000 + b'end\n', DAY, {}, ['line %d is not understood' % n for n in range(2, 7)]),
])
def test_a_mistake_in_one_line_keeps_the_counts_of_the_others(octets, day, totals, wrong):
    assert parse(octets) == (day, totals, wrong)


def test_comments_and_empty_lines_are_people_s():
    assert parse(b'# mine\r\nday 2026-11-24\r\n\r\n5 a\r\n#6 b\r\nend\r\n\r\n') == ('2026-11-24', {'a': 5}, [])


@pytest.mark.parametrize('kept, counted, expected', [
    ((None, {}), ('d2', {}), {}),
    ((None, {}), ('d2', {'a': 1}), {'a': 1}),
    (('d2', {'a': 1, 'b': 2}), ('d2', {'b': 3, 'c': 4}), {'a': 1, 'b': 5, 'c': 4}),
    (('d1', {'a': 1}), ('d2', {'b': 3}), {'b': 3}),         # midnight
    (('d2', {'a': 1}), ('d1', {'b': 3}), {'a': 1}),         # somebody else was there before
    (('d3', {'a': 1}), ('d2', {'b': 3}), {'b': 3}),         # the clock was set back
    (('d1', {'a': 1}), ('d1', {'b': 3}), {}),
])
def test_counts_are_added_and_yesterday_is_over(kept, counted, expected):
    assert merge(kept, counted, 'd2') == ('d2', expected)


def test_the_largest_counts_stay_when_there_are_too_many():
    many = dict(('%d' % number, number) for number in range(KEYS + 10))
    _day, totals = merge(('d', many), ('d', {'0': KEYS}), 'd')
    assert len(totals) == KEYS and totals['0'] == KEYS
    assert '10' not in totals and '11' in totals


def test_processes_add_their_counts_and_learn_those_of_the_others(path):
    one, two = QuotaFile(path), QuotaFile(path)
    assert one.update((TODAY, {'a': 1})) == ((TODAY, {'a': 1}), '')
    assert two.update((TODAY, {'a': 2, 'b': 3})) == ((TODAY, {'a': 3, 'b': 3}), '')
    assert one.update((TODAY, {})) == ((TODAY, {'a': 3, 'b': 3}), '')
    assert QuotaFile(path).update((TODAY, {})) == ((TODAY, {'a': 3, 'b': 3}), '')
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o027 == 0
    assert sorted(os.listdir(os.path.dirname(path))) == ['quota', 'quota.lock']


def test_nothing_is_written_when_nothing_is_new(path):
    one = QuotaFile(path)
    one.update((TODAY, {'a': 1}))
    before = os.stat(path).st_ino
    one.update((TODAY, {}))
    QuotaFile(path).update((TODAY, {}))
    assert os.stat(path).st_ino == before


def test_a_day_that_is_over_is_forgotten(path):
    write(path, show('2000-01-01', {'a': 5}))
    assert QuotaFile(path).update((TODAY, {'b': 1})) == ((TODAY, {'b': 1}), '')


def test_deleting_a_line_or_the_file_resets_its_counts(path):
    one = QuotaFile(path)
    one.update((TODAY, {'a': 1, 'b': 2}))
    write(path, written(path).replace(b'2 b\n', b''))
    assert one.update((TODAY, {'a': 1})) == ((TODAY, {'a': 2}), '')
    os.unlink(path)
    assert one.update((TODAY, {})) == ((TODAY, {}), '')


@pytest.mark.parametrize('first, edit, kept', [
    ({}, b'day TODAY\n5 a\n7k b\nend\n', {'a': 5, 'c': 1}),                          # its first look at the file
    ({'a': 5, 'b': 6}, b'day TODAY\n5 a\n7k b\nend\n', {'a': 5, 'b': 6, 'c': 1}),     # b has what it had before
    ({'a': 5, 'b': 6}, b'day TODAY\n5x a\nend\n', {'a': 5, 'c': 1}),                  # b was deleted, and is forgiven
    ({'a': 5, 'b': 6}, b'day TODAY\n9 a\n', {'a': 9, 'b': 6, 'c': 1}),                 # half of a file
    ({'a': 5, 'b': 6}, b'', {'a': 5, 'b': 6, 'c': 1}),
    ({'a': 5}, b'\0\0\0', {'a': 5, 'c': 1}),
    ({}, b'dya TODAY\n5 a\nend\n', {'a': 5, 'c': 1}),                                # the day is that of the file
])
def test_a_file_with_a_mistake_keeps_all_counts_and_is_kept_aside(path, first, edit, kept):
    one, edit = QuotaFile(path), edit.replace(b'TODAY', TODAY.encode('ascii'))
    if first:
        one.update((TODAY, first))
    write(path, edit)
    merged, said = one.update((TODAY, {'c': 1}))
    assert merged == (TODAY, kept) and parse(written(path)) == merged + ([],)
    (aside,) = [name for name in os.listdir(os.path.dirname(path)) if '.bad-' in name]
    aside = os.path.join(os.path.dirname(path), aside)
    assert written(aside) == edit
    assert said == '%s: %s; all that can be read holds, and the file as it was is kept as %s' % (
        path, ', '.join(parse(edit)[2]), aside)


def test_a_file_with_a_mistake_is_mended_though_nothing_is_counted(path):
    write(path, b'day %s\n5 a\noops\nend\n' % TODAY.encode('ascii'))
    assert QuotaFile(path).update((TODAY, {}))[0] == (TODAY, {'a': 5})
    assert parse(written(path)) == (TODAY, {'a': 5}, [])


def test_a_link_in_the_place_of_the_next_file_leads_nowhere(path):
    victim = path + '.victim'
    write(victim, b'precious')
    os.symlink(victim, path + '.new')
    assert QuotaFile(path).update((TODAY, {'a': 1})) == ((TODAY, {'a': 1}), '')
    assert written(victim) == b'precious' and not os.path.islink(path)
    assert parse(written(path)) == (TODAY, {'a': 1}, [])
    os.unlink(path + '.lock')
    os.symlink(victim + '2', path + '.lock')
    merged, said = QuotaFile(path).update((TODAY, {'a': 1}))
    assert merged is None and path + '.lock: ' in said and not os.path.exists(victim + '2')


def test_the_file_keeps_its_mode_and_its_owner(path):
    one = QuotaFile(path)
    one.update((TODAY, {'a': 1}))
    os.chmod(path, 0o604)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12346)
    one.update((TODAY, {'a': 1}))
    found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o604
    assert os.geteuid() != 0 or (found.st_uid, found.st_gid) == (12345, 12346)


@pytest.mark.parametrize('spoil, said', [
    (lambda path: os.mkdir(path), 'not a regular file'),
    (lambda path: os.mkfifo(path), 'not a regular file'),
    (lambda path: os.mkdir(path + '.new'), 'is a directory'),
    (lambda path: os.mkdir(path + '.lock'), 'is a directory'),
    (lambda path: os.rmdir(os.path.dirname(path)), 'no such file or directory'),
])
def test_a_failed_write_is_reported_and_tried_again(path, spoil, said):
    spoil(path)
    merged, text = QuotaFile(path).update((TODAY, {'a': 1}))
    assert merged is None
    assert text.startswith('quotas are counted in memory only, for ' + path) and text.endswith(said)


def test_a_file_that_is_full_says_so(path, monkeypatch):
    monkeypatch.setattr(quota_file, 'KEYS', 2)
    merged, said = QuotaFile(path).update((TODAY, {'a': 1, 'b': 2, 'c': 3}))
    assert merged == (TODAY, {'b': 2, 'c': 3})
    assert said == 'quotas are counted for 2 users and clients at most: the smallest counts are forgotten'


# Adds 1 again and again, and says how often it has been done.
COUNTING = """
import os, sys, time
from geproxy.limits.quota_file import QuotaFile, day_of
quotas, done = QuotaFile(sys.argv[1]), 0
while True:
    quotas.update((day_of(time.time()), {sys.argv[2]: 1}))
    done += 1
    os.write(1, b'%d\\n' % done)
"""


def test_a_kill_at_any_moment_leaves_the_file_whole_with_all_that_was_written(path):
    acknowledged = {'a': 0, 'b': 0}
    for pause in (0.0, 0.013, 0.029, 0.041):
        children = dict((key, subprocess.Popen(
            PYTHON + ['-c', COUNTING, path, key], cwd=CHECKOUT, stdout=subprocess.PIPE)) for key in acknowledged)
        said = dict((key, child.stdout.readline()) for key, child in children.items())
        gevent.sleep(pause)
        for child in children.values():
            os.kill(child.pid, signal.SIGKILL)
        for key, child in children.items():
            lines = (said[key] + child.stdout.read()).split(b'\n')[:-1]
            child.stdout.close()
            child.wait()
            acknowledged[key] += int(lines[-1])
        _day, totals, _wrong = parse(written(path))
        for key in totals:      # what was being written when the kill came may be there, or not
            assert acknowledged[key] <= totals[key] <= acknowledged[key] + 1
            acknowledged[key] = totals[key]
    assert sum(acknowledged.values()) > 8
    assert not [name for name in os.listdir(os.path.dirname(path)) if '.bad-' in name]
