"""The first rule that matches decides, however many rules there are."""
from __future__ import absolute_import, division, print_function

import calendar
import datetime
import random

import pytest

from geproxy.net.address import parse_ip, unmap
from geproxy.policy import rules, ruleset
from geproxy.settings import ini, rule_lines

NOW = calendar.timegm((2026, 11, 24, 12, 0, 0))         # a Tuesday, in all time zones
NAMES = frozenset([b'one.example', b'.two.example', b'*.three.example'])


def ruleset_of(*lines):
    """Return a Ruleset of these lines; the first one is p.ini:1, and @list holds NAMES."""
    return ruleset.Ruleset(rule_lines.parse(ini.Line('p.ini', number, 'p.ini:%d' % number, text, ''), lambda path: NAMES)
                           for number, text in enumerate(lines, 1))


def question(host=b'a.example', client='10.0.0.5', user=None, method=b'GET', port=80):
    """Return a Question."""
    return rules.Question(unmap(parse_ip(client)), user, frozenset(), method, host, port)


def decided(lines, host, address=None, **asked):
    """Return which line decides, and how: '1 allow', '2 deny', 'none' or 'depends'."""
    decision = ruleset_of(*lines).decide(question(host, **asked), address, NOW)
    if decision.allowed is None:
        return 'depends'
    if decision.rule is None:
        return 'none'
    return '%s %s' % (decision.rule.source.rpartition(':')[2], 'allow' if decision.allowed else 'deny')


def test_without_rules_everything_is_allowed():
    assert ruleset_of().decide(question(), None, NOW) == ruleset.ALLOWED


def test_with_rules_a_request_that_matches_none_is_denied():
    decision = ruleset_of('allow any .b.example', 'allow any .c.example').decide(question(), None, NOW)
    assert not decision.allowed and decision.rule is None
    assert decision.why == 'no rule allows it (none of the 2 in p.ini)'


SOME = ['deny any bad.a.example', 'allow any .a.example', 'deny any *.b.example', 'allow any b.example,c.example:81',
        'deny user:eve any', 'allow any @list']


@pytest.mark.parametrize('host, asked, expected', [
    (b'bad.a.example', {}, '1 deny'),
    (b'worse.bad.a.example', {}, '2 allow'),
    (b'a.example', {}, '2 allow'),
    (b'www.a.example', {}, '2 allow'),
    (b'xa.example', {}, 'none'),
    (b'example', {}, 'none'),
    (b'b.example', {}, '4 allow'),
    (b'x.b.example', {}, '3 deny'),
    (b'x.y.b.example', {}, '3 deny'),
    (b'c.example', {}, 'none'),
    (b'c.example', {'port': 81}, '4 allow'),
    (b'a.example', {'user': b'eve'}, '2 allow'),
    (b'one.example', {'user': b'eve'}, '5 deny'),
    (b'one.example', {}, '6 allow'),
    (b'www.one.example', {}, 'none'),
    (b'two.example', {}, '6 allow'),
    (b'www.two.example', {}, '6 allow'),
    (b'three.example', {}, 'none'),
    (b'www.three.example', {}, '6 allow'),
])
def test_the_first_rule_that_matches_decides(host, asked, expected):
    assert decided(SOME, host, **asked) == expected


NETWORKS = ['allow any .inside.example', 'deny any 10.9.0.0/16', 'allow any 10.0.0.0/8,2001:db8::/32', 'deny any private',
            'allow any .example']


@pytest.mark.parametrize('host, address, expected', [
    (b'www.inside.example', None, '1 allow'),
    (b'www.inside.example', '10.9.0.1', '1 allow'),
    (b'a.example', None, 'depends'),
    (b'a.test', None, 'depends'),
    (b'a.example', '10.9.0.1', '2 deny'),
    (b'a.example', '10.8.0.1', '3 allow'),
    (b'a.example', '::ffff:10.8.0.1', '3 allow'),
    (b'a.example', '2001:db8::1', '3 allow'),
    (b'a.example', '192.168.0.1', '4 deny'),
    (b'a.example', '8.8.8.8', '5 allow'),
    (b'a.test', '8.8.8.8', 'none'),
    # wrapped: to deny, one of the addresses inside is enough; to allow, all have to match
    (b'a.example', '64:ff9b::10.9.0.1', '2 deny'),
    (b'a.example', '64:ff9b::10.8.0.1', '3 allow'),
    (b'a.example', '2002:a09:1::', '2 deny'),
    (b'a.example', '2001:0:a08:1::f5f6:fffe', '2 deny'),        # Teredo by 10.8.0.1, to 10.9.0.1
    (b'a.example', '2001:0:a08:1::f7f7:f7f7', '4 deny'),        # by 10.8.0.1, to 8.8.8.8
    (b'a.example', '2001:0:808:808::f7f7:f7f7', '5 allow'),     # by 8.8.8.8, to 8.8.8.8
])
def test_rules_about_networks_wait_for_the_address(host, address, expected):
    assert decided(NETWORKS, host, address) == expected


