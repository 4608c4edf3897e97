"""One rule: whether it matches a request, and how it is shown."""
from __future__ import absolute_import, division, print_function

import datetime

import pytest

from geproxy.net.address import parse_ip
from geproxy.policy import rules
from geproxy.settings import ini, rule_lines

NOON = datetime.datetime(2026, 11, 24, 12, 0)           # a Tuesday


def rule(text, comment='', names=frozenset()):
    """Return the Rule of one line; a list of names holds `names`."""
    return rule_lines.parse(ini.Line('/etc/geproxy/proxy.ini', 7, 'proxy.ini:7', text, comment), lambda path: names)


def question(client='10.0.0.5', user=None, groups=(), method=b'GET', host=b'www.a.example', port=80):
    """Return a Question."""
    return rules.Question(parse_ip(client), user, frozenset(groups), method, host, port)


def why_not(text, moment=NOON, **asked):
    """Return why the first Where of a rule does not match, or ''."""
    found = rule(text)
    return rules.mismatch(found, found.wheres[0], question(**asked), moment)


@pytest.mark.parametrize('text, asked, missed', [
    ('allow any any', {}, ''),
    ('allow 10.0.0.0/8 any', {}, ''),
    ('allow 10.0.0.6 any', {}, 'client'),
    ('allow loopback,10.0.0.5 any', {}, ''),
    ('allow user:bob any', {}, 'client'),
    ('allow user:bob any', {'user': b'bob'}, ''),
    ('allow user:bob any', {'user': b'Bob'}, 'client'),
    ('allow user:* any', {'user': b'eve'}, ''),
    ('allow user:* any', {}, 'client'),
    ('allow group:ops any', {'user': b'eve', 'groups': [b'ops']}, ''),
    ('allow group:ops any', {'user': b'eve'}, 'client'),
    ('allow user:j\\xc3\\xb6rg any', {'user': b'j\xc3\xb6rg'}, ''),
    ('allow any GET,HEAD any', {}, ''),
    ('allow any HEAD any', {}, 'method'),
    ('allow any CONNECT any', {'method': b'CONNECT'}, ''),
    ('deny any PUT any', {'method': b'put'}, ''),       # some origins ignore the case
    ('allow any PUT any', {'method': b'put'}, 'method'),
    ('allow any http://any', {'method': b'CONNECT'}, 'scheme'),
    ('allow any https://any', {'method': b'CONNECT'}, ''),
    ('allow any https://any', {}, 'scheme'),
    ('allow any any:80', {}, ''),
    ('allow any any:81', {}, 'port'),
    ('allow any any:81,79-80', {}, ''),
    ('allow any any tue', {}, ''),
    ('allow any any mon,wed', {}, 'time'),
    ('allow any any 11:59-12:01', {}, ''),
    ('allow any any 12:00-12:01', {}, ''),
    ('allow any any 11:00-12:00', {}, 'time'),
    ('deny any any until 2026-11-24', {}, ''),
    ('deny any any until 2026-11-23', {}, 'expired'),
    ('allow any any until 2026-11-23', {}, ''),         # it decides: it refuses
])
def test_a_rule_matches_or_names_the_part_that_does_not(text, asked, missed):
    assert why_not(text, **asked) == missed


@pytest.mark.parametrize('day, hour, missed', [(23, 23, ''), (24, 5, ''), (24, 6, 'time'), (24, 23, 'time'), (23, 5, 'time'),
                                               (23, 22, ''), (23, 21, 'time')])
def test_hours_over_midnight_belong_to_the_day_on_which_they_begin(day, hour, missed):
    assert why_not('allow any any mon 22:00-06:00', datetime.datetime(2026, 11, day, hour)) == missed


@pytest.mark.parametrize('host, keys', [
    (b'a', [b'a', b'.a']),
    (b'a.b.c', [b'a.b.c', b'.a.b.c', b'.b.c', b'*.b.c', b'.c', b'*.c']),
    (b'10.0.0.1', [b'10.0.0.1', b'.10.0.0.1', b'.0.0.1', b'*.0.0.1', b'.0.1', b'*.0.1', b'.1', b'*.1']),
])
def test_the_keys_of_a_host_are_all_names_that_mean_it(host, keys):
    assert rules.host_keys(host) == keys


def test_a_rule_is_shown_with_its_source_and_its_comment():
    assert rules.show(rule('deny   any  .a.example', 'CHG-12: malware')) == (
        'proxy.ini:7: deny any .a.example (CHG-12: malware)')
    assert rules.show(rule('deny any any')) == 'proxy.ini:7: deny any any'
