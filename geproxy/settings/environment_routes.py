"""Turns http_proxy, https_proxy, all_proxy and no_proxy into lines of [upstream] routes. Opens and looks up nothing.

Programs disagree about these variables (curl, Go, Python, Java). Where they do, what can be understood in one way only
is taken, and the rest is a mistake with the name of the variable. No message has a password.
"""
from __future__ import absolute_import, division, print_function

import os
import re

from geproxy import compat
from geproxy.net import address
from geproxy.settings import option_types, parents_file, route_lines, rule_lines
from geproxy.settings.rule_files import LineErrors

WORD = 'environment'            # the line of [upstream] routes that stands for these variables
SCHEMES = ('http', 'https', 'socks5', 'socks5h', 'socks4a')
PORTS = {'https': 443, 'socks5': 1080, 'socks5h': 1080, 'socks4a': 1080}    # for http, programs differ: 80 or 1080
# (variable, the requests that it is for). `all_proxy` is for those that no other variable covers.
VARIABLES = (('http_proxy', 'http://any'), ('https_proxy', 'https://any'), ('all_proxy', 'any'))
_find_unsafe = re.compile(br'[^\x21-\x7e]').search
_find_bad_code = re.compile(br'%(?![0-9A-Fa-f]{2})').search
_split_scheme = re.compile(br'((?:[A-Za-z][A-Za-z0-9+.-]*://)?)(.*)\Z', re.DOTALL).match
_codes = re.compile(br'%([0-9A-Fa-f]{2})')


def current():
    """Return the environment of this process as {name: value}, octets."""
    return getattr(os, 'environb', os.environ)


def is_empty(environ):
    """Return True if no variable makes a route. `environ`: as of `current`."""
    return not any(_value(environ, name)[1] for name, _requests in VARIABLES)


def is_in(settings):
    """Return True if a row of [upstream] routes is `environment`. `settings`: of loading.load."""
    return any(text.partition('  # ')[0] == WORD for text in settings.texts['upstream', 'routes'])


def route_list(entry):
    """Return the routes.Rows of an ini.Entry as a tuple: those of its lines. A line `environment` stands for several.

    `entry`: it may also be native text, the default, which has no rows. Raises rule_files.LineErrors.
    """
    found, logins, wrong = [], {}, []
    for line in () if isinstance(entry, str) else entry.lines:
        if line.text == WORD:
            try:
                lines, of_parents = read(current(), line)
                logins.update(of_parents)
                found.extend(lines)
            except ValueError as error:
                wrong.append((line, str(error)))
        else:
            found.append(line)
    try:
        rows = () if isinstance(entry, str) else route_lines.route_list(entry._replace(lines=tuple(found)))
    except LineErrors as error:
        wrong.extend(error.found)
    if wrong:
        raise LineErrors(wrong)
    return tuple(_with_logins(row, logins) for row in rows) if logins else rows


def _with_logins(row, logins):
    """Return a Row whose parents have the log-ins of the environment."""
    return row._replace(routes=tuple(route._replace(parents=tuple(
        parent._replace(login=logins.get(parent[:3])) for parent in route.parents)) for route in row.routes))


def read(environ, line):
    """Return ([ini.Line], {(scheme, host, port): (name, password)}): lines of routes, and the log-ins of parents.

    `environ`: as of `current`; `line`: the ini.Line that says `environment`: the others are like it, but their source
    names the variable. Names, passwords, schemes and hosts are octets. A variable that is not set, or is empty, makes
    no line. Raises ValueError, which names the variable.
    """
    lines, logins = [], {}
    name, value = _value(environ, 'no_proxy')
    patterns = [_pattern(name, word) for word in re.split(br'[\s,]+', value) if word]
    for name, requests in VARIABLES:
        name, value = _value(environ, name)
        if value:
            parent, login = _parent(name, value)
            key = _key(parent)
            if login != logins.setdefault(key, login):
                raise ValueError('%s: another variable has another log-in for %s: geproxy has one for each parent' % (
                    name, _show(parent)))
            if login and parent[0].startswith('socks5') and not 0 < len(login.password) <= parents_file.SOCKS_MOST:
                raise ValueError('%s: the password is empty or too long for SOCKS 5 (RFC 1929, 2)' % name)
            lines.append(_line(line, name, '%s %s' % (requests, _show(parent))))
    if patterns and lines:
        lines.insert(0, _line(line, 'no_proxy', '%s direct' % ' '.join(patterns)))
    return lines, dict((key, login) for key, login in logins.items() if login is not None)


def _line(line, name, text):
    return line._replace(source='%s %s' % (line.source, name), text=text)


