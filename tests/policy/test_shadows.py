"""Rules that can never decide, and rows of routes that can never be used, are reported, and no others."""
from __future__ import absolute_import, division, print_function

import datetime
import random
import time

import pytest

from geproxy import cli
from geproxy.net.address import parse_ip, unmap
from geproxy.policy import rules, ruleset, shadows
from geproxy.settings import ini, route_lines, rule_lines

NAMES = {'list': frozenset([b'one.example', b'.two.example']), 'empty': frozenset(), 'one': frozenset([b'one.example'])}


def parsed(*lines):
    """Return the Rules of these lines; the first one is p.ini:1."""
    return [rule_lines.parse(ini.Line('p.ini', number, 'p.ini:%d' % number, text, ''), NAMES.get)
            for number, text in enumerate(lines, 1)]


@pytest.mark.parametrize('first, second, reported', [
    ('deny any any', 'allow any .a.example', True),
    ('allow any .a.example', 'deny any www.a.example', True),
    ('allow any .a.example', 'deny any .example', False),
    ('allow any .a.example', 'deny any *.a.example', True),
    ('allow any *.a.example', 'deny any .a.example', False),
    ('allow any *.a.example', 'deny any .b.a.example', True),
    ('allow any a.example', 'deny any .a.example', False),
    ('allow any a.example,b.example', 'deny any b.example', True),
    ('allow any a.example', 'deny any a.example,b.example', False),
    ('allow any any', 'deny any 10.0.0.0/8', True),
    ('allow any .example', 'deny any 10.0.0.0/8', False),
    ('deny any 10.0.0.0/8', 'allow any .example', False),
    ('deny any 10.0.0.0/8', 'allow any 10.1.0.0/16', True),
    ('deny any 10.1.0.0/16', 'allow any 10.0.0.0/8', False),
    ('allow any 10.0.0.0/8', 'deny any 10.1.0.0/16', False),            # it decides about a Teredo address
    ('deny any private', 'allow any fd00::/8,10.0.0.1', True),
    # who
    ('deny 10.0.0.0/8 any', 'allow 10.1.0.0/16 any', True),
    ('deny 10.1.0.0/16 any', 'allow 10.0.0.0/8 any', False),
    ('deny 10.0.0.0/8 any', 'allow any any', False),
    ('deny user:* any', 'allow group:ops .a', True),
    ('deny user:* any', 'allow user:bob,group:ops .a', True),
    ('deny group:ops any', 'allow user:bob .a', False),
    ('deny user:bob any', 'allow user:* .a', False),
    ('deny user:bob,user:eve any', 'allow user:eve .a', True),
    ('deny user:bob,10.0.0.0/8 any', 'allow user:bob,10.1.1.1 .a', True),
    ('deny 10.0.0.0/8 any', 'allow user:bob any', False),
    # methods, schemes, ports
    ('allow any GET .a', 'allow any GET b.a', True),
    ('allow any GET .a', 'allow any b.a', False),
    ('allow any GET,PUT .a', 'allow any GET b.a', True),
    ('deny any GET .a', 'allow any GET b.a', True),
    ('allow any GET .a', 'deny any GET b.a', False),            # the deny rule denies get, too
    ('allow any https://.a', 'allow any b.a', False),
    ('allow any .a', 'allow any https://b.a', True),
    ('allow any .a', 'allow any b.a:22', True),                 # the lists of ports decide
    ('allow any .a:1-100', 'allow any b.a:22,80', True),
    ('allow any any:any', 'deny any any', True),
    ('allow any .a:1-65534', 'deny any b.a', False),
    ('allow any .a:80', 'allow any b.a:22,80', False),
    ('allow any .a:80', 'allow any b.a', False),
    # time
    ('allow any .a mon-fri', 'allow any b.a', False),
    ('allow any .a mon-fri', 'allow any b.a mon-fri', True),
    ('allow any .a', 'allow any b.a mon-fri', True),
    ('allow any .a 07:00-19:00', 'deny any b.a 08:00-09:00', False),
    ('deny any .a until 2099-01-01', 'allow any b.a', False),
    ('allow any .a until 2099-01-01', 'allow any b.a', True),   # then it refuses, by name
    # lists
    ('deny any @list', 'allow any one.example', True),
    ('deny any @list', 'allow any x.one.example', False),
    ('deny any @list', 'allow any x.two.example', True),
    ('deny any .example', 'allow any @list', True),
    ('deny any @one', 'allow any @list', False),
    ('deny any @list', 'allow any @one', True),
    ('deny any @list', 'allow any @list', True),
    ('deny any any', 'deny any @empty', False),
])
def test_a_rule_that_an_earlier_rule_covers_is_reported(first, second, reported):
    found = shadows.find(parsed(first, second))
    assert found == ['p.ini:2: %s can never decide, because an earlier rule matches all of its requests: p.ini:1: %s' % (
        second, first)] * reported


def test_several_earlier_rules_may_each_cover_one_destination_of_a_rule():
    found = shadows.find(parsed('allow any .a', 'allow any .b', 'deny any a,b', 'deny any a,c'))
    assert found == ['p.ini:3: deny any a,b can never decide, because earlier rules match all of its requests: '
                     'p.ini:1: allow any .a and p.ini:2: allow any .b']


