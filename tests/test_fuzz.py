"""A short run of tests/fuzz; and the seed alone decides what is sent. A long run: tests/fuzz/run.py --connections 100000"""
from __future__ import absolute_import, division, print_function

import os
import random
import subprocess
import sys
import zlib

import pytest
from fuzz import mutations
from fuzz.driver import Failed, Fuzz

pytestmark = pytest.mark.programs

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'fuzz', 'run.py')


def thrown(seed, count):
    """Return the Steps of `count` connections, and of the answers to them."""
    dice = mutations.Dice(random.Random(seed).random)
    return [(mutations.conversation(dice, mutations.REQUESTS, b'a:1'), mutations.answer(dice, mutations.RESPONSES))
            for _ in range(count)]


def test_a_thousand_random_connections_leave_nothing_behind():
    said = Fuzz(20261124).run(1000)
    assert 'no traceback' in said


def test_the_same_seed_sends_the_same_on_every_python():
    octets = b'|'.join(b'%s %s' % (step.what.encode('ascii'), step.value or b'')
                       for pair in thrown(7, 300) for steps in pair for step in steps)
    assert zlib.crc32(octets) & 0xffffffff == 2858280864
    assert thrown(7, 5) != thrown(8, 5)


def test_a_leftover_greenlet_is_found(monkeypatch):
    fuzz = Fuzz(1)
    real = fuzz._census
    taken = []

    def grown(proxy):
        taken.append(real(proxy))
        return taken[-1]._replace(greenlets=len(taken))
    monkeypatch.setattr(fuzz, '_census', grown)
    monkeypatch.setattr('fuzz.driver.SETTLE', 0)
    with pytest.raises(Failed) as caught:
        fuzz.run(1)
    assert '1 greenlets before, 2 after' in str(caught.value)


def test_help_explains_the_options():
    assert b'--connections N' in subprocess.check_output([sys.executable, RUN, '--help'])