def _value(environ, name):
    """Return (the name of the variable that counts, native text; its value, octets, b'' if it is not set).

    Lower case wins, also if it is empty. HTTP_PROXY does not count in a CGI program, where a client sets it by a field
    `Proxy`.
    """
    lower, upper = compat.to_octets(name), compat.to_octets(name.upper())
    if lower in environ or upper == b'HTTP_PROXY' and b'REQUEST_METHOD' in environ:
        return name, environ.get(lower, b'').strip()
    return (name.upper() if upper in environ else name), environ.get(upper, b'').strip()


# --- parents

def _parent(name, value):
    """Return ((scheme, host, port), login or None) of the URL in a variable; the scheme and the host are native text.

    `name`: of the variable, native text; `value`: octets. Raises ValueError.
    """
    scheme, rest = _split_scheme(value).groups()
    userinfo, at, place = rest.rpartition(b'@')
    shown = '%s%s%s' % (compat.to_native(scheme), '***@' if at else '', compat.to_native(place))
    scheme = compat.to_native(scheme[:-len(b'://')]).lower() or 'http'
    if _find_unsafe(value):
        raise ValueError("%s: '%s' has a blank, a control character or another octet that no URL has" % (name, shown))
    if scheme not in SCHEMES:
        raise ValueError("%s: unknown scheme in '%s': expected %s" % (
            name, shown, ', '.join(each + '://' for each in SCHEMES)))
    host, port = _place(name, shown, compat.to_native(place[:-1] if place[-1:] == b'/' else place))
    port = port or PORTS.get(scheme)
    if port is None:
        raise ValueError("%s: '%s' has no port: add it, as programs disagree about the default (80 or 1080)" % (
            name, shown))
    return (scheme, host, port), _login(name, userinfo) if at else None


def _place(name, shown, text):
    """Return (host, native text; port, an int, or None) of HOST, HOST:PORT or [IPv6]:PORT.

    `name`: of the variable; `shown`: its value without the log-in. Raises ValueError.
    """
    match = re.match(r'(\[[0-9A-Fa-f:.]+\]|[^\[\]/?#:]+)(?::([0-9]{1,5}))?\Z', text)
    port = match and match.group(2) and int(match.group(2))
    if not match or port is not None and not 0 < port < 65536:
        raise ValueError("%s: invalid parent '%s': expected a URL such as http://proxy-a.corp:3128" % (name, shown))
    host = match.group(1).strip('[]').lower()
    try:
        if not address.is_ip(host):
            rule_lines.parse_name(host)
    except ValueError:
        raise ValueError("%s: invalid host in '%s': expected a name or an address" % (name, shown))
    return host, port


def _login(name, userinfo):
    """Return (user name, password), octets, of `user:password` in a URL. `name`: of the variable."""
    if _find_bad_code(userinfo):
        raise ValueError('%s: two hexadecimal digits must follow each %% in the log-in: write %%25 for a %%' % name)
    user, _colon, password = userinfo.partition(b':')
    user, password = [_codes.sub(lambda code: bytes(bytearray([int(code.group(1), 16)])), part)
                      for part in (user, password)]
    if not user or b':' in user:
        raise ValueError('%s: the user name in the log-in is empty or has a colon, which no parent can read' % name)
    return parents_file.Login(user, password)


def _key(parent):
    scheme, host, port = parent
    return compat.to_octets(scheme), compat.to_octets(host), port


def _show(parent):
    scheme, host, port = parent
    return '%s://%s:%d' % (scheme, '[%s]' % host if ':' in host else host, port)


# --- what is reached without a parent

def _pattern(name, word):
    """Return the pattern of routes for one entry of no_proxy, native text. Raises ValueError.

    `name`: of the variable, native text; `word`: the entry, octets: a name, which also means all names below it, with
    or without a dot at its start; *.name; an address or a network; each of them with or without a port; or * for all.
    """
    text = compat.to_native(word)
    if text == '*':
        return 'any'
    try:
        host, port = _split(text)
        if re.match(r'[0-9.]+(/|\Z)', host) or ':' in host:
            option_types.networks(host)
            host = '[%s]' % host if ':' in host else host
        else:
            host = compat.to_native(rule_lines.parse_name(host if host[:1] in '.*' else '.' + host))
        return host + (port and ':%d' % option_types.ports(port).ranges[0][0])
    except ValueError:
        raise ValueError("%s: invalid entry '%s': expected a name, an address, a network (10.0.0.0/8), each with or "
                         'without a port, or *' % (name, text))


def _split(text):
    """Return (host, port or '') of an entry of no_proxy. `text`: native text."""
    match = re.match(r'\[([^]]*:[^]]*)\](?::([0-9]+))?\Z', text) or re.match(r'([^:]*):([0-9]+)\Z', text)
    return (match.group(1), match.group(2) or '') if match else (text, '')
