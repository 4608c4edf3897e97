"""The file descriptors of the process, and the one in reserve."""
from __future__ import absolute_import, division, print_function

import os
import resource

import pytest
from processes import PYTHON, run

from geproxy.service import descriptors

LIMIT = '''
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
from geproxy.service import descriptors
found = descriptors.Descriptors(None)
print('%d %d %d' % (found.limit, found.room(), found.left(10)))
'''


def test_the_soft_limit_is_raised_to_the_hard_one():
    assert run(PYTHON + ['-c', LIMIT]).out == b'200 68 116\n'         # (200 - 64) / 2, and 200 - 64 - 20


@pytest.mark.parametrize('limit, room', [(3, 1), (66, 1), (68, 2), (10 ** 9, descriptors.MOST_CONNECTIONS)])
def test_there_is_room_for_one_connection_at_least_and_not_for_any_number(limit, room):
    found = descriptors.Descriptors(None)
    found.limit = limit
    assert found.room() == room


def test_the_reserve_is_a_descriptor_that_can_be_had_once():
    found = descriptors.Descriptors(None)
    assert found.reserve is None and not found.free_reserve()
    found.fill_reserve()
    assert found.reserve is not None
    held = found.reserve
    os.fstat(held)
    found.fill_reserve()
    assert found.reserve == held
    assert found.free_reserve() and found.reserve is None and not found.free_reserve()


def test_without_descriptors_the_reserve_is_not_filled():
    found = descriptors.Descriptors(None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        found.fill_reserve()
        assert found.reserve is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found.fill_reserve()
    assert found.free_reserve()


def test_a_shortage_is_said_once_in_a_while():
    said = []
    found = descriptors.Descriptors(said.append)
    found.limit = 90
    for _ in range(3):
        found.report_shortage(13)
    assert said == ['out of file descriptors (90) with 13 connections: clients get 503; raise ulimit -n']
    found._said_at -= 2 * descriptors.QUIET
    found.report_shortage(12)
    assert len(said) == 2
