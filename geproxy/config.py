"""The ini file: its schema, and how it is loaded and checked. Imported by nothing below.

SCHEMA declares each option once. From it come validation with path and line, conf/proxy.ini, the README's table and
what a reload may change.
"""
from __future__ import absolute_import, division, print_function

import binascii
import codecs
import collections
import fnmatch
import hashlib
import io
import os
import socket

from geproxy import compat, ini, rules, users
from geproxy.kinds import (
    admin_listeners, choice, count, count_or_auto, did_you_mean, file_path, ipv6_prefix, listeners, log_path,
    many_octets, networks, octets, or_off, path, per_second, ports, protocols, pseudonym, realm, seconds, switch,
    text_line)
from geproxy.rulefiles import LineErrors, beside, rule_list

Option = collections.namedtuple('Option', 'section name kind default live sentence')
Problem = collections.namedtuple('Problem', 'path line section name what')


class ConfigError(Exception):
    """What is wrong with a file; `problems`: a list of Problem."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(show_problem(problem) for problem in problems))
        self.problems = problems


def show_problem(problem):
    """A Problem as one line: path:line: [section] name: what"""
    where = ' '.join(filter(None, (problem.section and '[%s]' % problem.section, problem.name)))
    place = problem.path + (':%d' % problem.line if problem.line else '')
    return '%s: %s%s' % (place, where and where + ': ', problem.what)


# Kinds that are given the whole ini.Entry, for its lines; where there is none, the default as text.
WHOLE = (rule_list,)
SHOWN_CHANGES = 50      # rules

# --- the schema ----------------------------------------------------------------------------------------------------

SECTIONS = collections.OrderedDict((
    ('proxy', 'What this proxy is, and where it listens.'),
    ('access', 'Who may go where. Closed by default: strangers get 403.'),
    ('auth', 'Who is asking. Nobody is asked, unless users says who there is.'),
    ('timeouts', 'How long to wait for what. Numbers are seconds; 500ms, 2m, 1h are understood too.'),
    ('limits', 'How much is too much.'),
    ('upstream', 'The way to the origins.'),
    ('log', 'What is written down, and where.'),
    ('admin', 'To watch it run: health, metrics, geproxy ps, kill, tail, top. Never by way of the proxy.'),
))

SCHEMA = [Option(*row) for row in (
    ('proxy', 'listen', listeners, '*:9000', False,
     'Where to listen; several are separated by blanks. *:9000, or 9000, is that port on all addresses, '
     'IPv4 and IPv6; also 127.0.0.1:9000, [::1]:9000, fd:0 for a socket that supervisord hands over, and systemd for '
     'all that a '
     '.socket unit does.'),
    ('proxy', 'name', pseudonym, 'auto', True,
     'What this proxy calls itself in Via and Proxy-Status; loops are known by it, so no two proxies should share '
     'one. auto makes it from the names of host and listener.'),
    ('proxy', 'via', switch('on', 'off'), 'on', True,
     'Add a Via field to requests and responses, as RFC 9110 asks. Without it a loop by way of another proxy is '
     'not seen.'),
    ('proxy', 'forwarded', choice('off', 'add', 'strip'), 'off', True,
     'What origins learn of the client. off: Forwarded and X-Forwarded-For pass as they came; add: its address is '
     'added to both; strip: they are taken away, and so are X-Forwarded-Host, -Proto, -By and X-Real-IP, with _ for - '
     'too, as programs behind CGI and WSGI read them.'),
    ('proxy', 'proxy_protocol', networks, '', True,
     'Addresses and networks of load balancers that say who the client is, by a PROXY header (version 1 or 2) at the '
     'beginning of each connection, and must do so. From all others such a header is refused.'),
    ('proxy', 'user', text_line, '', False,
     'Whom to become, if root starts this, once the ports are open. Everything else is done as that user: logs are '
     'opened (so that they can be opened anew later), the ini file is read again. Empty: nobody else.'),
    ('proxy', 'group', text_line, '', False, 'Of which group then. Empty: the one of that user.'),
    ('access', 'clients', networks, 'loopback private', True,
     'Who may use this proxy at all: addresses, networks as 10.1.0.0/16, or loopback, private, any.'),
    ('access', 'connect_ports', ports, '80 443 563 8443', True,
     "Ports that CONNECT may reach, or any. 80 is among them since Node's fetch and ws:// tunnel there."),
    ('access', 'http_ports', ports, '80 443 1024-65535', True,
     'Ports that http:// may reach, or any.'),
    ('access', 'upgrades', protocols, 'websocket', True,
     'Protocols that a client may change to by Upgrade, or any. What is not among them is not offered to the origin: '
     'behind an upgrade octets pass unseen, as in a tunnel. h2c is never offered.'),
    ('access', 'rules', rule_list, '', True,
     'Who may go where, one rule in a line: allow or deny, WHO, WHERE; the first that fits decides, and with rules '
     'what fits none is denied. See "Rules" in the README.'),
    ('access', 'include', text_line, '', True,
     'More files with [access] rules, as in rules.d/*.ini, relative to this file. Their rules go before those here, in '
     'the order of the names of the files.'),
    ('access', 'policy', choice('enforce', 'report'), 'enforce', True,
     'report: what rules and ports would refuse goes through, and is logged as what would have been refused. clients '
     'and special addresses hold nevertheless.'),
    ('access', 'private', switch('allow', 'deny'), 'allow', True,
     'Whether private addresses (RFC 1918, RFC 6598, fc00::/7) may be reached.'),
    ('access', 'loopback', choice('auto', 'deny'), 'auto', True,
     'auto: a client on this very host may reach its loopback addresses and all other addresses of this host, which it '
     'could reach without the proxy too; other clients may not. deny: nobody may.'),
    ('access', 'allow_addresses', networks, '', True,
     'Addresses that may be reached although they are special: those of this host, loopback, link-local, cloud '
     'metadata, multicast, reserved. The presets of those names are understood. The presets link-local, private and '
     'reserved do not open the cloud metadata within them: that is opened by metadata, any, or its address.'),
    ('access', 'deny_addresses', networks, '', True,
     'Addresses that may not be reached, whatever else says so.'),
    ('auth', 'users', file_path, '', True,
     'An htpasswd file: with it, everybody has to log in (Basic), but for exempt. {SHA}, $apr1$, $1$, $5$, $6$, and '
     'bcrypt with the library of that name. Read again when it changes; a path relative to this file.'),
    ('auth', 'groups', file_path, '', True, 'A file of lines as `group: user user`, for group:NAME in rules.'),
    ('auth', 'realm', realm, 'geproxy', True, 'What is asked for: browsers show it.'),
    ('auth', 'exempt', networks, '', True, 'Clients that need not log in; if they do, it has to be right.'),
    ('timeouts', 'head', seconds, '20', True,
     'For a whole request head, once its first octet has come; and for that octet, on a new connection.'),
    ('timeouts', 'idle', seconds, '75', True, 'Between two requests of a kept-alive client.'),
    ('timeouts', 'login', seconds, '20', True, 'For verifying a name and a password.'),
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
    ('limits', 'per_client', or_off(count), 'off', True,
     'Connections of one client at once; more get 429. off: no limit.'),
    ('limits', 'ipv6_prefix', ipv6_prefix, '64', True,
     'All IPv6 clients whose addresses agree in so many bits count as one client in limits and in failed log-ins, as '
     'one host can choose among all addresses of its network. 56 or 48: for clients that have many networks. 128: each '
     'address counts for itself, so that a client with a network can evade limits.'),
    ('limits', 'requests', or_off(per_second), 'off', True,
     'Requests per second of each user, or of each client that has not logged in; more get 429.'),
    ('limits', 'burst', count, '20', True, 'How many requests may come at once on top of that, after a pause.'),
    ('limits', 'rate', or_off(octets), 'off', True,
     'Octets per second of each user or client, over all its connections, in each direction. See also rate in rules.'),
    ('limits', 'quota', or_off(many_octets), 'off', True,
     'Octets per day of each user or client, both directions together, this host\'s days; more get 429.'),
    ('limits', 'quota_file', path, 'off', False,
     'Where these are counted, for all processes that share the file: a path, or off. quota needs it.'),
    ('limits', 'head_size', octets, '64k', True, 'Octets of a head, and of a trailer section.'),
    ('limits', 'fields', count, '1000', True, 'Field lines in a head, and in a trailer section.'),
    ('upstream', 'keep', count, '256', True,
     'Idle connections to origins kept for the next request, in all; fewer while clients need the file descriptors.'),
    ('upstream', 'keep_time', seconds, '30', True, 'How long each of them is kept.'),
    ('upstream', 'dns_keep', seconds, '60', True,
     'How long the addresses of a name are good for. If all of them fail, the name is looked up again.'),
    ('upstream', 'dns_keep_failed', seconds, '5', True, 'How long a name that failed is not asked for again.'),
    ('log', 'access', log_path, '-', True,
     'One line for each exchange: a path, - for standard output, syslog, or off. Also syslog:local3 for a facility, '
     'syslog:/path/of/a/socket, syslog://HOST:514.'),
    ('log', 'format', choice('auto', 'console', 'squid', 'common', 'json'), 'auto', True,
     'Of these lines. auto: console for standard output, squid for a file.'),
    ('log', 'query', choice('auto', 'on', 'off'), 'auto', True,
     'Whether URLs are logged with their query strings, in which secrets like to travel. auto: only on the console.'),
    ('log', 'errors', log_path, '-', True,
     'What the process has to say, and why exchanges failed: a path, - for standard error, syslog as above, or off.'),
    ('admin', 'listen', admin_listeners, 'off', False,
     'Where to ask for it; several are separated by blanks: unix:/run/geproxy/{pid}.sock, which only its owner and '
     'root can use (several processes need one each, so {pid} stands for the process id), 127.0.0.1:9001, or off.'),
    ('admin', 'clients', networks, 'loopback', True,
     'Who may ask at a port: addresses, networks. There is no password, and whoever may ask sees every URL.'),
)]

_TYPES = dict((section, collections.namedtuple(
    section.capitalize(), [option.name for option in SCHEMA if option.section == section])) for section in SECTIONS)
# A field for each section; `texts`: {(section, name): a tuple of lines, as the file has them}, for people; `book`: a
# users.Book, or None.
Settings = collections.namedtuple('Settings', list(SECTIONS) + ['texts', 'book'])


# --- loading -------------------------------------------------------------------------------------------------------

def load(path, lines=None):
    """Settings from the ini file at `path`, or from `lines` of text; path None: the defaults. Raises ConfigError with
    all that is wrong, or IOError."""
    values, problems = {}, []
    if path is not None:
        if lines is None:
            lines = _lines_of(path)
        values, problems = _collect(_read(path, lines))
        _include(path, values, problems)
    sections, texts = dict((section, {}) for section in SECTIONS), {}
    for option in SCHEMA:
        entry = values.get((option.section, option.name))
        texts[option.section, option.name] = _text(option, entry)
        try:
            value = option.kind(option.default if entry is None else entry if option.kind in WHOLE else entry.value)
            sections[option.section][option.name] = value
        except LineErrors as error:
            problems.extend(_problem(line, entry, what) for line, what in error.found)
        except ValueError as error:
            problems.append(_problem(entry.lines[0], entry, str(error)))
    book = None if problems else _settle(path, sections, values, problems)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.path != path, problem.path, problem.line)))
    settings = Settings(texts=texts, book=book, **dict((name, _TYPES[name](**sections[name])) for name in SECTIONS))
    if settings.proxy.name == 'auto':
        settings = settings._replace(proxy=settings.proxy._replace(name=_name_for(settings)))
    return settings


def glance(path, section, name):
    """The value of one option in the ini file at `path`, quickly, and whatever is wrong with the others. Raises
    ConfigError for what is wrong with this one, or IOError."""
    option = next(option for option in SCHEMA if (option.section, option.name) == (section, name))
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    try:
        return option.kind(option.default if entry is None else entry.value)
    except ValueError as error:
        raise ConfigError([_problem(entry.lines[0], entry, str(error))])


def _settle(path, sections, values, problems):
    """Add to `problems` what is wrong with options together -> the users.Book of [auth], or None."""
    if sections['limits']['quota'] and sections['limits']['quota_file'] == 'off':
        entry = values['limits', 'quota']
        problems.append(_problem(entry.lines[0], entry, 'it needs quota_file, or a restart would forgive everybody'))
    book = None
    people, groups = (name and beside(path, name) for name in (sections['auth']['users'], sections['auth']['groups']))
    if people:
        try:
            book = users.read(people, groups)
        except users.FilesError as error:
            problems.extend(Problem(place, number, '', '', what) for place, number, what in error.problems)
    for rule in sections['access']['rules']:
        if rule.who.users and not people or rule.who.groups and not (people and groups):
            entry = values['access', 'rules']
            line = next(line for line in entry.lines if line.place == rule.place)
            problems.append(_problem(line, entry, 'it names users or groups, and [auth] does not say who they are'))
    return book


def _text(option, entry):
    if entry is None:
        return (option.default,) if option.default else ()
    # With the comment of a rule, as clients that it refuses are told that.
    return tuple(rules.mask(line.text) + ('  # ' + line.comment if line.comment and option.kind in WHOLE else '')
                 for line in entry.lines if line.text)


def place_of(path, section, name):
    """path:line of an option in a file that was loaded; the path alone if the option is not there."""
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    return '%s:%d' % (path, entry.lines[0].number) if entry else path


def changes(old, new):
    """What differs between two Settings, as lines for people."""
    lines = []
    for option in SCHEMA:
        before, after = (settings.texts[option.section, option.name] for settings in (old, new))
        name = '[%s] %s' % (option.section, option.name)
        if option.kind in WHOLE:
            lines.extend('%s: %s' % (name, line) for line in _moved(before, after))
        elif before != after:
            restart = '' if option.live else ' (needs a restart)'
            lines.append('%s: %s -> %s%s' % (
                name, ' '.join(before) or 'nothing', ' '.join(after) or 'nothing', restart))
    return lines


def held(running, settings):
    """`settings`, but what takes a restart is as in `running`: as long as there was none, that is what holds."""
    automatic = settings.proxy.name == _name_for(settings)
    texts = dict(settings.texts)
    for option in SCHEMA:
        if not option.live:
            texts[option.section, option.name] = running.texts[option.section, option.name]
            section = getattr(settings, option.section)._replace(
                **{option.name: getattr(getattr(running, option.section), option.name)})
            settings = settings._replace(**{option.section: section})
    if automatic:
        settings = settings._replace(proxy=settings.proxy._replace(name=_name_for(settings)))
    return settings._replace(texts=texts)


def _moved(before, after):
    """What has come and gone among many lines; their order is compared only as a whole, for there may be 10,000."""
    kept, known = set(before), set(after)
    lines = ['-' + text for text in before if text not in known] + ['+' + text for text in after if text not in kept]
    if len(lines) > SHOWN_CHANGES:
        lines[SHOWN_CHANGES:] = ['and %d more' % (len(lines) - SHOWN_CHANGES)]
    if [text for text in before if text in known] != [text for text in after if text in kept]:
        lines.append('in another order')
    return lines


def _read(path, lines, shown=''):
    try:
        return ini.read(path, lines, shown)
    except ini.BadLine as error:
        raise ConfigError([Problem(path, error.number, '', '', str(error))])


def _lines_of(path):
    with io.open(path, 'rb') as opened:
        octets = opened.read()
    lines = (octets[len(codecs.BOM_UTF8):] if octets.startswith(codecs.BOM_UTF8) else octets).split(b'\n')
    for number, line in enumerate(lines, 1):
        try:
            line.decode('utf-8')
        except UnicodeDecodeError as error:
            what = 'not a text file in UTF-8: octet %d of the line is 0x%s' % (
                error.start + 1, compat.to_native(binascii.hexlify(line[error.start:error.start + 1])))
            raise ConfigError([Problem(path, number, '', '', what)])
    return lines


def _problem(line, entry, what):
    return Problem(line.path, line.number, entry.section or '', entry.name or '', what)


def _collect(entries):
    """-> ({(section, name): ini.Entry}, problems)"""
    known = dict(((option.section, option.name), option) for option in SCHEMA)
    values, problems = {}, []
    for entry in entries:
        section, name, what = entry.section, entry.name, None
        if section is None:
            what = 'this stands before the first [section]'
        elif section not in SECTIONS:
            # Said once, not for each line in it.
            what = name is None and 'there is no such section%s' % did_you_mean(section, SECTIONS)
        elif name is None:
            pass
        elif entry.value is None:
            what = 'this line is no name = value'
        elif (section, name) not in known:
            what = 'there is no such option%s' % _meant(section, name)
        elif (section, name) in values:
            what = 'it stands in line %d already' % values[section, name].lines[0].number
        else:
            values[section, name] = entry
        if what:
            problems.append(_problem(entry.lines[0], entry, what))
    return values, problems


def _include(path, values, problems):
    """Add to `values` what stands in the files of [access] include: their rules go before those of the file itself, so
    that what this ends with, say `deny any any`, stays the last."""
    entry = values.get(('access', 'include'))
    if not entry or not entry.value:
        return
    included = ()
    for pattern in ini.path_of(entry.value).split():
        folder = os.path.dirname(beside(path, pattern))
        try:
            names = fnmatch.filter(os.listdir(folder or '.'), os.path.basename(pattern))
        except (IOError, OSError) as error:
            problems.append(_problem(entry.lines[0], entry, '%s: %s' % (folder, error.strerror)))
            continue
        for name in sorted(names):
            shown = os.path.join(os.path.dirname(pattern), name)
            included += _included_rules(os.path.join(folder, name), shown, entry, problems)
    own = values.get(('access', 'rules')) or ini.Entry('access', 'rules', '', ())
    values['access', 'rules'] = own._replace(lines=included + own.lines)
    if not any(line.text for line in included + own.lines):
        # Without rules all is allowed: a misspelt pattern must not open the proxy.
        problems.append(_problem(entry.lines[0], entry, 'no rules came of it, and there are none here'))


def _included_rules(path, shown, entry, problems):
    try:
        values, found = _collect(_read(path, _lines_of(path), shown))
    except ConfigError as error:
        problems.extend(error.problems)
        return ()
    except (IOError, OSError) as error:
        problems.append(_problem(entry.lines[0], entry, '%s: %s' % (path, error.strerror)))
        return ()
    problems.extend(found)
    rows = values.pop(('access', 'rules'), None)
    problems.extend(_problem(each.lines[0], each, 'an included file has [access] rules only')
                    for each in values.values())
    return rows.lines if rows else ()


def _meant(section, name):
    elsewhere = [option.section for option in SCHEMA if option.name == name]
    if elsewhere:
        return ' here (did you mean [%s] %s?)' % (elsewhere[0], name)
    return did_you_mean(name, [option.name for option in SCHEMA if option.section == section])


def _name_for(settings):
    """The same for all processes of one listener on one host, and hardly ever that of another."""
    seed = '%s %r' % (socket.gethostname(), settings.proxy.listen)
    return 'geproxy-' + hashlib.sha1(seed.encode('utf-8')).hexdigest()[:6]
