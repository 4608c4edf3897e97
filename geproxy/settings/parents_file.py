"""Reads the file of [upstream] parents: the log-ins and the certificates for parents. Blocks while it reads.

    # comment
    [http://proxy-a.corp:3128]
    user = joe
    password = the rest of the line, with # and ; and = and " inside

A comment has a line of its own, because passwords may have # and ; in them. Blanks around a value do not count. One
pair of double quotes around a value is removed, for values that begin or end with blanks or quotes; nothing is escaped.
Messages quote nothing of a line that may be a password.
"""
from __future__ import absolute_import, division, print_function

import codecs
import collections
import os
import pwd
import re
import stat
import weakref

from geproxy import compat, wording
from geproxy.net import certificates
from geproxy.settings.route_lines import parse_parent
from geproxy.settings.rule_files import beside

TLS_NAMES = ('ca', 'certificate', 'key')
NAMES = ('user', 'password') + TLS_NAMES
MOST = 1 << 20              # octets of the file
SOCKS_MOST = 255            # octets of a user or a password in SOCKS 5 (RFC 1929, 2)
BASIC_MOST = 1024           # octets of each for Basic, which has no limit; a parent has one for its heads
_stamps = weakref.WeakKeyDictionary()      # {ssl.SSLContext: a value that changes with the files that it was made of}
_find_control = re.compile(br'[\x00-\x1f\x7f]').search


