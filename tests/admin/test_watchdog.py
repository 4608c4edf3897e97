"""A hub that is blocked is noticed while it is, with the line; and what greenlets wait for can be read."""
from __future__ import absolute_import, division, print_function

import gc
import re

import gevent
from gevent.event import Event
from helpers import PATIENCE

from geproxy.admin import watchdog
from geproxy.compat import monotonic, native_sleep


class Told(object):
    """Collects what the watchdog says, from whichever thread."""

    def __init__(self):
        self.said = []
        self.watchdog = watchdog.Watchdog(self.said.append)

    def __enter__(self):
        self.watchdog.start()
        gevent.sleep(2 * watchdog.BEAT)         # the hub has left its mark
        return self

    def __exit__(self, *_):
        self.watchdog.stop()

    def wait(self, count):
        """Wait until it has said so much."""
        with gevent.Timeout(PATIENCE, AssertionError('said only %r' % self.said)):
            while len(self.said) < count:
                gevent.sleep(0.01)
        return self.said


def block_for(seconds):
    """Do what nothing in geproxy may do."""
    native_sleep(seconds)


def test_a_blocked_hub_is_told_once_with_the_line_and_its_end():
    with Told() as told:
        block_for(1.8)
        assert len(told.said) == 1              # already, while it was blocked
        told.wait(2)
        assert 'the hub is blocked, and nobody is served, for 1.' in told.said[0]
        first = told.said[0].split('\n')[1]
        assert first.startswith('  tests/admin/test_watchdog.py:') and first.endswith(' in block_for')
        assert told.said[1].startswith('the hub goes on, after 1.') or told.said[1].startswith('the hub goes on, after 2.')
        assert told.watchdog.blocked == 1
        assert 1 < told.watchdog.lag < PATIENCE


def test_a_loop_without_a_switch_blocks_too():
    def spin():
        end = monotonic() + 1.6
        while monotonic() < end:
            pass
    with Told() as told:
        gevent.spawn(spin).join()
        assert ' in spin' in told.wait(1)[0]


def test_a_hub_that_serves_is_not_told():
    with Told() as told:
        for _ in range(30):
            native_sleep(0.05)                  # in pieces: the hub has its turn in between
            gevent.sleep(0.001)
        assert told.said == [] and told.watchdog.blocked == 0


def test_who_waits_for_the_same_is_shown_once():
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
