"""One event loop in each process."""
from __future__ import absolute_import, division, print_function

import gevent
import pytest
from gevent.threadpool import ThreadPool
from helpers import proxying

from geproxy.net import one_hub


def outcome(do):
    """Return what `do` raises as text, or None; in a native thread, whose hub is destroyed afterwards."""
    try:
        do()
    except RuntimeError as error:
        return str(error)
    finally:
        gevent.get_hub().destroy()


def in_a_native_thread(do):
    """Call `do` in a native thread and return its `outcome`."""
    pool = ThreadPool(1)
    try:
        return pool.spawn(outcome, do).get()
    finally:
        pool.kill()


def test_the_thread_that_was_first_may_claim_again():
    one_hub.claim()
    one_hub.claim()


@pytest.mark.parametrize('start', [None, 'server'])
def test_a_second_event_loop_is_refused(start):
    with proxying() as (_address, proxy):
        said = in_a_native_thread(proxy.server.start if start else one_hub.claim)
    assert said.startswith('geproxy runs one event loop in each process')
