"""Bounded caches."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.memo import LONGEST, MOST, Memo


def test_the_second_time_a_value_is_kept():
    asked = []
    memo = Memo(lambda octets: asked.append(octets) or octets.lower())
    assert [memo[octets] for octets in (b'A', b'B', b'A', b'A', b'A')] == [b'a', b'b', b'a', b'a', b'a']
    assert asked == [b'A', b'B', b'A']


def test_keys_that_come_once_push_nothing_out():
    memo = Memo(len)
    for _ in range(2):
        assert memo[b'again'] == 5
    for number in range(3 * MOST):
        memo[b'%d' % number]
    assert b'again' in memo and len(memo) == 1


def test_an_exception_is_not_kept():
    memo = Memo(int)
    for _ in range(2):
        with pytest.raises(ValueError):
            memo[b'x']
    assert not memo


def test_a_long_key_is_not_kept():
    memo = Memo(len)
    for _ in range(2):
        assert memo[b'x' * LONGEST] == LONGEST and memo[b'x' * (LONGEST + 1)] == LONGEST + 1
    assert len(memo) == 1


def test_its_size_is_bounded():
    memo = Memo(len)
    for number in range(3 * MOST):
        for _ in range(2):
            assert memo[b'%d' % number] == len('%d' % number)
        assert len(memo) <= MOST and len(memo._seen) <= MOST
    assert len(memo) > 1


def test_a_value_that_must_not_be_kept_leaves_no_trace():
    memo = Memo(len, keeps=lambda key, value: value != 6)
    for _ in range(3):
        assert (memo[b'secret'], memo[b'plain']) == (6, 5)
    assert list(memo) == [b'plain'] and not [each for each in memo._seen if isinstance(each, bytes)]
