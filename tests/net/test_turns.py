"""Turns: those that always have something to do let the others run. Counted in turns, not in seconds of a clock."""
from __future__ import absolute_import, division, print_function

import functools

import gevent
import pytest

from geproxy.compat import monotonic
from geproxy.net import turns
from geproxy.net.deadlines import wait_readable
from helpers import PATIENCE, stream_pair


def work():
    """Keep the processor busy for a whole turn."""
    until = monotonic() + turns.TURN
    while monotonic() < until:
        pass


def busy(done, count=20):
    """A loop that never waits by itself."""
    for _ in range(count):
        turns.give_way()
        work()
        done.append(gevent.getcurrent())


def test_a_socket_is_looked_at_between_two_turns():
    done = []
    with stream_pair() as (stream, other):
        loop = gevent.spawn(busy, done)
        gevent.sleep(0)
        other.sendall(b'x')
        wait_readable((stream,), monotonic() + PATIENCE)
        assert len(done) < 10
        loop.get(timeout=PATIENCE)


def test_many_that_are_busy_have_one_turn_together_and_go_round():
    done = []
    loops = [gevent.spawn(busy, done, 5) for _ in range(10)]
    gevent.sleep(0)
    with stream_pair() as (stream, other):
        began = len(done)
        for _ in range(5):
            other.sendall(b'x')
            wait_readable((stream,), monotonic() + PATIENCE)
            stream.fill()
        assert len(done) - began <= 10          # one or two for each wait, and not ten
    gevent.joinall(loops, timeout=PATIENCE, raise_error=True)
    assert len(done) == 50 and len(set(done[-10:])) == 10


def test_a_greenlet_that_has_worked_less_than_a_turn_goes_on():
    others = []
    gevent.spawn(others.append, 1)
    for _ in range(3):
        turns.give_way()
    assert others == []
    work()
    turns.give_way()
    assert others == [1]


def test_a_greenlet_that_is_killed_in_the_queue_leaves_it():
    done = []
    loops = [gevent.spawn(busy, done, 1000) for _ in range(3)]
    gevent.sleep(0)
    gevent.sleep(0.01)
    gevent.killall(loops[:2], timeout=PATIENCE)
    count = done.count(loops[2])
    while done.count(loops[2]) == count:
        gevent.sleep(0.001)
    loops[2].kill()


@pytest.mark.parametrize('late', [1, 'x'])
def test_a_late_switch_for_an_earlier_wait_is_no_turn(late):
    done = []
    first, second = gevent.spawn(busy, done, 3), gevent.spawn(busy, done, 3)
    gevent.sleep(0)
    gevent.get_hub().loop.run_callback(second.switch, late)
    gevent.joinall([first, second], timeout=PATIENCE, raise_error=True)
    assert done == [first, second] * 3


def test_work_of_one_owner_delays_another_by_a_turn_only():
    fair, done = turns.Fair(), []
    greenlets = [gevent.spawn(fair.work, owner, functools.partial(done.append, owner)) for owner in ['many'] * 20 + ['few']]
    gevent.joinall(greenlets, raise_error=True)
    assert len(done) == 21 and done.index('few') <= 2
    assert not fair._lines and not fair.waiting('many') and not turns.is_crowded()


def test_work_that_fails_or_is_killed_lets_the_next_go_on():
    fair, done = turns.Fair(), []
    failing = gevent.spawn(fair.work, 'a', lambda: 1 // 0)
    killed = gevent.spawn(fair.work, 'a', functools.partial(done.append, 'killed'))
    last = gevent.spawn(fair.work, 'a', functools.partial(done.append, 'last'))
    gevent.sleep(0)
    killed.kill()
    gevent.joinall([failing, last], PATIENCE)
    assert done == ['last'] and isinstance(failing.exception, ZeroDivisionError)
