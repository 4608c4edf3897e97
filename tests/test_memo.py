"""Bounded caches."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.memo import LONGEST, MOST, Bounded, ExpiringCache, Memo


def test_a_dict_that_is_full_is_emptied():
    bounded = Bounded(2)
    for key in 'abc':
        bounded.remember(key, key.upper())
        assert bounded[key] == key.upper() and len(bounded) <= 2
    assert bounded == {'c': 'C'} and bounded.get('a') is None


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


# --- ExpiringCache

def test_a_value_is_good_until_its_last_moment():
    cache = ExpiringCache(10)
    cache.put('a', 1, 5.0)
    assert cache.get('a', 5.0) == cache.peek('a', 5.0) == 1
    assert cache.peek('a', 5.1) is None and cache.get('a', 5.1) is None and cache.get('b', 0.0) is None
    cache.put('a', 2, 7.0)
    assert cache.get('a', 6.0) == 2
    cache.forget('a')
    cache.forget('a')
    assert len(cache) == 0


def test_of_too_many_keys_the_one_that_was_used_least_recently_goes():
    cache = ExpiringCache(2)
    for key in ('a', 'b'):
        cache.put(key, key, 9.0)
    cache.get('a', 0.0)
    cache.put('c', 'c', 9.0)
    assert [key in cache for key in 'abc'] == [True, False, True] and len(cache) == 2
    cache.peek('a', 0.0)                        # which is no use of it
    cache.put('d', 'd', 9.0)
    assert [key in cache for key in 'acd'] == [False, True, True]
    cache.put('c', 'C', 9.0)                    # put anew, it is the most recent one
    cache.put('e', 'e', 9.0)
    assert cache.get('c', 0.0) == 'C' and 'd' not in cache
