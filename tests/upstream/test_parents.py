"""Parents that fail are left out for a while, then one request tries them again. A clock that the tests move."""
from __future__ import absolute_import, division, print_function

import collections

import pytest

from geproxy.policy.routes import DIRECT, Parent, Route, show_parent
from geproxy.upstream import parents

A, B = (Parent(b'http', host, 3128, None, None) for host in (b'a.test', b'b.test'))
BY_A, BY_B = Route((A,), ()), Route((B,), ())
BOTH = (BY_A, BY_B)


class Moment(object):
    """The clock of a test."""
    now = 1000.0


@pytest.fixture
def states(monkeypatch):
    """The States of A and B, with `said`, the lines for the error log, and `clock`, the Moment."""
    clock, said = Moment(), []
    monkeypatch.setattr(parents, 'monotonic', lambda: clock.now)
    made = parents.States(said.append)
    made.use(collections.OrderedDict((parent, show_parent(parent)) for parent in (A, B)))
    made.said, made.clock = said, clock
    return made


def test_all_are_used_in_order_until_one_fails(states):
    assert tuple(states.order(BOTH + (DIRECT,))) == BOTH + (DIRECT,)
    states.failed(A, 'connection refused')
    assert tuple(states.order(BOTH + (DIRECT,))) == (BY_B, DIRECT)
    assert states.said == ['parent http://a.test:3128 is left out for 30 s: connection refused']
    assert [view[:2] for view in states.view()] == [('http://a.test:3128', False), ('http://b.test:3128', True)]
    assert states.view()[0].since == 1000.0 and states.view()[0].why == 'connection refused'
    assert states.view()[0].again == states.clock.now + parents.LEFT_OUT


def test_after_a_while_one_request_tries_it_again_and_not_all_at_once(states):
    states.failed(A, 'connection refused')
    states.clock.now += parents.LEFT_OUT - 1
    assert tuple(states.order(BOTH)) == (BY_B,)
    states.clock.now += 2
    assert tuple(states.order(BOTH)) == BOTH
    assert tuple(states.order(BOTH)) == (BY_B,)            # the others wait for the outcome
    states.worked(A)
    assert tuple(states.order(BOTH)) == BOTH and tuple(states.order(BOTH)) == BOTH
    assert states.said[1:] == ['parent http://a.test:3128 is used again, after 31 s']
    assert states.view()[0][:5] == ('http://a.test:3128', True, 1031.0, 'connection refused', 1)


def test_one_that_fails_again_is_left_out_again_without_another_line(states):
    states.failed(A, 'connection refused')
    states.clock.now += parents.LEFT_OUT
    assert tuple(states.order(BOTH)) == BOTH
    states.failed(A, 'no answer', began=states.clock.now)
    states.clock.now += parents.LEFT_OUT - 1
    assert tuple(states.order(BOTH)) == (BY_B,) and len(states.said) == 1
    assert states.view()[0].since == 1000.0 and states.view()[0].why == 'no answer'


def test_a_trial_that_never_ends_is_followed_by_another(states):
    states.failed(A, 'connection refused')
    states.clock.now += parents.LEFT_OUT
    assert tuple(states.order(BOTH)) == BOTH               # its client leaves, and nobody says how it went
    states.clock.now += parents.LEFT_OUT
    assert tuple(states.order(BOTH)) == BOTH


def test_only_a_request_that_gets_so_far_counts_as_a_trial(states):
    states.failed(B, 'refused')
    states.clock.now += parents.LEFT_OUT
    for _ in range(3):
        assert next(iter(states.order(BOTH))) is BY_A     # it works, so B is not needed
    waiting = iter(states.order(BOTH))
    assert next(waiting) is BY_A
    assert tuple(states.order(BOTH)) == BOTH        # A failed for this one
    assert tuple(waiting) == ()


def test_if_all_are_left_out_all_are_tried(states):
    states.failed(A, 'refused')
    states.failed(B, 'refused')
    assert tuple(states.order(BOTH)) == BOTH and tuple(states.order((BY_B,))) == (BY_B,)
    assert tuple(states.order(BOTH + (DIRECT,))) == (DIRECT,)


def test_a_doubtful_failure_counts_only_several_times_in_a_row(states):
    for _ in range(parents.DOUBTS - 1):
        states.failed(A, 'closed', began=states.clock.now)
    states.worked(A)
    for _ in range(parents.DOUBTS - 1):
        states.failed(A, 'closed', began=states.clock.now)
    assert tuple(states.order(BOTH)) == BOTH and not states.said
    states.failed(A, 'closed', began=states.clock.now)
    assert tuple(states.order(BOTH)) == (BY_B,) and len(states.said) == 1


def test_doubtful_failures_at_the_same_time_count_once(states):
    began = states.clock.now
    for _ in range(parents.DOUBTS + 1):
        states.clock.now += 1                       # a browser asks a dead host by several connections
        states.failed(A, 'closed', began)
    assert states.view()[0].up and states.view()[0].failures == parents.DOUBTS + 1
    for _ in range(parents.DOUBTS - 1):
        assert states.view()[0].up
        began = states.clock.now
        states.clock.now += 1
        states.failed(A, 'closed', began)
    assert not states.view()[0].up


def test_a_request_that_did_not_ask_the_parent_leaves_the_trial_to_another(states):
    states.untried(A)                               # it has never failed
    states.failed(A, 'refused')
    states.clock.now += parents.LEFT_OUT
    assert tuple(states.order(BOTH)) == BOTH
    states.untried(A)
    assert tuple(states.order(BOTH)) == BOTH        # this one tries it
    assert tuple(states.order(BOTH)) == (BY_B,)


def test_a_request_that_got_a_parent_because_all_are_left_out_starts_no_trial(states):
    states.failed(A, 'refused')
    assert tuple(states.order((BY_A,))) == (BY_A,)
    states.untried(A)                               # a row with no other parent, and a request that policy denies
    assert tuple(states.order(BOTH)) == (BY_B,)
    states.clock.now += parents.LEFT_OUT
    assert tuple(states.order(BOTH)) == BOTH
    states.failed(A, 'refused')
    states.untried(A)
    assert tuple(states.order(BOTH)) == (BY_B,)


def test_a_reload_keeps_what_is_known_and_forgets_parents_that_no_route_names(states):
    states.failed(A, 'refused')
    states.failed(B, 'refused')
    states.use({A._replace(login=(b'joe', b'secret')): show_parent(A)})
    assert [view.name for view in states.view()] == ['http://a.test:3128'] and not states.view()[0].up
    states.failed(B, 'refused again')               # by an exchange that began before
    states.worked(B)
    assert tuple(states.order(BOTH)) == (BY_B,) and len(states.said) == 2