def test_a_request_that_no_address_can_save_is_denied_before_the_look_up():
    assert decided(['deny any 10.0.0.0/8', 'allow any .example'], b'a.test') == 'none'
    assert decided(['deny any 10.0.0.0/8', 'deny any .test', 'allow any any'], b'a.test') == '2 deny'
    assert decided(['deny any 10.0.0.0/8', 'allow any .test'], b'a.test') == 'depends'
    assert decided(['allow user:bob 10.0.0.0/8', 'allow any .example'], b'a.test') == 'none'


def test_an_expired_allow_rule_refuses_and_an_expired_deny_rule_is_skipped():
    decision = ruleset_of('allow any a.example until 2026-11-23', 'allow any any').decide(question(), None, NOW)
    assert (decision.allowed, decision.why) == (
        False, 'no longer allowed by p.ini:1: allow any a.example until 2026-11-23')
    assert decided(['deny any any until 2026-11-23', 'allow any any'], b'a.example') == '2 allow'


def test_there_is_a_warning_two_weeks_before_a_rule_ends():
    found = ruleset_of('allow any a.b until 2026-11-23', 'allow any b.b until 2026-11-24', 'allow any c.b until 2026-12-07',
                       'allow any d.b until 2026-12-08', 'allow any any').warnings(NOW, frozenset(), frozenset())
    assert found == [
        'p.ini:1: allow any a.b until 2026-11-23 ended on 2026-11-23',
        'p.ini:2: allow any b.b until 2026-11-24 ends after 2026-11-24',
        'p.ini:3: allow any c.b until 2026-12-07 ends after 2026-12-07']


def test_there_is_a_warning_about_unknown_users_and_groups():
    found = ruleset_of('deny user:bob,user:jooe,user:* any', 'allow group:ops,group:oops any').warnings(
        NOW, frozenset([b'bob', b'joe']), frozenset([b'ops']))
    assert found == ['p.ini:1: deny user:bob,user:jooe,user:* any names jooe: [auth] has no such user or group',
                     'p.ini:2: allow group:ops,group:oops any names oops: [auth] has no such user or group']


def test_a_decision_by_the_time_is_remembered_for_one_minute():
    rule = ruleset_of('allow any any 12:00-12:01', 'deny any any')
    noon = NOW + next(seconds for seconds in range(-86400, 86400, 900) if decided_at(NOW + seconds) == (12, 0))
    assert [rule.decide(question(), None, noon + seconds).allowed for seconds in (0, 59, 60, -1, 30)] == [
        True, True, False, False, True]


def decided_at(now):
    """Return (hour, minute) in the time zone of this host."""
    at = datetime.datetime.fromtimestamp(now)
    return at.hour, at.minute


def test_the_memory_for_decisions_of_rules_is_bounded():
    rule = ruleset_of('allow any .example')
    for number in range(ruleset.REMEMBERED + 10):
        assert rule.decide(question(b'%d.example' % number), None, NOW).allowed
    assert len(rule._remembered) <= ruleset.REMEMBERED


def test_explain_says_of_each_rule_why_it_does_not_match():
    explained = ruleset_of('deny user:bob any', 'deny any CONNECT any', 'deny any any:81', 'allow any b.example,c.example:80',
                           'deny any 10.0.0.0/8', 'allow any .example', 'deny any any').explain
    passed = ['client', 'method', 'port', 'host']
    assert [missed for _rule, missed in explained(question(), '8.8.8.8', NOW)] == passed + ['address', '']
    assert [missed for _rule, missed in explained(question(), '10.0.0.1', NOW)] == passed + ['']


def test_the_index_finds_the_rule_that_a_look_at_each_rule_finds():
    dice = random.Random(20261124)
    hosts = ['a', 'b.a', 'c.b.a', 'd', 'b.d', 'c.b.d']
    wheres = ['any'] + hosts + ['.' + host for host in hosts] + ['*.' + host for host in hosts] + [
        '10.0.0.0/8', '10.1.0.0/16', '10.1.1.1', '64:ff9b::/96', 'any:81', '@list']
    for _ in range(300):
        lines = ['%s any %s' % (dice.choice(['allow', 'deny']), ','.join(dice.sample(wheres, 2))) for _ in range(8)]
        rule = ruleset_of(*lines)
        for host in hosts:
            for address in ('10.1.1.1', '10.2.0.1', '8.8.8.8', '64:ff9b::10.1.1.1', '64:ff9b::8.8.8.8'):
                asked = question(host.encode('ascii'))
                passed = rule.explain(asked, address, NOW)
                expected = passed[-1][0] if not passed[-1][1] else None
                assert rule.decide(asked, address, NOW).rule is expected, (lines, host, address)


