"""Reads [upstream] routes: which requests go directly, and which through a parent. Looks up no name.

    DESTINATIONS...  ROUTE, ROUTE, ...  [resolve=here] [source=ADDRESS[,ADDRESS]]

A destination is written as in a rule. A ROUTE is `direct` or the URL of a parent. The first one ends the destinations.
So of the destinations with a scheme, only http://any, http://.name, http://*.name and the same with https:// are
possible: any other could be a parent.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import compat, errors, wording
from geproxy.http1 import grammar
from geproxy.policy.routes import Parent, Route, Row
from geproxy.settings import rule_lines
from geproxy.settings.option_types import local_addresses
from geproxy.settings.rule_files import LineErrors, NameLists

# {scheme of a parent: its usual port}. There is none for http and https: 3128, 8080 and 80 are all usual, and a wrong
# guess would show as a parent that is down.
SCHEMES = {'http': None, 'https': None, 'socks5': 1080, 'socks5h': 1080, 'socks4a': 1080}
ALL = ('all', 'default', '*')       # how other programs write any
MOST = 8                # routes of a row: each may take its whole time
_ADVICE = {
    'socks4': ': SOCKS 4 cannot ask for names, write socks4a://',
    'socks': ': write socks5:// (names are looked up here) or socks5h:// (the parent looks them up)',
}
_is_route = re.compile(r'direct,?\Z|(?!https?://(?:any(?:[:/,]|\Z)|\*?\.)).*://').match
_is_option = re.compile(r'[a-z]+=').match
_find_blank = re.compile(r'\s(resolve|source)(?:\s+=|=\s)').search
_login = re.compile(r'[^\s/,]+@')
# A user and password, which may have blanks and commas. The @ of a destination @FILE has a blank or a comma before it.
_find_login = re.compile(r'//.*[^\s,]@|(?:\A|[\s,])[^\s,@]+@').search
_LOGIN_ELSEWHERE = ('user and password do not belong here, where others may read them: put them into the file of '
                    '[upstream] parents')


def route_list(entry):
    """Return the routes.Rows of an ini.Entry as a tuple, one in each line, such as: any http://proxy.corp:3128, direct.

    `entry`: it may also be native text, the default, which has no rows. Raises LineErrors.
    """
    found, wrong, lists = [], [], NameLists()
    for line in () if isinstance(entry, str) else entry.lines:
        if line.text:
            try:
                found.append(parse(line, lists.of(line)))
            except ValueError as error:
                wrong.append((line, _without_login(str(error), line)))
    if wrong:
        raise LineErrors(wrong)
    return tuple(found)


def _without_login(message, line):
    """Return the message about a row, an ini.Line, without what may be a part of a password."""
    if '//' in line.text and _login.search(line.comment):       # a blank and # in a password begin a comment
        return 'this is no valid row, and the @ in its comment may be that of a log-in: ' + _LOGIN_ELSEWHERE
    return _LOGIN_ELSEWHERE if _login.search(line.text) else _login.sub('***@', message)


def parse(line, read_names):
    """Return the routes.Row in a line. Raises ValueError.

    `line`: an ini.Line; `read_names`: as for rule_lines.parse.
    """
    if _find_login(line.text):
        raise ValueError(_LOGIN_ELSEWHERE)
    words = line.text.split()
    start = _find_start(line.text, words)
    blank = _find_blank(line.text)
    if blank:
        raise ValueError('a blank beside the = of %s: write %s=VALUE without blanks' % (blank.group(1), blank.group(1)))
    wheres = [where for word in words[:start] if word.strip(',')
              for where in rule_lines.parse_wheres(word.strip(','), read_names)]
    options = _read_options([word for word in words[start:] if _is_option(word)])
    routes = _split_routes(' '.join(word for word in words[start:] if not _is_option(word)))
    sources = options.get('source', ())
    return Row(tuple(wheres), tuple(Route((parent,) if parent else (), sources) for parent in routes),
               'resolve' in options, line.source, mask(line.text))


def _find_start(text, words):
    """Return the index of the first route in `words`, those of a row. Raises ValueError."""
    start = next((at for at, word in enumerate(words) if _is_route(word)), len(words))
    for part in (part for word in words[:start] for part in word.split(',')):
        host = part.rpartition('://')[2].partition(':')[0]
        if host.lower() in ALL:
            raise ValueError("'%s' would be the name of a host: for all hosts, write any" % host)
    if start == len(words):
        if 'environment' in words:
            raise ValueError("'%s': the word environment stands alone in its row" % text)
        meant = wording.did_you_mean(words[-1].lower(), ['direct'] if start > 1 else ['direct', 'environment'])
        raise ValueError("no route in '%s': expected destinations, and then direct or the URL of a parent (any "
                         'http://proxy.corp:3128)%s' % (text, meant))
    if not start:
        raise ValueError("no destination before '%s': expected names, networks or any (any %s)" % (
            words[0], words[0].rstrip(',')))
    return start


def mask(text):
    """Return `text`, a row of routes, for people: on one line, and without what may be a password in a URL."""
    return _login.sub('***@', ' '.join(text.split()))


# --- routes

def _split_routes(text):
    """Return the routes of ``ROUTE, ROUTE`` as a list: each is a Parent, or None for `direct`."""
    words = [word.strip() for word in text.split(',')]
    for word in words:
        if not word:
            raise ValueError("a comma too many in '%s': expected one comma between two routes" % text)
        if len(word.split()) > 1:
            raise ValueError("'%s': expected a comma between two routes" % word)
    found = [None if word == 'direct' else parse_parent(word) for word in words]
    twice = [word for at, word in enumerate(words) if found[at] in found[:at]]
    if twice:
        raise ValueError("'%s' is listed twice in one row" % twice[0])
    if len(found) > MOST:
        raise ValueError('%d routes: expected at most %d in a row, because each of them may take its whole time' % (
            len(found), MOST))
    return found


def parse_parent(text):
    """Return the routes.Parent of a URL, without login and context.

    `text`: such as http://proxy.corp:3128 or socks5h://[2001:db8::1]. Raises ValueError; its message has no password.
    """
    scheme, _separator, rest = text.partition('://')
    if not _separator:
        raise ValueError("invalid route '%s': expected direct, or the URL of a parent (http://proxy.corp:3128)%s" % (
            text, wording.did_you_mean(text.lower(), ['direct'])))
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise ValueError("unknown scheme '%s' of a parent: expected %s%s" % (
            scheme, ', '.join(sorted(SCHEMES)), _ADVICE.get(scheme) or wording.did_you_mean(scheme, SCHEMES)))
    if '@' in rest:
        raise ValueError(_LOGIN_ELSEWHERE)
    place = rest[:-1] if rest[-1:] == '/' else rest
    if re.search('[/?#]', place):
        raise ValueError("'%s' has a path: expected no more than SCHEME://HOST:PORT for a parent" % text)
    host, port = _host_and_port(text, place)
    port = port or SCHEMES[scheme]
    if port is None:
        raise ValueError("'%s' names no port: write it, such as %s:3128" % (text, text.rstrip('/')))
    return Parent(compat.to_octets(scheme), host, port, None, None)


def _host_and_port(text, place):
    """Return (host as octets, port or None) of ``host:port``. `text`: the whole URL, for messages."""
    if '\\x' in place:                      # an international name
        name, colon, port = place.partition(':')
        place = compat.to_native(rule_lines.parse_name(name)) + colon + port
    try:
        authority = grammar.parse_authority(compat.to_octets(place))
    except errors.BadRequest as error:
        hint = ': write an IPv6 address in brackets' if place.count(':') > 1 and '[' not in place else ''
        raise ValueError("invalid host or port in '%s': %s%s" % (text, error, hint))
    return authority.host, authority.port


# --- options of a row

def _read_options(words):
    found = {}
    for word in words:
        name, _equals, value = word.partition('=')
        if name not in _OPTIONS:
            raise ValueError("unknown option '%s' of a route: expected resolve=here or source=ADDRESS%s" % (
                name, wording.did_you_mean(name, _OPTIONS)))
        if name in found:
            raise ValueError('%s= is set twice in one row' % name)
        found[name] = _OPTIONS[name](value)
    return found


def _read_resolve(value):
    if value != 'here':
        raise ValueError("invalid value 'resolve=%s': expected resolve=here%s" % (
            value, wording.did_you_mean(value, ['here'])))
    return True


def read_sources(text):
    """Return local addresses to connect from, as a tuple of native texts, at most one of each IP version.

    `text`: the addresses, separated by commas or blanks. Raises ValueError.
    """
    found = local_addresses(text)
    if not found:
        raise ValueError("invalid source '': expected one address, or one of IPv4 and one of IPv6")
    return found


_OPTIONS = {'resolve': _read_resolve, 'source': read_sources}
