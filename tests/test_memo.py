"""Dicts that remember, and never grow for ever."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.memo import LONGEST, MOST, Memo


def test_a_value_is_made_once():
    asked = []
    memo = Memo(lambda octets: asked.append(octets) or octets.lower())
    assert [memo[b'A'], memo[b'B'], memo[b'A']] == [b'a', b'b', b'a']
    assert asked == [b'A', b'B']


def test_what_was_refused_is_refused_anew():
    memo = Memo(int)
    for _ in range(2):
        with pytest.raises(ValueError):
            memo[b'x']
    assert not memo


def test_what_is_long_is_not_remembered():
    memo = Memo(len)
    assert memo[b'x' * LONGEST] == LONGEST and memo[b'x' * (LONGEST + 1)] == LONGEST + 1
    assert len(memo) == 1


def test_it_does_not_grow_for_ever():
    memo = Memo(len)
    for number in range(3 * MOST):
        assert memo[b'%d' % number] == len('%d' % number)
        assert len(memo) <= MOST
