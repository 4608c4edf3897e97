"""Greenlets that do one job after the other."""
from __future__ import absolute_import, division, print_function

import gc

import gevent
import gevent.event
import pytest

from geproxy.net import workers
from geproxy.net.workers import KEPT


@pytest.fixture(autouse=True)
def none_left():
    """Each test begins and ends without any."""
    for step in (1, 2):
        workers.end()
        gevent.sleep(0)
        if step == 1:
            yield


def in_hub(call, *arguments):
    """Call that from the hub, as events are, and let it be done."""
    gevent.get_hub().loop.run_callback(call, *arguments)
    gevent.sleep(0.001)


def test_a_greenlet_that_has_nothing_to_do_gets_the_next_job():
    by = []
    for number in range(3):
        in_hub(workers.serve, lambda number: by.append((number, gevent.getcurrent())), number)
    assert [number for number, _greenlet in by] == [0, 1, 2]
    assert len(set(greenlet for _number, greenlet in by)) == 1


def test_jobs_that_wait_have_one_each():
    by, go_on = [], gevent.event.Event()

    def job():
        by.append(gevent.getcurrent())
        go_on.wait()
    for _ in range(3):
        in_hub(workers.serve, job)
    assert len(set(by)) == 3
    go_on.set()


def test_one_that_fails_or_is_killed_in_its_job_takes_no_other():
    by = []

    def fail():
        by.append(gevent.getcurrent())
        raise gevent.GreenletExit()

    def hang():
        by.append(gevent.getcurrent())
        gevent.sleep(10)
    in_hub(workers.serve, fail)
    in_hub(workers.serve, hang)
    by[-1].kill()
    in_hub(workers.serve, lambda: by.append(gevent.getcurrent()))
    assert len(set(by)) == 3 and by[0].dead and by[1].dead and not by[2].dead


def test_no_more_are_kept_than_that():
    by, go_on = set(), gevent.event.Event()

    def job():
        by.add(gevent.getcurrent())
        go_on.wait()
    for _ in range(KEPT + 5):
        in_hub(workers.serve, job)
    go_on.set()
    gevent.sleep(0.01)
    assert len([greenlet for greenlet in by if not greenlet.dead]) == KEPT


def test_a_greenlet_that_was_idle_for_a_while_is_ended():
    by, go_on = [], gevent.event.Event()

    def job():
        by.append(gevent.getcurrent())
        go_on.wait()
    for _ in range(3):
        in_hub(workers.serve, job)
    go_on.set()
    gevent.sleep(0.001)
    workers.prune()                     # all three have worked since
    in_hub(workers.serve, job)
    workers.prune()
    gevent.sleep(0.001)
    assert [greenlet.dead for greenlet in by[:3]].count(True) == 2 and not by[3].dead


def test_idle_greenlets_can_be_ended_and_keep_nothing():
    by = []

    class Heavy(object):
        """Something to be kept."""
    in_hub(workers.serve, lambda _heavy: by.append(gevent.getcurrent()), Heavy())
    gc.collect()
    assert not [kept for kept in gc.get_objects() if isinstance(kept, Heavy)]
    workers.end()
    by[0].join(1)
    assert by[0].dead


def test_a_job_can_be_waited_for_and_killed():
    done = []
    job = workers.spawn(done.append, 1)
    job.join()
    job.kill()
    assert done == [1]
    job = workers.spawn(gevent.sleep, 10)
    gevent.sleep(0)
    job.kill()
    job.join()
    early = workers.spawn(done.append, 2)
    early.kill()                        # before it has begun
    early.join()
    gevent.sleep(0.001)
    assert done == [1]


def test_a_kill_never_hits_the_next_job():
    by, last = [], gevent.event.Event()
    job = workers.spawn(lambda: (by.append(gevent.getcurrent()), last.wait()))
    gevent.sleep(0)
    killer = gevent.spawn(job.kill)
    last.set()                          # done before the kill arrives
    gevent.sleep(0.01)
    in_hub(workers.serve, lambda: (by.append(gevent.getcurrent()), gevent.sleep(0.02), by.append('done')))
    gevent.sleep(0.05)
    assert killer.dead and by[0].dead and by[1] is not by[0] and by[2] == 'done'


def test_an_interrupt_hits_the_intended_job_or_none():
    by, at_work, last = [], set(), gevent.event.Event()

    def job():
        by.append(gevent.getcurrent())
        at_work.add(by[-1])
        last.wait()
        at_work.discard(by[-1])

    def find():
        return (by[0], gevent.GreenletExit()) if by[0] in at_work else None
    in_hub(workers.serve, job)
    last.set()                          # its end comes before the interrupt
    workers.interrupt(find)
    gevent.sleep(0.001)
    in_hub(workers.serve, lambda: by.append(gevent.getcurrent()))
    assert not by[0].dead and by[1] is by[0]
    last.clear()
    in_hub(workers.serve, job)
    workers.interrupt(find)
    gevent.sleep(0.001)
    assert by[0].dead


def test_one_that_is_killed_while_it_has_nothing_to_do_is_given_no_job():
    by = []
    in_hub(workers.serve, lambda: by.append(gevent.getcurrent()))
    by[0].kill()
    in_hub(workers.serve, lambda: by.append(gevent.getcurrent()))
    assert len(by) == 2 and by[1] is not by[0]
