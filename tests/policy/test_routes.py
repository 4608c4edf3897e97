"""Targets and routes are values: two that say the same are the same key."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.policy.routes import DIRECT, Route, Routes, Target, directly
from geproxy.settings import ini, route_lines


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


def rows(*lines):
    """Return the Routes with these rows; the first one is p.ini:1."""
    return Routes([route_lines.parse(ini.Line('p.ini', number, 'p.ini:%d' % number, text, ''), {}.get)
                   for number, text in enumerate(lines, 1)])


@pytest.mark.parametrize('host,port,tunnel,where', [
    (b'a.test', 80, False, 'p.ini:3'), (b'a.test', 443, True, 'p.ini:4'), (b'x.corp', 80, False, 'p.ini:1'),
    (b'x.corp', 443, True, 'p.ini:4'), (b'x.lab', 8443, True, 'p.ini:2'), (b'x.lab', 443, True, 'p.ini:4'),
    (b'x.lab', 8443, False, 'p.ini:3')])
def test_a_row_may_be_for_plain_requests_or_for_tunnels(host, port, tunnel, where):
    routes = rows('http://.corp direct', 'https://*.lab:8443 direct', 'http://any http://a:1', 'https://any http://b:1')
    for _ in range(2):          # the second time it is remembered
        assert routes.choose(host, port, tunnel).where == where
