"""The options that may follow WHERE in a rule: the table that declares each of them once. Looks nothing up.

From it come how a rule is read, the message about an unknown option, and the list of rule options in the manual. To
add one, add a row here and the code that does what the option asks for: a condition in policy.rules.mismatch (and in
policy.shadows), a treatment in exchange.wiring.
"""
from __future__ import absolute_import, division, print_function

import collections
import datetime
import re

from geproxy import compat
from geproxy.http1 import grammar
from geproxy.policy.rules import ALL_DAYS
from geproxy.settings import ini, option_types

# `name`: of its field in Options; `syntax`: KEYWORD VALUE, or one word for an option without keyword; `default`: the
# value in a rule without this option; `allow_only`: a deny rule cannot have it; `is_meant`: for an option without a
# keyword, a function that tells whether a word is this option, else None; `read`: a function of (text, value so far)
# that returns the value, or raises ValueError; `sentence`: for people.
RuleOption = collections.namedtuple(
    'RuleOption', 'name syntax example default allow_only is_meant read sentence')

_DAYS = 'mon tue wed thu fri sat sun'.split()
_HOURS = re.compile(r'([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])\Z')
_DATE = re.compile(r'([0-9]{4})-([0-9]{2})-([0-9]{2})\Z')
# Fields that the proxy itself writes or removes.
_FIXED = frozenset(['host', 'via', 'connection', 'content-length', 'transfer-encoding', 'te', 'upgrade', 'trailer',
                    'proxy-connection', 'keep-alive', 'proxy-authorization', 'expect', 'max-forwards'])


def _read_date(text, _before):
    match = _DATE.match(text)
    try:
        return datetime.date(*[int(number) for number in match.groups()])
    except (AttributeError, ValueError):
        raise ValueError("invalid date '%s': expected until and a day (until 2027-03-31)" % text)


def _are_days(word):
    return all(day in _DAYS for part in word.lower().split(',') for day in part.split('-', 1))


def _read_days(text, _before):
    """Return the days of ``mon-fri,sun`` as a frozenset of numbers; Monday is 0. A range may go over Sunday."""
    days = set()
    for word in text.lower().split(','):
        first, dash, last = word.partition('-')
        at = _DAYS.index(first)
        days.add(at)
        while dash and _DAYS[at] != last:
            at = (at + 1) % 7
            days.add(at)
    return frozenset(days)


def _read_hours(text, _before):
    """Return (first, last) minute of the day."""
    numbers = [int(number) for number in _HOURS.match(text).groups()]
    first, last = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if first == last or last > 24 * 60:
        raise ValueError("invalid hours '%s': expected two different times, at most 24:00 (07:00-19:00)" % text)
    return first, last


def _read_rate(text, _before):
    return option_types.size(text)


def _read_strip(text, before):
    return before.union(_read_field(name).lower() for name in text.split(','))


def _read_set(text, before):
    name, equals, value = text.partition('=')
    if not equals:
        raise ValueError('invalid option set: expected set FIELD=VALUE, without blanks')
    field, octets = _read_field(name), ini.octets_of(value)
    if grammar.find_control(octets):
        raise ValueError('invalid option set: the value of the field has a control character')
    return before + ((field, octets),)


def _read_field(name):
    octets = compat.to_octets(name)
    if not grammar.is_token(octets):
        raise ValueError("invalid field name '%s': expected letters, digits and - (X-Env)" % name)
    # Programs behind CGI read Content_Length as Content-Length, and so does `strip`: see policy.forwarded.
    if name.lower().replace('_', '-') in _FIXED:
        raise ValueError('a rule cannot set or strip the field %s: the proxy itself writes or removes it' % name)
    return octets


RULE_OPTIONS = [RuleOption(*row) for row in (
    ('until', 'until DATE', 'until 2027-03-31', None, False, None, _read_date,
     'The last day on which the rule holds. After that day, an allow rule refuses and says so, and a deny rule is '
     'skipped. The log warns of this from 14 days before.'),
    ('days', 'DAYS', 'mon-fri,sun', ALL_DAYS, False, _are_days, _read_days,
     'The days of the week on which the rule holds.'),
    ('hours', 'HH:MM-HH:MM', '07:00-19:00', None, False, _HOURS.match, _read_hours,
     'The time of day at which the rule holds, in the time zone of the host. 22:00-06:00 goes over midnight: the hours '
     'after midnight belong to the day before.'),
    ('rate', 'rate SIZE', 'rate 1m', None, True, None, _read_rate,
     'Octets per second and direction, for all requests together that the rule allows.'),
    ('strip', 'strip FIELDS', 'strip Cookie,Referer', frozenset(), True, None, _read_strip,
     'Fields that are removed from the request.'),
    ('fields', 'set FIELD=VALUE', 'set X-Env=test', (), True, None, _read_set,
     'A field that the request gets; it replaces fields of that name. The value is shown nowhere, because it may be a '
     'secret.'),
)]

# A field for each row.
Options = collections.namedtuple('Options', [option.name for option in RULE_OPTIONS])
# Shared by all rules without options: 10,000 rules would have 10,000 of them.
NO_OPTIONS = Options(*[option.default for option in RULE_OPTIONS])

_BY_KEYWORD = dict((option.syntax.split()[0], option) for option in RULE_OPTIONS if option.is_meant is None)
_ALONE = [option for option in RULE_OPTIONS if option.is_meant is not None]


def parse(words):
    """Return the Options that follow WHERE in a rule.

    `words`: a list of native text. Raises ValueError.
    """
    words, values = list(words), {}
    while words:
        word = words.pop(0)
        if word in _BY_KEYWORD:
            option, text = _BY_KEYWORD[word], words.pop(0) if words else ''
        else:
            option, text = next((each for each in _ALONE if each.is_meant(word)), None), word
        if option is None:
            raise ValueError("unknown rule option '%s': expected %s" % (
                word, ', '.join(each.syntax if each.is_meant is None else each.example for each in RULE_OPTIONS)))
        values[option.name] = option.read(text, values.get(option.name, option.default))
    return NO_OPTIONS._replace(**values) if values else NO_OPTIONS


def check_denies(options):
    """Raise ValueError if `options`, the Options of a deny rule, has one that only an allow rule can have."""
    wrong = [each.syntax.split()[0] for each in RULE_OPTIONS
             if each.allow_only and getattr(options, each.name) != each.default]
    if wrong:
        raise ValueError('a deny rule cannot have %s: only an allow rule can' % ' and '.join(wrong))