class ParentsError(Exception):
    """The file cannot be used. `problems`: [(path, line number or 0, what is wrong)]."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(
            '%s%s: %s' % (path, ':%d' % number if number else '', what) for path, number, what in problems))
        self.problems = problems


class Login(collections.namedtuple('Login', 'name password')):
    """A user name and a password, octets. Its repr has no password, as it may get into a log."""
    __slots__ = ()

    def __repr__(self):
        return 'Login(***)'


class Facts(dict):
    """What the file says: {(scheme, host, port) of a Parent: (Login or None, ssl.SSLContext or None)}.

    A Facts of nothing is right if there is no file.
    """

    def __init__(self):
        dict.__init__(self)
        self._usual = None

    def usual_context(self):
        """Return the one context for all https parents that the file gives no certificates for."""
        if self._usual is None:
            self._usual = certificates.client_context()
        return self._usual


def complete(parent, facts):
    """Return a Parent with its login, and with its context if its scheme is https.

    `parent`: a Parent without a context; it has a login only if it comes from the environment, and keeps that if the
    file has none; `facts`: the Facts. Without `ca`, the certificates of the system are trusted.
    """
    login, context = facts.get((parent.scheme, parent.host, parent.port), (None, None))
    if parent.scheme == b'https' and context is None:
        context = facts.usual_context()
    return parent._replace(login=login or parent.login, context=context)


def read(path, user=''):
    """Return the Facts in a file. Raises ParentsError with everything that is wrong.

    `path`: of the file, native text; `user`: the user of [proxy] user, who may own the file, too.
    """
    problems = []

    def wrong(number, what):
        problems.append((path, number, what))
    try:
        lines = _lines_of(path, user)
    except ValueError as error:
        raise ParentsError([(path, 0, str(error))])
    facts = Facts()
    for number, parent, values in _sections(lines, wrong):
        if parent is not None:
            facts[parent.scheme, parent.host, parent.port] = _facts_of(path, number, parent, values, wrong)
    if problems:
        raise ParentsError(sorted(problems))
    return facts


def differences(old, new):
    """Return what has changed of the log-in and the certificates of a parent, as native texts without secrets.

    `old`, `new`: the Parent before and after; both were completed.
    """
    found = ['user or password changed'] if old.login != new.login else []
    # Only https parents have a context, and the usual one has no stamp.
    stamps = [parent.context and _stamps.get(parent.context) for parent in (old, new)]
    return found + (['ca, certificate or key changed'] if stamps[0] != stamps[1] else [])


# --- the file

def _lines_of(path, user):
    """Return the lines of the file, octets. Raises ValueError if it cannot be read, or others may read it."""
    try:
        with open(path, 'rb') as opened:
            _check_owner(path, os.fstat(opened.fileno()), user)
            octets = opened.read(MOST + 1)
    except EnvironmentError as error:
        raise ValueError('cannot be read: %s (this file is set in [upstream] parents; it must belong to the user that '
                         'geproxy runs as, %s)' % (error.strerror, user or _name_of(os.geteuid())))
    if len(octets) > MOST:
        raise ValueError('larger than %d octets: expected a file of log-ins for parents' % MOST)
    return octets[len(codecs.BOM_UTF8) if octets.startswith(codecs.BOM_UTF8) else 0:].split(b'\n')


def _check_owner(path, status, user):
    """Raise ValueError if another user can read or change the file."""
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ValueError('others than its owner can read or change this file with passwords (mode %03o): '
                         'chmod 600 %s' % (stat.S_IMODE(status.st_mode), path))
    if status.st_uid not in (0, os.geteuid(), _number_of(user)):
        raise ValueError('this file with passwords belongs to the user %s: chown %s %s' % (
            _name_of(status.st_uid), user or _name_of(os.geteuid()), path))


def _number_of(user):
    try:
        return pwd.getpwnam(user).pw_uid if user else None
    except KeyError:
        return None                     # it is told elsewhere


def _name_of(number):
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return '%d' % number


# --- sections and lines

def _sections(lines, wrong):
    """Return [(line number, Parent or None, {name: (line number, value)})]; None if the URL of the section is wrong.

    `wrong`: a function of (line number, what is wrong).
    """
    sections, first = [], {}
    for number, line in enumerate(lines, 1):
        line = line.strip(b' \t\r')
        if not line or line[:1] in (b'#', b';'):
            continue
        if line[:1] == b'[' and line[-1:] == b']':
            sections.append((number, _parent_of(number, line[1:-1].strip(), first, wrong), {}))
        elif not sections:
            wrong(number, 'this line is before the first section: expected the URL of a parent, such as '
                          '[http://proxy.corp:3128]')
        else:
            _read_value(number, line, sections[-1][2], wrong)
    return sections


def _parent_of(number, text, first, wrong):
    """Return the Parent of a section, or None. `first`: {Parent: line number}, which gets it."""
    if b'@' in text:
        wrong(number, 'user and password do not belong into the URL: write user = and password = below it')
        return None
    if _find_control(text):
        wrong(number, 'the URL of the parent has a control character')
        return None
    try:
        parent = parse_parent(compat.to_native(text.replace(b'\\', br'\x5c')))
    except ValueError as error:
        wrong(number, '%s; a section begins with the URL of a parent, such as [http://proxy.corp:3128]' % error)
        return None
    if parent in first:
        wrong(number, 'line %d has a section for this parent already: write all of it there' % first[parent])
        return None
    first[parent] = number
    return parent


def _read_value(number, line, values, wrong):
    """Add the value of one line to `values`."""
    name, equals, value = line.partition(b'=')
    name, value = compat.to_native(name.strip(b' \t')), value.strip(b' \t')
    if value[:1] == b'"' and value[-1:] == b'"' and len(value) > 1:
        value = value[1:-1]
    if not equals:
        wrong(number, 'invalid line: expected name = value, with one of the names %s' % ', '.join(NAMES))
    elif name not in NAMES:         # it may be a part of a password: do not quote it
        wrong(number, 'unknown name before the =%s: expected one of %s' % (
            wording.did_you_mean(name, NAMES), ', '.join(NAMES)))
    elif name in values:
        wrong(number, '%s is set in line %d already' % (name, values[name][0]))
    else:
        if _find_control(value):
            wrong(number, 'the value of %s has a control character' % name)
        elif not value and name != 'password':
            wrong(number, 'the value of %s is empty: write one, or remove the line' % name)
        values[name] = number, value


# --- what a section says

def _facts_of(path, number, parent, values, wrong):
    """Return (Login or None, context or None) of a section that begins in this line."""
    tls = [name for name in TLS_NAMES if name in values]
    if parent.scheme != b'https':
        for name in tls:
            wrong(values[name][0], '%s is only for parents with https://' % name)
        return _login_of(number, parent, values, wrong), None
    return _login_of(number, parent, values, wrong), _context_of(path, values, wrong) if tls else None


def _login_of(number, parent, values, wrong):
    user_at, user = values.get('user', (number, None))
    password_at, password = values.get('password', (number, None))
    basic, plain = parent.scheme in (b'http', b'https'), parent.scheme == b'socks4a'
    most = BASIC_MOST if basic else SOCKS_MOST
    if user is None and password is None:
        return None
    if user is None:
        wrong(password_at, 'a password without a user: write user = NAME')
    elif password is None and not plain:
        wrong(user_at, 'a user without a password: write password = PASSWORD')
    elif plain and password is not None:
        wrong(password_at, 'SOCKS 4 has no passwords: remove it, or use socks5h://')
    elif basic and b':' in user:
        wrong(user_at, 'the user has a colon, which Basic uses as the end of the name (RFC 7617, 2)')
    elif len(user) > most:
        wrong(user_at, 'the user has %d octets, more than the %d that are possible' % (len(user), most))
    elif password is not None and len(password) > most:
        wrong(password_at, 'the password has more than the %d octets that are possible' % most)
    elif not (password or basic or plain):
        wrong(password_at, 'the password is empty, which SOCKS 5 does not allow (RFC 1929, 2)')
    else:
        return Login(user, password or b'')
    return None


def _context_of(path, values, wrong):
    """Return the ssl.SSLContext for the certificates of a section, or None. Their paths are relative to this file."""
    def file_of(name):
        return beside(path, compat.to_path(values[name][1])) if name in values else None
    pair = [name for name in ('certificate', 'key') if name in values]
    if len(pair) == 1:
        other = 'key' if pair == ['certificate'] else 'certificate'
        wrong(values[pair[0]][0], '%s without %s: write %s = FILE, too; it may be the same file' % (
            pair[0], other, other))
        return None
    if not all(values[name][1] for name in TLS_NAMES if name in values):
        return None                     # it has been told
    try:
        paths = [file_of(name) for name in TLS_NAMES if name in values]
        stamp = paths, certificates.stamp(paths)        # before they are read, so that a change meanwhile is seen later
        context = certificates.client_context(
            file_of('ca'), certificates.Pair(file_of('certificate'), file_of('key')) if pair else None)
        _stamps[context] = stamp
        return context
    except certificates.BadCertificate as error:
        told = str(error)
        name = min((name for name in TLS_NAMES if name in values and file_of(name) in told),
                   key=lambda name: told.find(file_of(name)))
        wrong(values[name][0], told)
        return None
