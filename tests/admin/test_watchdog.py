"""A blocked event loop is reported while it is blocked, with the line; and what greenlets wait for can be shown."""
from __future__ import absolute_import, division, print_function

import gc
import re

import gevent
from gevent.event import Event
from helpers import PATIENCE

from geproxy.admin import watchdog
from geproxy.compat import monotonic, native_sleep


class Told(object):
    """Collects the reports of a watchdog, from both threads."""

    def __init__(self):
        self.said = []
        self.watchdog = watchdog.Watchdog(self.said.append)

    def __enter__(self):
        self.watchdog.start()
        gevent.sleep(2 * watchdog.BEAT)         # the loop has left its mark
        return self

    def __exit__(self, *_):
        self.watchdog.stop()

    def wait(self, count):
        """Wait for that many reports, and return them."""
        with gevent.Timeout(PATIENCE, AssertionError('said only %r' % self.said)):
            while len(self.said) < count:
                gevent.sleep(0.01)
        return self.said


def block_for(seconds):
    """Block the event loop, which nothing in geproxy may do."""
    native_sleep(seconds)


def test_a_blocked_event_loop_is_reported_once_with_the_line_and_then_its_end():
    with Told() as told:
        block_for(1.8)
        assert len(told.said) == 1              # already, while it was blocked
        told.wait(2)
        assert told.said[0].startswith('event loop blocked for 1.')
        first = told.said[0].split('\n')[1]
        assert first.startswith('  tests/admin/test_watchdog.py:') and first.endswith(' in block_for')
        assert told.said[1].startswith(('event loop running again after 1.', 'event loop running again after 2.'))
        assert told.watchdog.blocked == 1
        assert 1 < told.watchdog.lag < PATIENCE


def test_code_that_never_waits_blocks_the_event_loop_too():
    def spin():
        end = monotonic() + 1.6
        while monotonic() < end:
            pass
    with Told() as told:
        gevent.spawn(spin).join()
        assert ' in spin' in told.wait(1)[0]


def test_an_event_loop_that_serves_is_not_reported():
    with Told() as told:
        for _ in range(30):
            native_sleep(0.05)                  # in pieces: the event loop has its turn in between
            gevent.sleep(0.001)
        assert told.said == [] and told.watchdog.blocked == 0


def test_greenlets_that_wait_at_the_same_place_are_shown_once():
    def wait_for_nothing():
        never.wait()
    never = Event()
    waiting = [gevent.spawn(wait_for_nothing) for _ in range(300)]
    gevent.sleep(0)
    try:
        lines = watchdog.stacks()
        assert '300 greenlets:' in lines
        at = lines.index('300 greenlets:')
        assert any(line.endswith(' in wait_for_nothing') for line in lines[at + 1:at + watchdog.DEPTH])
        assert len(lines) < 300
    finally:
        gevent.killall(waiting)


def test_greenlets_from_before_the_freeze_are_shown_once():
    def waiting_since_long_ago():
        done.wait()
    done = Event()
    early = gevent.spawn(waiting_since_long_ago)
    gevent.sleep(0)
    try:
        watchdog.freeze()
        text = '\n'.join(watchdog.stacks())
        assert text.count(' in waiting_since_long_ago') == 1
        assert re.search(r'(?m)^1 greenlet:\n(  .*\n)*  \S+ in waiting_since_long_ago$', text)
    finally:
        getattr(gc, 'unfreeze', lambda: None)()
        done.set()
        early.join()
    assert ' in waiting_since_long_ago' not in '\n'.join(watchdog.stacks())
