"""Reads the text of a rule in the ini file. Looks nothing up.

    allow|deny WHO [METHODS] WHERE [OPTIONS]

WHO and WHERE are lists, separated by commas. For OPTIONS see rule_options.
"""
from __future__ import absolute_import, division, print_function

import re
import unicodedata

from geproxy import compat, wording
from geproxy.net import address
from geproxy.policy.rules import EVERYBODY, Rule, Where, Who
from geproxy.settings import ini, option_types, rule_options

_METHODS = frozenset('''
    GET HEAD POST PUT DELETE PATCH OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT SEARCH
    PURGE
'''.split())
_set_value = re.compile(r'(\sset\s+[^\s=]+=)\S+')
# Letters that IDNA of 2003 and of 2008 read differently (UTS 46, 7): sharp s (small and capital), final sigma, joiners.
_DEVIATIONS = frozenset(b'\xc3\x9f\xe1\xba\x9e\xcf\x82\xe2\x80\x8c\xe2\x80\x8d'.decode('utf-8'))
_SHARP_S = b'\xe1\xba\x9e'.decode('utf-8'), b'\xc3\x9f'.decode('utf-8')       # the capital one, the usual one
_DOTS = b'[.\xe3\x80\x82\xef\xbc\x8e\xef\xbd\xa1]'.decode('utf-8')         # all dots of IDNA (RFC 3490, 3.1)
_secret_part = re.compile(r'(?<==).+|[^/]+(?=@.)')
_HOST = re.compile(r'(?:\.|\*\.)?[0-9a-z_~-][0-9a-z._~-]{0,253}\Z')
_PORTS = re.compile(r'[0-9]{1,5}(?:-[0-9]{1,5})?\Z')


def parse(line, read_names):
    """Return the Rule in a line.

    `line`: an ini.Line; `read_names`: a function of a path, as the line has it, that returns the frozenset of
    rules.host_keys in that file. Raises ValueError, whose message has no secrets of the line.
    """
    try:
        return _parse(line, read_names)
    except ValueError as error:
        raise ValueError(_without_secrets(str(error), line.text))


def _parse(line, read_names):
    words = line.text.split()
    if words[0] not in ('allow', 'deny'):
        raise ValueError("invalid rule: expected allow or deny at its beginning, found '%s'%s" % (
            words[0] if words[0].isalpha() else '***', wording.did_you_mean(words[0], ('allow', 'deny'))))
    methods = None
    if len(words) > 2 and _METHODS.issuperset(words[2].split(',')):
        methods = frozenset(compat.to_octets(word) for word in words.pop(2).split(','))
    if len(words) < 3:
        raise ValueError(
            "invalid rule '%s': expected allow or deny, WHO and WHERE (allow any .debian.org)" % line.text)
    options = rule_options.parse(words[3:])
    if words[0] == 'deny':
        rule_options.check_denies(options)
    wheres = parse_wheres(words[2], read_names)
    return Rule(words[0] == 'allow', _parse_who(words[1]), methods, wheres, options, line.source,
                mask(line.text), line.comment)


def mask(text):
    """Return the text of a rule for people: on one line, and without the values of `set`, which may be secrets."""
    return _set_value.sub(r'\1***', ' '.join(text.split()))


def _without_secrets(message, text):
    """Return the message about the rule `text`, without quoted words that may be secrets.

    That is the value of a field, a part of such a value if it has blanks, or a password.
    """
    after_set = ' '.join(text.split()).partition(' set ')[2]

    def masked(match):
        quoted = match.group(1)
        if quoted and quoted in after_set and '=' not in quoted:
            return "'***'"
        return "'%s'" % _secret_part.sub('***', quoted)
    # If the rule itself has a quotation mark, the end of a quoted word cannot be found: mask up to the last mark.
    return re.sub("'(.*)'" if "'" in text else "'([^']*)'", masked, message)


# --- who and where

def _parse_who(text):
    if text == 'any':
        return EVERYBODY
    if text in ('all', '*'):
        raise ValueError("invalid client '%s': did you mean any?" % text)
    networks, users, groups = [], [], []
    for word in text.split(','):
        kind, colon, name = word.partition(':')
        if colon and kind in ('user', 'group') and name:
            (users if kind == 'user' else groups).append(ini.octets_of(name))
        else:
            networks.extend(option_types.networks(word, ', user:NAME, group:NAME'))
    return Who(tuple(networks), frozenset(users), frozenset(groups))


def parse_wheres(text, read_names):
    """Return destinations as a tuple of rules.Where.

    `text`: the destinations, separated by commas; `read_names`: as for `parse`. Raises ValueError.
    """
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
        raise ValueError("invalid scheme in '%s': expected http:// or https://" % word)
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
    """Return (host, Ports or None) of ``host:80``, ``[::1]:80-90``, ``::1`` or ``host``."""
    if text[:1] == '[':
        host, _bracket, ports = text[1:].partition(']')
        if ports and not re.match(r':([0-9]{1,5}(-[0-9]{1,5})?|any)\Z', ports) or ':' not in host:
            raise ValueError("invalid address '%s': expected [IPv6 address] or [IPv6 address]:PORT" % text)
        return host, option_types.ports(ports[1:]) if ports else None
    host, colon, ports = text.rpartition(':')
    if not colon or ':' in host:
        return text, None
    if not _PORTS.match(ports) and ports != 'any':
        raise ValueError(option_types.invalid_port(ports))
    return host, option_types.ports(ports)


def parse_name(text):
    """Return a host name in a rule as octets, in the form of rules.host_keys.

    `text`: ``host``, ``.suffix`` (that name and all names below it) or ``*.suffix`` (only the names below it). An
    international name is returned in its form on the wire (xn--). Raises ValueError.
    """
    lead, name = ('*.', text[2:]) if text[:2] == '*.' else ('.', text[1:]) if text[:1] == '.' else ('', text)
    if '\\x' in name:
        name = _on_the_wire(name)
    name = lead + name.lower().rstrip('.')
    if not _HOST.match(name) or '..' in name:
        raise ValueError("invalid host '%s': expected a name, .name (and all names below it), *.name (only the names "
                         'below it), an address, a network, @FILE, or any' % text)
    return compat.to_octets(name)


def _on_the_wire(name):
    """Return the form that an international name has on the wire (xn--). `name`: native text, with octets as \\xNN.

    Python knows IDNA of 2003 (RFC 3490). It writes ss for a sharp s, a usual sigma for a final one, and drops joiners.
    Browsers keep all of these, so they ask for another name (RFC 5891; UTS 46, section 7). Raises ValueError for such
    names, and for what is no name.
    """
    try:
        letters = ini.octets_of(name).decode('utf-8')
        old = compat.to_native(letters.replace(*_SHARP_S).encode('idna'))       # 3.14 keeps the capital one
    except UnicodeError:
        raise ValueError("invalid host name '%s': expected letters that host names may have, in UTF-8" % name)
    if not _DEVIATIONS.intersection(letters):
        return old
    new = '.'.join(_label_on_the_wire(label) for label in re.split(_DOTS, letters))
    raise ValueError("ambiguous host '%s': browsers ask for '%s', older programs for '%s'; write the one you mean, or "
                     'both' % (name, new, old))


def _label_on_the_wire(label):
    # Letter by letter: lower() of a whole Greek word would make a final sigma that the rule does not have.
    label = ''.join(letter.lower() for letter in unicodedata.normalize('NFKC', label))
    try:
        return compat.to_native(label.encode('ascii'))
    except UnicodeError:
        return compat.to_native(b'xn--' + label.encode('punycode'))
