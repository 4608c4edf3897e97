"""The options of a rule: the table drives how they are read, what is told about them, and what the manual lists."""
from __future__ import absolute_import, division, print_function

import datetime

import pytest

from geproxy.commands import docs
from geproxy.policy.rules import ALL_DAYS
from geproxy.settings import rule_options


@pytest.mark.parametrize('option', rule_options.RULE_OPTIONS, ids=lambda option: option.name)
def test_the_example_of_each_row_sets_its_field_and_no_other(option):
    found = rule_options.parse(option.example.split())
    assert [name for name in found._fields if getattr(found, name) != getattr(rule_options.NO_OPTIONS, name)] == [option.name]


@pytest.mark.parametrize('option', rule_options.RULE_OPTIONS, ids=lambda option: option.name)
def test_the_manual_lists_each_row_with_its_example_and_sentence(option):
    assert '| `%s` | `%s` | %s |\n' % (option.syntax, option.example, option.sentence) in docs.rule_options()
    assert option.sentence[-1] == '.'


def test_an_unknown_option_is_told_all_that_there_are():
    with pytest.raises(ValueError) as raised:
        rule_options.parse(['mon-fri', 'ftp'])
    assert str(raised.value).startswith("unknown rule option 'ftp': expected until DATE, mon-fri,sun, 07:00-19:00, rate SIZE")
    for option in rule_options.RULE_OPTIONS:
        assert option.syntax in str(raised.value) or option.example in str(raised.value)


@pytest.mark.parametrize('option', rule_options.RULE_OPTIONS, ids=lambda option: option.name)
def test_a_deny_rule_has_conditions_and_no_treatment(option):
    options = rule_options.parse(option.example.split())
    if option.allow_only:
        with pytest.raises(ValueError) as raised:
            rule_options.check_denies(options)
        assert str(raised.value) == 'a deny rule cannot have %s: only an allow rule can' % option.syntax.split()[0]
    else:
        rule_options.check_denies(options)


def test_an_option_that_comes_twice_adds_fields_and_else_the_last_one_counts():
    found = rule_options.parse('strip A strip B,C set D=1 set D=2 until 2026-01-01 until 2027-01-01'.split())
    assert (found.strip, found.fields) == ({b'a', b'b', b'c'}, ((b'D', b'1'), (b'D', b'2')))
    assert found.until == datetime.date(2027, 1, 1)


def test_rules_without_options_share_one_object():
    assert rule_options.parse([]) is rule_options.NO_OPTIONS
    # policy.rules looks no further at a rule that has this very object.
    assert rule_options.parse(['rate', '1m']).days is ALL_DAYS


@pytest.mark.parametrize('text, days', [
    ('mon', {0}), ('MON', {0}), ('mon-fri', {0, 1, 2, 3, 4}), ('sat-mon', {5, 6, 0}), ('mon,wed-thu,sun', {0, 2, 3, 6}),
    ('mon-sun', set(range(7))), ('fri-fri', {4}),
])
def test_days_are_names_and_ranges_that_may_go_over_sunday(text, days):
    assert rule_options.parse([text]).days == days


@pytest.mark.parametrize('text', ['mon-', '-mon', 'mon-tue-wed', 'mon,', ',', 'monday', 'mon-xyz', '07:00', '25:00-26:00', ''])
def test_a_word_that_is_neither_days_nor_hours_is_no_option(text):
    with pytest.raises(ValueError) as raised:
        rule_options.parse([text])
    assert str(raised.value).startswith("unknown rule option '%s'" % text)