def test_no_reported_rule_ever_decides():
    dice, reported = random.Random(20261127), 0
    whos = ['any', '10.0.0.0/8', '10.1.1.1', 'user:bob', 'user:*', 'group:ops', 'user:bob,10.1.1.1']
    wheres = ['any', '.a', 'b.a', '*.b.a', '10.0.0.0/8', '10.1.1.1', 'any:81', 'https://.a', '.a:80', '@list', 'one.example']
    options = ['', '', '', ' mon-fri', ' 08:00-12:00', ' until 2020-01-01']
    moments = [time.mktime(datetime.datetime(2026, 11, day, hour).timetuple()) for day, hour in ((22, 9), (24, 13))]
    asked = [rules.Question(unmap(parse_ip(client)), user, frozenset(groups), method, host, port)
             for client, user, groups in (('10.1.1.1', None, ()), ('10.9.1.1', b'bob', ()), ('8.8.8.8', b'x', (b'ops',)))
             for method, port in ((b'GET', 80), (b'get', 80), (b'CONNECT', 443), (b'GET', 81))
             for host in (b'a', b'b.a', b'c.b.a', b'one.example', b'z')]
    for _ in range(60):
        ruled = parsed(*['%s %s %s%s%s' % (dice.choice(['allow', 'deny']), dice.choice(whos), dice.choice(
            ['', '', 'GET ']), dice.choice(wheres), dice.choice(options)) for _ in range(8)])
        sources = set(text.split(': ')[0] for text in shadows.find(ruled))
        reported += len(sources)
        found = ruleset.Ruleset(ruled)
        deciding = set(decision.rule.source for decision in (
            found.decide(question, address, now) for question in asked for now in moments
            for address in ('10.1.1.1', '10.2.0.1', '8.8.8.8', '64:ff9b::10.1.1.1', '2001:0:a01:101::f5fe:fefe')
        ) if decision.rule)
        assert not sources & deciding, [rule.text for rule in ruled]
    assert reported > 50


@pytest.mark.parametrize('lines, reported', [
    (['allow 10.%d.%d.1 any' % (number // 250, number % 250) for number in range(5000)], 0),
    (['allow any h%d.example' % number for number in range(5000)] + ['deny any h7.example'], 1),
])
def test_thousands_of_rules_take_few_comparisons(lines, reported, monkeypatch):
    looks, covers = [], shadows._covers
    monkeypatch.setattr(shadows, '_covers', lambda *those: looks.append(1) or covers(*those))
    assert len(shadows.find(parsed(*lines))) == reported
    assert len(looks) < 10


def test_thousands_of_similar_rules_are_compared_only_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(shadows, 'MOST_COMPARISONS', 3000)
    lines = ['allow any .example:80'] * 2 + ['allow any .example:%d' % port for port in range(1000, 3000)]
    assert len(shadows.find(parsed(*lines))) == 1


def test_check_reports_it_and_still_calls_the_file_fine(tmpdir, capsys):
    path = str(tmpdir.join('p.ini'))
    with open(path, 'w') as opened:
        opened.write('[access]\nrules =\n    allow any any\n    deny any .bad.example   # SEC-1\n')
    assert cli.main(['--check', path]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [path + ': fine', 'p.ini:4: deny any .bad.example (SEC-1) can never decide, because an '
                                'earlier rule matches all of its requests: p.ini:3: allow any any']
    assert err == ''


# --- rows of [upstream] routes

def routed(*lines):
    """Return the Rows of these lines; the first one is p.ini:1."""
    return [route_lines.parse(ini.Line('p.ini', number, 'p.ini:%d' % number, text, ''), NAMES.get)
            for number, text in enumerate(lines, 1)]


@pytest.mark.parametrize('first, second, reported', [
    ('any direct', '.a.example http://p:1', True),
    ('any direct', '10.0.0.0/8 http://p:1', True),
    ('.a.example direct', 'any http://p:1', False),
    ('.a.example direct', 'www.a.example http://p:1', True),
    ('.a.example .b.example direct', 'b.example a.a.example http://p:1', True),
    ('.a.example direct', 'a.example b.example http://p:1', False),
    ('*.a.example direct', 'a.example http://p:1', False),
    ('10.0.0.0/8 direct', '10.1.0.0/16 http://p:1', True),
    ('10.1.0.0/16 direct', '10.0.0.0/8 http://p:1', False),
    ('.example direct', '10.0.0.0/8 http://p:1', False),
    ('https://any direct', '.a.example http://p:1', False),
    ('https://any direct', 'https://.a.example http://p:1', True),
    ('any direct', 'https://any http://p:1', True),
    ('http://.a.example direct', 'http://*.a.example:80 http://p:1', True),
    ('any:443 direct', '.a.example http://p:1', False),
    ('any:443 direct', '.a.example:443 http://p:1', True),
    ('@list direct', 'one.example www.two.example http://p:1', True),
    ('@list direct', '@list http://p:1', True),
    ('one.example direct', '@list http://p:1', False),
    ('@empty direct', 'any http://p:1', False),
])
def test_a_row_behind_a_wider_one_is_reported(first, second, reported):
    found = shadows.find_rows(routed(first, second))
    assert found == (['p.ini:2: %s can never be used, because an earlier row takes all of its requests: p.ini:1: %s' % (
        second, first)] if reported else [])


def test_several_earlier_rows_are_named():
    found = shadows.find_rows(routed('.a direct', '.b http://p:1', '.c direct', 'x.a x.b http://q:1'))
    assert found == ['p.ini:4: x.a x.b http://q:1 can never be used, because earlier rows take all of its requests: '
                     'p.ini:1: .a direct and p.ini:2: .b http://p:1']


def test_many_rows_and_long_lists_take_no_longer_than_a_few_seconds():
    many = routed(*['h%d.example direct' % number for number in range(1000)])
    long_list = frozenset([b'h%d.example' % number for number in range(100000)])
    where = many[0].wheres[0]._replace(names=long_list)
    began = time.time()
    assert shadows.find_rows(many + [many[0]._replace(wheres=(where,))] + many) == []
    assert time.time() - began < 20
