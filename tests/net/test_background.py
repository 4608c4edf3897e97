"""Threads that take jobs: what comes back, what happens to a job that hangs."""
from __future__ import absolute_import, division, print_function

import gevent
import pytest
from helpers import PATIENCE

from geproxy.compat import native_lock
from geproxy.net import background


@pytest.fixture
def gate():
    """A lock in which jobs hang until the test is over."""
    gate = native_lock()
    gate.acquire()
    yield gate
    if gate.locked():
        gate.release()


def passes(gate):
    """A job that hangs until the gate is open."""
    with gate:
        return 'passed'


def test_the_caller_gets_the_result_or_error_of_a_job_and_the_next_job_runs(capfd):
    threads = background.Background(1)
    for text, expected in (('7', (7, None)), ('x', (None, ValueError)), ('8', (8, None))):
        result = threads.do(int, text)
        assert result.wait(PATIENCE) is not None
        value, error = result.value
        assert (value, error and type(error)) == expected
    assert capfd.readouterr()[1] == ''          # gevent prints what a thread raises


def test_no_thread_is_started_before_there_is_a_job():
    threads = background.Background(3)
    assert threads._pool is None
    threads.do(int, '7').wait(PATIENCE)
    assert threads._pool is not None


def test_the_event_loop_runs_while_a_job_hangs_and_is_told_of_its_end(gate):
    told = []
    threads = background.Background(1)
    threads.do(passes, gate).rawlink(lambda result: told.append(result.value))
    gevent.sleep(0.01)
    assert told == []
    gate.release()
    with gevent.Timeout(PATIENCE):
        while not told:
            gevent.sleep(0.01)
    assert told == [('passed', None)]


def test_a_job_that_is_given_up_does_not_hold_up_the_next_one_until_too_many_hang(gate):
    threads = background.Background(1)
    hanging = []
    for _ in range(background.MOST_STUCK):
        assert not threads.is_stuck()
        hanging.append(threads.do(passes, gate))
        threads.give_up(hanging[-1])
    assert threads.is_stuck()
    gate.release()
    for result in hanging:
        result.wait(PATIENCE)
    assert not threads.is_stuck()
    result = threads.do(int, '7')
    result.wait(PATIENCE)
    assert result.value == (7, None)
