"""The text of a rule, as it stands in the ini file, made into a Rule. Looks nothing up.

    allow|deny WHO [METHODS] WHERE [until DATE] [DAYS] [HH:MM-HH:MM] [rate SIZE] [strip FIELDS] [set FIELD=VALUE]

WHO and WHERE are lists, separated by commas.
"""
from __future__ import absolute_import, division, print_function

import datetime
import re
import unicodedata

from geproxy import compat, wording
from geproxy.http1 import grammar
from geproxy.net import address
from geproxy.policy.rules import ALL_DAYS, EVERYBODY, NO_OPTIONS, Options, Rule, Where, Who
from geproxy.settings import ini, option_types

_DAYS = frozenset(range(7))
_DAYS = 'mon tue wed thu fri sat sun'.split()
_METHODS = frozenset('''
    GET HEAD POST PUT DELETE PATCH OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH
    PURGE
'''.split())
_set_value = re.compile(r'(\sset\s+[^\s=]+=)\S+')
# What IDNA of 2003 and of 2008 read differently (UTS 46, 7): sharp s (the capital one, too), final sigma, joiners.
_DEVIATIONS = frozenset(b'\xc3\x9f\xe1\xba\x9e\xcf\x82\xe2\x80\x8c\xe2\x80\x8d'.decode('utf-8'))
_SHARP_S = b'\xe1\xba\x9e'.decode('utf-8'), b'\xc3\x9f'.decode('utf-8')       # the capital one, the usual one
_DOTS = b'[.\xe3\x80\x82\xef\xbc\x8e\xef\xbd\xa1]'.decode('utf-8')         # all that are one (RFC 3490, 3.1)
_secret_part = re.compile(r'(?<==).+|[^/]+(?=@.)')
_HOST = re.compile(r'(?:\.|\*\.)?[0-9a-z_~-][0-9a-z._~-]{0,253}\Z')
_PORTS = re.compile(r'[0-9]{1,5}(?:-[0-9]{1,5})?\Z')
_HOURS = re.compile(r'([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])\Z')
_DATE = re.compile(r'([0-9]{4})-([0-9]{2})-([0-9]{2})\Z')
# What the proxy settles by itself: a rule may neither take it away nor make it up.
_FIXED = frozenset(['host', 'via', 'connection', 'content-length', 'transfer-encoding', 'te', 'upgrade', 'trailer',
                    'proxy-connection', 'keep-alive', 'proxy-authorization', 'expect', 'max-forwards'])


def parse(line, read_names):
    """An ini.Line -> Rule. Raises ValueError with what is wrong.

    `read_names`: a function of (path, as the line has it) that returns the frozenset of host_keys in that file.
    """
    try:
        return _parse(line, read_names)
    except ValueError as error:
        raise ValueError(_without_secrets(str(error), line.text))


def _parse(line, read_names):
    words = line.text.split()
    if words[0] not in ('allow', 'deny'):
        raise ValueError("a rule begins with allow or deny, not '%s'%s" % (
            words[0] if words[0].isalpha() else '***', wording.did_you_mean(words[0], ('allow', 'deny'))))
    methods = None
    if len(words) > 2 and _METHODS.issuperset(words[2].split(',')):
        methods = frozenset(compat.to_octets(word) for word in words.pop(2).split(','))
    if len(words) < 3:
        raise ValueError(
            "'%s' is no rule: it takes allow or deny, WHO and WHERE, as in allow any .debian.org" % line.text)
    options = _parse_options(words[3:])
    if words[0] == 'deny' and (options.rate or options.strip or options.fields):
        raise ValueError('what is denied has neither rate, strip nor set')
    wheres = _parse_wheres(words[2], read_names)
    return Rule(words[0] == 'allow', _parse_who(words[1]), methods, wheres, options, line.source,
                mask(line.text), line.comment)


def mask(text):
    """The text of a rule, for people: on one line, and without what it sets, which may be a secret."""
    return _set_value.sub(r'\1***', ' '.join(text.split()))


def _without_secrets(message, text):
    """Return the message about the rule `text`, without words in quotes that may be the value of a field, a piece of
    one that has blanks, or a password."""
    behind = ' '.join(text.split()).partition(' set ')[2]

    def masked(match):
        quoted = match.group(1)
        if quoted and quoted in behind and '=' not in quoted:
            return "'***'"
        return "'%s'" % _secret_part.sub('***', quoted)
    # With a quotation mark in the rule nobody can tell where a word ends.
    return re.sub("'(.*)'" if "'" in text else "'([^']*)'", masked, message)


# --- who and where

def _parse_who(text):
    if text == 'any':
        return EVERYBODY
    networks, users, groups = [], [], []
    for word in text.split(','):
        kind, colon, name = word.partition(':')
        if colon and kind in ('user', 'group') and name:
            (users if kind == 'user' else groups).append(ini.octets_of(name))
        else:
            try:
                networks.extend(option_types.networks(word))
            except ValueError as error:
                raise ValueError('%s, user:NAME or group:NAME' % error)
    return Who(tuple(networks), frozenset(users), frozenset(groups))


def _parse_wheres(text, read_names):
    wheres = []
    for word in text.split(','):
        if wheres and wheres[-1].ports and _PORTS.match(word):      # a:80,443
            ports = option_types.ports('%s %s' % (wheres[-1].ports.text, word))
            wheres[-1] = wheres[-1]._replace(ports=ports)
        else:
            wheres.append(_parse_where(word, read_names))
    return tuple(wheres)


