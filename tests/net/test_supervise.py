"""What must always run goes on after an exception, which is reported once and counted each time."""
from __future__ import absolute_import, division, print_function

import gevent
import pytest
from helpers import PATIENCE, proxying, stream_pair
from processes import wait_until

from geproxy.compat import native_sleep, start_native_thread
from geproxy.net import deadlines, supervise


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing has failed yet, and the next attempt comes at once."""
    monkeypatch.setattr(supervise, 'PAUSE', 0.001)
    monkeypatch.setattr(supervise, '_said', set())
    monkeypatch.setattr(supervise, 'failures', {})


class Loop(object):
    """Fails some times, and ends then."""

    def __init__(self, times):
        self.left, self.ended = times, False

    def __call__(self):
        if self.left:
            self.left -= 1
            raise gevent.Timeout() if self.left % 2 else ValueError('number %d' % self.left)
        self.ended = True


def test_a_loop_that_fails_runs_again_in_a_greenlet():
    said, loop = [], Loop(5)
    gevent.spawn(supervise.keep_running, 'a task', loop, said.append, gevent.sleep).join(PATIENCE)
    assert loop.ended and supervise.failures == {'a task': 5}
    assert len(said) == 1 and said[0].startswith('a task failed, and goes on; please report this:\nTraceback')
    assert said[0].endswith('ValueError: number 4')


def test_a_loop_that_fails_runs_again_in_a_native_thread():
    said, loop = [], Loop(3)
    start_native_thread(supervise.keep_running, ('a task', loop, said.append, native_sleep))
    wait_until(lambda: loop.ended, 'the loop')
    assert supervise.failures == {'a task': 3} and len(said) == 1


def test_a_greenlet_that_is_killed_is_not_started_again():
    kept = gevent.spawn(supervise.keep_running, 'a task', lambda: gevent.sleep(PATIENCE), None, gevent.sleep)
    gevent.sleep(0)
    kept.kill()
    assert kept.dead and supervise.failures == {}


def test_a_task_that_fails_in_two_places_is_reported_for_each():
    said = []

    def fail(number):
        if number:
            raise KeyError(number)
        return b'x'[7]
    guarded = supervise.guard('a task', fail, said.append)
    assert [guarded(number) for number in (0, 1, 0, 2)] == [None] * 4
    assert supervise.failures == {'a task': 4} and len(said) == 2
    assert 'IndexError' in said[0] and 'KeyError' in said[1]


def test_a_report_that_fails_goes_to_standard_error(capsys):
    def refuse(_text):
        raise MemoryError()
    supervise.guard('a task', lambda: 1 // 0, refuse)()
    assert 'ZeroDivisionError' in capsys.readouterr()[1]
    assert supervise.guard('a task', lambda: 7, refuse)() == 7


def test_a_deadline_that_cannot_be_looked_at_passes_and_does_not_keep_the_others_waiting(capsys):
    woken = []

    def wait(stream, name):
        woken.append((name, deadlines.wait_readable((stream,), 0)))
    with stream_pair() as (one, _), stream_pair() as (two, _other):
        waiting = [gevent.spawn(wait, stream, name) for stream, name in ((one, 'one'), (two, 'two'))]
        gevent.sleep(0)
        broken, one.transport = one.transport, None
        gevent.joinall(waiting, timeout=PATIENCE)
        one.transport = broken
    assert sorted(woken) == [('one', None), ('two', None)]
    assert list(supervise.failures) == ['a look at a deadline'] and 'TypeError' in capsys.readouterr()[1]


def test_a_task_that_fails_does_not_stop_the_others():
    with proxying() as (_address, proxy):
        proxy.server._report_shortage()
        proxy.server.descriptors.free_reserve()
        proxy.server._logins.refresh = None         # as any bug would be
        wait_until(lambda: proxy.server.descriptors.reserve is not None, 'a spare descriptor')
        wait_until(lambda: supervise.failures.get('housekeeping: users', 0) >= 1, 'the failure')
        proxy.server.descriptors.free_reserve()
        wait_until(lambda: proxy.server.descriptors.reserve is not None, 'it once more')
        assert len([text for text in proxy.said if 'housekeeping: users failed' in text]) == 1
