"""Targets and routes are values: two that say the same are the same key. The first row that matches is chosen."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.policy import routes as routes_module
from geproxy.policy import rules
from geproxy.policy.routes import DIRECT, Parent, Route, Routes, Row, Target, directly, show
from geproxy.settings import rule_lines


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


# --- choosing

A, B = (Parent(b'http', host, 3128, None, None) for host in (b'a.test', b'b.test'))


def row(text, *parents, **more):
    """A Row for destinations in the syntax of rules."""
    wheres = rule_lines.parse_wheres(text, lambda name: frozenset([b'.listed.test', b'listed.too']))
    return Row(wheres, tuple(Route((parent,) if parent else (), more.get('sources', ())) for parent in parents),
               more.get('resolve', False), 'test.ini:%s' % text, text)


@pytest.mark.parametrize('host, port, matched', [
    (b'a.corp', 80, 0), (b'corp', 80, 0), (b'xcorp', 80, None), (b'only.below.test', 80, 1), (b'below.test', 80, None),
    (b'10.1.2.3', 80, 2), (b'::ffff:10.1.2.3', 80, 2), (b'11.1.2.3', 80, None), (b'fd00::1', 80, 3), (b'localhost', 1, 4),
    (b'10.1', 80, 2), (b'167838211', 80, 2), (b'0xa.1.2.3', 80, 2), (b'11.1', 80, None),
    (b'x.localhost', 1, None), (b'port.test', 80, 5), (b'port.test', 90, 5), (b'port.test', 81, None),
    (b'x.listed.test', 80, 6), (b'listed.too', 80, 6), (b'x.listed.too', 80, None)])
def test_the_first_row_that_matches_is_found_by_name_port_and_literal_address(host, port, matched):
    routes = Routes([row('.corp', A), row('*.below.test', A), row('10.0.0.0/8', A), row('private', A), row('localhost', A),
                     row('port.test:80,90-99', A), row('@names', A), row('.corp', B)])
    assert routes.find(host, port) == matched
    for _ in range(2):                  # the second time, from memory
        assert routes.choose(host, port).where == ('' if matched is None else routes.rows[matched].source)


def test_sources_of_a_row_count_before_those_of_all():
    routes = Routes([row('a.test', A, None), row('b.test', A, sources=('192.0.2.9',))], ('192.0.2.7',))
    assert routes.choose(b'a.test', 80).routes == (Route((A,), ('192.0.2.7',)), Route((), ('192.0.2.7',)))
    assert routes.choose(b'b.test', 80).routes == (Route((A,), ('192.0.2.9',)),)
    assert routes.choose(b'c.test', 80).routes == (Route((), ('192.0.2.7',)),)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(routes_module, 'REMEMBERED', 10)
    routes = Routes([row('any', A)])
    for number in range(100):
        routes.choose(b'%d.test' % number, 80)
    assert len(routes._remembered) <= 10


def test_parents_are_listed_once_with_names_that_have_no_secrets():
    secret = A._replace(login=(b'joe', b'secret'))
    routes = Routes([row('a', secret, B, None), row('b', B._replace(host=b'::1', scheme=b'socks5')), row('c', secret)])
    assert list(routes.parents.values()) == ['http://a.test:3128', 'http://b.test:3128', 'socks5://[::1]:3128']
    assert show(DIRECT) == 'direct' and show(Route((secret,), ())) == 'http://a.test:3128'


@pytest.mark.parametrize('host, port, tunnel, matched', [
    (b'a.test', 80, False, 2), (b'a.test', 443, True, 3), (b'x.corp', 80, False, 0), (b'x.corp', 443, True, 3),
    (b'x.lab', 8443, True, 1), (b'x.lab', 443, True, 3), (b'x.lab', 8443, False, 2)])
def test_a_row_may_be_for_plain_requests_or_for_tunnels(host, port, tunnel, matched):
    routes = Routes([row('http://.corp', None), row('https://*.lab:8443', None), row('http://any', A), row('https://any', B)])
    for _ in range(2):                  # the second time, from memory
        assert routes.choose(host, port, tunnel).where == routes.rows[matched].source


def test_what_is_remembered_of_tunnels_is_not_taken_for_plain_requests():
    routes = Routes([row('http://any', A), row('https://any', B)])
    for _ in range(2):
        assert routes.choose(b'a.test', 80, False).routes == (Route((A,), ()),)
        assert routes.choose(b'a.test', 80, True).routes == (Route((B,), ()),)


def test_the_first_row_is_found_among_many_of_all_kinds():
    kinds = ['h%d.test', '.h%d.test', 'h%d.test:80', '10.%d.0.0/16', 'https://.h%d.test', '@names', '*.h%d.test:81']
    rows = [row(kind % number if '%d' in kind else kind, A) for number in range(20) for kind in kinds[number % 5:]]
    routes = Routes(rows + [row('any:80', B)])
    for host in [b'h%d.test' % number for number in range(21)] + [b'x.h7.test', b'10.9.1.1', b'listed.too', b'x']:
        for port, tunnel in ((80, False), (81, False), (443, True)):
            keys, ip = rules.host_keys(host), routes_module._literal(host)
            expected = next((at for at, each in enumerate(routes.rows) if any(
                routes_module._matches(where, keys, ip, port, tunnel) for where in each.wheres)), None)
            assert routes.find(host, port, tunnel) == expected, (host, port)