def test_the_index_by_client_finds_the_rule_that_a_look_at_each_rule_finds():
    dice = random.Random(20261127)
    whos = ['any', '10.0.0.0/8', '10.1.0.0/16', '10.1.1.1', '2001:db8::/32', 'user:bob', 'user:*', 'group:ops', 'group:dev',
            '10.1.1.2,user:eve', 'private', 'group:ops,user:bob']
    wheres = ['any', '.a', 'b.a', '10.0.0.0/8', '10.1.1.1', 'any:81', '@list', 'one.example', '.a,any:81',
              'any:80', '.a:79-81', 'any:1-8000', '10.0.0.0/8:80,80-81', 'b.a:443']
    clients = [('10.1.1.1', None, ()), ('10.1.1.2', b'bob', ()), ('10.9.0.1', b'eve', (b'ops', b'dev')),
               ('2001:db8::1', b'zoe', (b'dev',)), ('8.8.8.8', None, ()), ('::ffff:10.1.1.1', b'bob', (b'ops',))]
    for _ in range(30):
        lines = ['%s %s %s' % (dice.choice(['allow', 'deny']), dice.choice(whos), dice.choice(wheres)) for _ in range(60)]
        rule = ruleset_of(*lines[:dice.choice([5, 60])])
        for client, user, groups in clients:
            for host, address in ((b'b.a', '8.8.8.8'), (b'one.example', '10.1.1.1'), (b'x', '10.2.0.1'), (b'x', None)):
                asked = question(host, client, user)._replace(groups=frozenset(groups))
                decision = rule.decide(asked, address, NOW)
                if decision.allowed is None:
                    continue
                passed = rule.explain(asked, address, NOW)
                expected = passed[-1][0] if not passed[-1][1] else None
                assert decision.rule is expected, (lines, asked, address)


@pytest.mark.parametrize('rule', [
    'allow 10.%d.%d.9 any', 'allow user:u%d-%d any', 'allow group:g%d-%d any', 'deny 10.%d.%d.9,user:eve any',
    'allow 10.%d.%d.9 .example', 'allow group:g%d-%d www.example:443,13007', 'allow 10.%d.%d.9 192.168.0.0/16',
    'allow 10.%d.%d.0/24 @list', 'allow any any:1%d%03d', 'deny any 192.168.0.0/16:1%d%03d', 'allow any .example:9,1%d%03d',
    'allow any https://www.example:1%d%03d'])
def test_of_many_rules_only_those_for_this_client_are_compared(rule, monkeypatch):
    asked, mismatch = [], rules.mismatch
    many = ruleset_of(*[rule % (number // 250, number % 250) for number in range(2000)])
    monkeypatch.setattr(rules, 'mismatch', lambda *those: asked.append(1) or mismatch(*those))
    who = question(b'www.example', '10.3.7.9', b'u3-7', port=13007)._replace(groups=frozenset([b'g3-7']))
    for address in (None, '192.168.1.1'):
        many.decide(who, address, NOW)
    assert len(asked) <= 4


def test_a_method_of_any_length_costs_no_memory():
    rule = ruleset_of('allow any any')
    assert rule.decide(question(method=b'M' * 60000), None, NOW).allowed and not rule._remembered


def test_a_decision_without_the_time_is_remembered_for_longer():
    rule = ruleset_of('deny any any')
    rule.decide(question(), None, NOW)
    rule.decide(question(), None, NOW + 3600)
    assert len(rule._remembered) == 1


def test_many_rules_without_a_host_are_not_all_compared(monkeypatch):
    asked, lines = [], ['deny any 10.%d.%d.0/24' % (number // 256, number % 256) for number in range(5000)]
    lines += ['deny user:u%d any' % number for number in range(5000)] + ['allow any any']
    rule, mismatch = ruleset_of(*lines), rules.mismatch
    monkeypatch.setattr(rules, 'mismatch', lambda *those: asked.append(1) or mismatch(*those))
    assert rule.decide(question(user=b'u7'), None, NOW).rule.text == 'deny user:u7 any'
    assert rule.decide(question(user=b'eve'), None, NOW).allowed is None
    assert rule.decide(question(user=b'eve'), '8.8.8.8', NOW).allowed
    assert not rule.decide(question(user=b'eve'), '10.1.2.3', NOW).allowed
    assert len(asked) < 20


@pytest.mark.parametrize('lines, asked, pending', [
    (['allow any 10.0.0.0/8'], {}, 1), (['deny any 10.0.0.0/8', 'allow any any'], {}, 1), (['allow any any'], {}, None),
    (['allow any 10.0.0.0/8:81', 'allow any https://10.0.0.0/8', 'allow any 11.0.0.0/8'], {}, 3),
    (['allow any .example', 'deny any 10.0.0.0/8'], {}, 2), (['allow 9.9.9.9 10.0.0.0/8'], {}, None)])
def test_the_rule_that_waits_for_the_address_is_known(lines, asked, pending):
    rule = ruleset_of(*lines).pending(question(**asked), NOW)
    assert (rule and int(rule.source.rpartition(':')[2])) == pending
