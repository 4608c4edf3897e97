"""The ini file: its schema, and how it is loaded and checked. Imported by nothing below.

SCHEMA declares each option once. From it come validation with path and line, conf/proxy.ini, the README's table and
what a reload may change.
"""
from __future__ import absolute_import, division, print_function

import collections
import difflib
import hashlib
import re
import socket

from geproxy import access, address, compat

Option = collections.namedtuple('Option', 'section name kind default live sentence')
Listener = collections.namedtuple('Listener', 'host port fd')           # host: native text, '' for all; fd: or None
Problem = collections.namedtuple('Problem', 'path line section name what')


class ConfigError(Exception):
    """What is wrong with a file; `problems`: a list of Problem."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(show_problem(problem) for problem in problems))
        self.problems = problems


def show_problem(problem):
    """A Problem as one line: path:line: [section] name: what"""
    where = ' '.join(filter(None, (problem.section and '[%s]' % problem.section, problem.name)))
    return '%s:%d: %s%s' % (problem.path, problem.line, where and where + ': ', problem.what)


# --- kinds: native text -> value, or ValueError with what is wrong and what it takes ---------------------------------

_UNITS = {'ms': 0.001, '': 1, 's': 1, 'm': 60, 'min': 60, 'h': 3600, 'd': 86400}
_SIZES = {'': 1, 'k': 1024, 'm': 1024 ** 2, 'g': 1024 ** 3}


def seconds(text):
    """Seconds, as a float: 20, 0.5, 500ms, 2m, 1h, 1d; more than none."""
    match = re.match(r'([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|min|m|h|d|)\Z', text)
    value = float(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not 0 < value <= 10 * 365 * 86400:
        raise ValueError("'%s' is no duration: it takes seconds, or a number with ms, s, m, h or d, as in 20 or 2m" % text)
    return value


def octets(text):
    """A number of octets: 65536, 64k, 1m."""
    match = re.match(r'([0-9]{1,12}) ?([kmg]?)b?\Z', text.lower())
    if not match or not 1024 <= int(match.group(1)) * _SIZES[match.group(2)] <= 1 << 30:
        raise ValueError("'%s' is no size from 1k to 1g: it takes octets, or a number with k, m or g, as in 64k" % text)
    return int(match.group(1)) * _SIZES[match.group(2)]


def count(text):
    """A whole number, 0 or more."""
    if not re.match(r'[0-9]{1,9}\Z', text):
        raise ValueError("'%s' is no whole number, as in 100" % text)
    return int(text)


def count_or_auto(text):
    """A whole number, 1 or more; None for `auto`."""
    if text == 'auto':
        return None
    try:
        value = count(text)
    except ValueError:
        value = 0
    if not value:
        raise ValueError("'%s' is neither auto nor a whole number from 1" % text)
    return value


def choice(*words):
    """A kind that takes one of `words`."""
    def kind(text):
        if text not in words:
            raise ValueError("'%s' is none of %s%s" % (text, ', '.join(words), did_you_mean(text, words)))
        return text
    kind.__doc__ = 'One of %s.' % ', '.join(words)
    return kind


def switch(*words):
    """A kind for yes or no, written as one of two words: the first means yes."""
    check = choice(*words)

    def kind(text):
        return check(text) == words[0]
    kind.__doc__ = 'One of %s.' % ', '.join(words)
    return kind


def networks(text):
    """Addresses, networks and presets (loopback, private, any ...), separated by blanks."""
    found = []
    for word in text.split():
        if word in address.PRESETS:
            found.extend(network._replace(text=word) for network in address.PRESETS[word])
            continue
        try:
            found.append(address.parse_network(word))
        except ValueError as error:
            raise ValueError('%s; it takes addresses, networks as 10.0.0.0/8, or %s%s' % (
                error, ', '.join(sorted(address.PRESETS)), did_you_mean(word, address.PRESETS)))
    return tuple(found)


def ports(text):
    """Ports and ranges, as in 443 1024-65535, separated by blanks; or any."""
    ranges = []
    for word in text.split():
        first, dash, last = ('1', '-', '65535') if word == 'any' else word.partition('-')
        last = last if dash else first
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ValueError("'%s' is no port: it takes 1 to 65535, ranges as 8000-8999, or any" % word)
        ranges.append((int(first), int(last)))
    return access.Ports(tuple(ranges), text)


def listeners(text):
    """Where to listen: *:9000, HOST:PORT, [v6]:PORT or fd:N, separated by blanks."""
    found = [_listener(word) for word in text.split()]
    if not found:
        raise ValueError('it takes at least one of *:9000, 127.0.0.1:9000, [::1]:9000, fd:0')
    return tuple(found)


def _listener(word):
    host, colon, port = word.rpartition(':')
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("'%s' is nothing to listen on: it takes *:9000, 127.0.0.1:9000, [::1]:9000 or fd:0" % word)
    if host == 'fd':
        return Listener('', 0, int(port))
    host = '' if host == '*' else host
    if host[:1] == '[' and host[-1:] == ']':
        host = host[1:-1]
    elif ':' in host:
        raise ValueError("'%s': an IPv6 address goes in brackets, as in [::1]:9000" % word)
    return Listener(host, int(port), None)


def path(text):
    """A path, - for the terminal, or off."""
    if not text:
        raise ValueError('it takes a path, - or off')
    return text


def pseudonym(text):
    """A token to name this proxy by; `auto`: made from host and listener."""
    if not re.match(r"[A-Za-z][A-Za-z0-9._-]{0,62}\Z", text):
        raise ValueError("'%s' is no name for Via: it takes a letter and up to 62 letters, digits, '.', '_', '-'" % text)
    return text


# --- the schema ----------------------------------------------------------------------------------------------------

SECTIONS = collections.OrderedDict((
    ('proxy', 'What this proxy is, and where it listens.'),
    ('access', 'Who may go where. Closed by default: strangers get 403.'),
    ('timeouts', 'How long to wait for what. Numbers are seconds; 500ms, 2m, 1h are understood too.'),
    ('limits', 'How much is too much.'),
    ('upstream', 'The way to the origins.'),
    ('log', 'What is written down, and where.'),
))

SCHEMA = [Option(*row) for row in (
    ('proxy', 'listen', listeners, '*:9000', False,
     'Where to listen; several are separated by blanks. *:9000 is that port on all addresses, IPv4 and IPv6; '
     'also 127.0.0.1:9000, [::1]:9000, and fd:0 for a socket that supervisord hands over.'),
    ('proxy', 'name', pseudonym, 'auto', True,
     'What this proxy calls itself in Via and Proxy-Status; loops are known by it, so no two proxies should share '
     'one. auto makes it from the names of host and listener.'),
    ('proxy', 'via', switch('on', 'off'), 'on', True,
     'Add a Via field to requests and responses, as RFC 9110 asks. Without it a loop by way of another proxy is '
     'not seen.'),
    ('access', 'clients', networks, 'loopback private', True,
     'Who may use this proxy at all: addresses, networks as 10.1.0.0/16, or loopback, private, any.'),
    ('access', 'connect_ports', ports, '80 443 563 8443', True,
     "Ports that CONNECT may reach, or any. 80 is among them since Node's fetch and ws:// tunnel there."),
    ('access', 'http_ports', ports, '80 443 1024-65535', True,
     'Ports that http:// may reach, or any.'),
    ('access', 'private', switch('allow', 'deny'), 'allow', True,
     'Whether private addresses (RFC 1918, RFC 6598, fc00::/7) may be reached.'),
    ('access', 'loopback', choice('auto', 'deny'), 'auto', True,
     'auto: a client on this very host may reach its loopback addresses, which it could reach without the proxy too; '
     'the others may not. deny: nobody may.'),
    ('access', 'allow_addresses', networks, '', True,
     'Addresses that may be reached although they are special: loopback, link-local, cloud metadata, multicast, '
     'reserved. The presets of those names are understood.'),
    ('access', 'deny_addresses', networks, '', True,
     'Addresses that may not be reached, whatever else says so.'),
    ('timeouts', 'head', seconds, '20', True,
     'For a whole request head, once its first octet has come; and for that octet, on a new connection.'),
    ('timeouts', 'idle', seconds, '75', True, 'Between two requests of a kept-alive client.'),
    ('timeouts', 'dns', seconds, '10', True, 'For the addresses of a name.'),
    ('timeouts', 'connect', seconds, '10', True, 'For a connection to an origin, over all its addresses.'),
    ('timeouts', 'response', seconds, '120', True,
     'For the whole head of a response, once the request has been sent.'),
    ('timeouts', 'body', seconds, '300', True, 'Of silence within a body, in either direction.'),
    ('timeouts', 'tunnel', seconds, '1h', True, 'Of silence in both directions of a tunnel.'),
    ('timeouts', 'linger', seconds, '30', True,
     'For whoever has ended only its own direction: a client that waits for its answer, a half-closed tunnel, or the '
     'rest of a request that was refused.'),
    ('timeouts', 'drain', seconds, '8', True,
     'For exchanges to end after SIGTERM. Less than stopwaitsecs of supervisord, which is 10 unless set.'),
    ('limits', 'connections', count_or_auto, 'auto', True,
     'Connections of clients at once; more get 503. auto: as many as the file descriptors of this process allow, '
     'two for each.'),
    ('limits', 'head_size', octets, '64k', True, 'Octets of a head, and of a trailer section.'),
    ('limits', 'fields', count, '200', True, 'Field lines in a head, and in a trailer section.'),
    ('upstream', 'keep', count, '256', True, 'Idle connections to origins kept for the next request, in all.'),
    ('upstream', 'keep_time', seconds, '30', True, 'How long each of them is kept.'),
    ('upstream', 'dns_keep', seconds, '60', True, 'How long the addresses of a name are good for.'),
    ('upstream', 'dns_keep_failed', seconds, '5', True, 'How long a name that failed is not asked for again.'),
    ('log', 'access', path, '-', True, 'One line for each exchange: a path, - for standard output, or off.'),
    ('log', 'format', choice('auto', 'console', 'squid', 'common', 'json'), 'auto', True,
     'Of these lines. auto: console for standard output, squid for a file.'),
    ('log', 'query', choice('auto', 'on', 'off'), 'auto', True,
     'Whether URLs are logged with their query strings, in which secrets like to travel. auto: only on the console.'),
    ('log', 'errors', path, '-', True,
     'What the process has to say, and why exchanges failed: a path, - for standard error, or off.'),
)]

_TYPES = dict((section, collections.namedtuple(
    section.capitalize(), [option.name for option in SCHEMA if option.section == section])) for section in SECTIONS)
Settings = collections.namedtuple('Settings', list(SECTIONS))


# --- loading -------------------------------------------------------------------------------------------------------

def read_ini(lines):
    """Lines of native text -> [(line number, section, name, value)], name None for a section's own line, section
    None where there is none yet, value None for a line that is nothing. The same on every Python, and it keeps the
    line numbers, which configparser forgets."""
    found, section = [], None
    for number, line in enumerate(lines, 1):
        line = re.sub(r'(\A|\s)[#;].*', '', line.rstrip())
        text = line.strip()
        if not text:
            continue
        name, equals, value = text.partition('=')
        if line[:1].isspace() and found and found[-1][2] is not None and found[-1][3] is not None:
            found[-1] = found[-1][:3] + (' '.join(filter(None, (found[-1][3], text))),)
        elif text[:1] == '[' and text[-1:] == ']':
            section = text[1:-1].strip()
            found.append((number, section, None, ''))
        else:
            found.append((number, section, name.strip(), value.strip() if equals else None))
    return found


def load(path, lines=None):
    """Settings from the ini file at `path`, or from `lines` of text; path None: the defaults. Raises ConfigError with
    all that is wrong, or IOError."""
    values, problems = {}, []
    if path is not None:
        if lines is None:
            with compat.open_text(path) as opened:
                lines = opened.read().splitlines()
        values, problems = _collect(path, lines)
    sections = dict((section, {}) for section in SECTIONS)
    for option in SCHEMA:
        number, text = values.get((option.section, option.name), (0, option.default))
        try:
            sections[option.section][option.name] = option.kind(text)
        except ValueError as error:
            problems.append(Problem(path, number, option.section, option.name, str(error)))
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: problem.line))
    settings = Settings(**dict((name, _TYPES[name](**sections[name])) for name in SECTIONS))
    if settings.proxy.name == 'auto':
        settings = settings._replace(proxy=settings.proxy._replace(name=_name_for(settings)))
    return settings


def _collect(path, lines):
    """-> ({(section, name): (line, text)}, problems)"""
    known = dict(((option.section, option.name), option) for option in SCHEMA)
    values, problems = {}, []
    for number, section, name, value in read_ini([_native(line) for line in lines]):
        what = None
        if section is None:
            what = 'this stands before the first [section]'
        elif section not in SECTIONS:
            # Said once, not for each line in it.
            what = name is None and 'there is no such section%s' % did_you_mean(section, SECTIONS)
        elif name is None:
            pass
        elif value is None:
            what = 'this line is no name = value'
        elif (section, name) not in known:
            what = 'there is no such option%s' % _meant(section, name)
        elif (section, name) in values:
            what = 'it stands in line %d already' % values[section, name][0]
        else:
            values[section, name] = (number, value)
        if what:
            problems.append(Problem(path, number, section or '', name or '', what))
    return values, problems


def _native(line):
    return compat.to_native(compat.to_octets(line))


def did_you_mean(word, words):
    """' (did you mean X?)' if one of `words` is near to `word`, else ''."""
    near = difflib.get_close_matches(word, list(words), 1, 0.6)
    return ' (did you mean %s?)' % near[0] if near else ''


def _meant(section, name):
    elsewhere = [option.section for option in SCHEMA if option.name == name]
    if elsewhere:
        return ' here (did you mean [%s] %s?)' % (elsewhere[0], name)
    return did_you_mean(name, [option.name for option in SCHEMA if option.section == section])


def _name_for(settings):
    """The same for all processes of one listener on one host, and hardly ever that of another."""
    seed = '%s %r' % (socket.gethostname(), settings.proxy.listen)
    return 'geproxy-' + hashlib.sha1(seed.encode('utf-8')).hexdigest()[:6]
