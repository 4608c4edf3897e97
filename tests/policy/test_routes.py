"""Targets and routes are values: two that say the same are the same key."""
from __future__ import absolute_import, division, print_function

from geproxy.policy.routes import DIRECT, Route, Target, directly


def test_equal_targets_and_routes_are_one_key_and_any_difference_makes_another():
    target, parent = Target(b'http', b'a.test', 80), Target(b'http', b'parent.test', 3128)
    assert {(target, DIRECT): 1}[Target(b'http', b'a.test', 80), Route((), ())] == 1
    keys = [(target, DIRECT), (target._replace(scheme=b'https'), DIRECT), (target._replace(port=81), DIRECT),
            (target._replace(host=b'b.test'), DIRECT), (target, Route((parent,), ()))]
    assert len(set(keys)) == len(keys)


def test_the_direct_way_to_a_target_is_made_once():
    asked = b'https', b'a.test', 443
    assert directly[asked] == (Target(*asked), DIRECT)
    assert directly[asked] is directly[asked]


def test_direct_has_no_parents():
    assert DIRECT.parents == ()