def _parse_where(word, read_names):
    scheme, separator, rest = word.rpartition('://')
    if separator and scheme not in ('http', 'https'):
        raise ValueError("'%s' begins neither with http:// nor with https://" % word)
    tunnel = scheme == 'https' if separator else None
    host, ports = _split_ports(rest.rstrip('/') if separator else rest)
    if host == 'any':
        return Where(tunnel, None, (), ports)
    if host[:1] == '@':
        return Where(tunnel, read_names(host[1:]), (), ports)
    if host in address.PRESETS or ':' in host or re.match(r'[0-9.]+(/|\Z)', host):
        return Where(tunnel, None, option_types.networks(host), ports)
    return Where(tunnel, frozenset([parse_name(host)]), (), ports)


def _split_ports(text):
    """``host:80``, ``[::1]:80-90``, ``::1`` or ``host`` -> (host, Ports or None)"""
    if text[:1] == '[':
        host, _bracket, ports = text[1:].partition(']')
        if ports and not re.match(r':([0-9]{1,5}(-[0-9]{1,5})?|any)\Z', ports) or ':' not in host:
            raise ValueError("'%s' is no [IPv6 address] with a port behind it" % text)
        return host, option_types.ports(ports[1:]) if ports else None
    host, colon, ports = text.rpartition(':')
    if not colon or ':' in host:
        return text, None
    if not _PORTS.match(ports) and ports != 'any':
        raise ValueError("'%s' is no port: it takes 1 to 65535, a range as 8000-8999, or any" % ports)
    return host, option_types.ports(ports)


def parse_name(text):
    """``host``, ``.suffix`` (it and all below) or ``*.suffix`` (what is below) -> octets, as of host_keys; an
    internationalized name is looked for as it travels (xn--). Raises ValueError."""
    lead, name = ('*.', text[2:]) if text[:2] == '*.' else ('.', text[1:]) if text[:1] == '.' else ('', text)
    if '\\x' in name:
        name = _travelling(name)
    name = lead + name.lower().rstrip('.')
    if not _HOST.match(name) or '..' in name:
        raise ValueError("'%s' is no host: it takes a name, .name with all below it, *.name for only that, an address, "
                         'a network, @FILE, or any' % text)
    return compat.to_octets(name)


def _travelling(name):
    """Return an internationalized name, with octets as \\xNN, as it travels (xn--). Raises ValueError.

    Python knows IDNA of 2003 (RFC 3490), which has no sharp s, no final sigma and no joiners: it makes ss and a usual
    sigma of these, and nothing of the joiners. Browsers ask for another name (RFC 5891; UTS 46, section 7)."""
    try:
        letters = ini.octets_of(name).decode('utf-8')
        old = compat.to_native(letters.replace(*_SHARP_S).encode('idna'))       # 3.14 keeps the capital one
    except UnicodeError:
        raise ValueError("'%s' is no host name" % name)
    if not _DEVIATIONS.intersection(letters):
        return old
    new = '.'.join(_travelling_label(label) for label in re.split(_DOTS, letters))
    raise ValueError("'%s' is '%s' for browsers, and '%s' for older programs: write the one that is meant, or both" % (
        name, new, old))


def _travelling_label(label):
    # One by one: as a word, Greek would get a final sigma that nobody wrote.
    label = ''.join(letter.lower() for letter in unicodedata.normalize('NFKC', label))
    try:
        return compat.to_native(label.encode('ascii'))
    except UnicodeError:
        return compat.to_native(b'xn--' + label.encode('punycode'))


# --- options

def _parse_options(words):
    if not words:
        return NO_OPTIONS
    until, days, hours, rate, strip, fields = None, ALL_DAYS, None, None, [], []
    words = list(words)
    while words:
        word = words.pop(0)
        value = words.pop(0) if word in ('until', 'rate', 'strip', 'set') and words else None
        if word == 'until':
            until = _parse_date(value)
        elif word == 'rate':
            rate = option_types.octets(value or '')
        elif word == 'strip':
            strip += [_parse_field(name).lower() for name in (value or '').split(',')]
        elif word == 'set':
            name, equals, text = (value or '').partition('=')
            if not equals:
                raise ValueError('set takes FIELD=VALUE')
            fields.append((_parse_field(name), _parse_value(text)))
        elif _HOURS.match(word):
            hours = _parse_hours(word)
        else:
            days = _parse_days(word)
    return Options(until, days, hours, rate, frozenset(strip), tuple(fields))


def _parse_value(text):
    value = ini.octets_of(text)
    if grammar.find_control(value):
        raise ValueError('what a field is set to has a control character')
    return value


def _parse_field(name):
    octets = compat.to_octets(name)
    if not grammar.is_token(octets):
        raise ValueError("'%s' is no field name" % name)
    if name.lower().replace('_', '-') in _FIXED:         # they are one for CGI, and so for `strip`: see forwarded
        raise ValueError('the field %s is settled by the proxy itself' % name)
    return octets


def _parse_date(text):
    match = _DATE.match(text or '')
    try:
        return datetime.date(*[int(number) for number in match.groups()])
    except (AttributeError, ValueError):
        raise ValueError("'%s' is no day: until takes one as 2027-03-31" % (text or ''))


def _parse_hours(text):
    numbers = [int(number) for number in _HOURS.match(text).groups()]
    first, last = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if first == last or last > 24 * 60:
        raise ValueError("'%s' are no hours, as in 07:00-19:00" % text)
    return first, last


def _parse_days(text):
    days = set()
    for word in text.lower().split(','):
        first, dash, last = word.partition('-')
        last = last if dash else first
        if first not in _DAYS or last not in _DAYS:
            raise ValueError("'%s' is nothing that stands behind WHERE: that is until DATE, days as mon-fri, hours as "
                             '07:00-19:00, rate SIZE, strip FIELDS or set FIELD=VALUE' % text)
        at = _DAYS.index(first)
        days.add(at)
        while _DAYS[at] != last:
            at = (at + 1) % 7
            days.add(at)
    return frozenset(days)
