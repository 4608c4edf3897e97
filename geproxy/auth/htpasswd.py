"""Reads the lines of files of users and groups, and the names and passwords that clients send. Pure.

`hashes` compares a password with a hash, `logins` decides when that is done, and `policy` decides where a user may go.
Passwords and hashes are secrets: messages quote only names.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import errors
from geproxy.auth import hashes
from geproxy.http1 import grammar

SHOWN = 64              # octets of a name, in messages
LONGEST_NAME = 255      # octets, as htpasswd has it
LONGEST_PASSWORD = 512  # octets; the costs of a hash grow with it, and libxcrypt takes no more either

_find_control = re.compile(br'[\x00-\x1f\x7f]').search


def show_name(name):
    """Return the name of a user, octets, as native text for messages."""
    return grammar.escape(name[:SHOWN]) + ('...' if len(name) > SHOWN else '')


def parse_users(lines):
    """Return ({name: hashes.Secret}, problems) from the lines, octets, of an htpasswd file.

    `problems`: [(line number, what is wrong, native text)]; such a line is left out.
    """
    users, problems, first = {}, [], {}
    for number, name, value in _entries(lines, problems):
        if name in first:
            problems.append((number, "user '%s' stands in line %d already" % (show_name(name), first[name])))
            continue
        first[name] = number
        try:
            # Apache ignores what may follow behind another colon, so that passwd files can be used.
            users[name] = hashes.parse(value.partition(b':')[0].strip(b' \t'))
        except ValueError as error:
            problems.append((number, "user '%s' has %s" % (show_name(name), error)))
    return users, sorted(problems)


def parse_groups(lines):
    """Return ({group: frozenset of users}, problems) from the lines, octets, of Apache's AuthGroupFile (``name: user
    user``). A group may be continued in a later line. `problems`: see `parse_users`.
    """
    groups, problems = {}, []
    for _number, name, value in _entries(lines, problems):
        groups[name] = groups.get(name, frozenset()) | frozenset(value.split())
    return groups, problems


def _entries(lines, problems):
    """Yield (line number, name, the rest) of each line that is ``name:rest``, and add to `problems` what is wrong."""
    for number, line in enumerate(lines, 1):
        line = _as_utf8(line.strip(b' \t\r\n'))
        if not line or line[:1] == b'#':
            continue
        name, colon, value = line.partition(b':')
        name = name.rstrip(b' \t')
        if not colon or not name:
            # It may be a password: quote nothing.
            problems.append((number, 'invalid line: expected a name and a colon at its beginning'))
        elif _find_control(name) or len(name) > LONGEST_NAME:
            problems.append((number, 'the name has a control character, or more than %d octets' % LONGEST_NAME))
        else:
            yield number, name, value


def _as_utf8(octets):
    """Return octets as they are if they are UTF-8, else read as Latin-1 and written as UTF-8."""
    try:
        octets.decode('utf-8')
        return octets
    except UnicodeDecodeError:
        return octets.decode('latin-1').encode('utf-8')


def normalised(name, password):
    """Return (name, password) in UTF-8, the form in which they are compared.

    `name`, `password`: octets, as a client sent them. Octets that are not UTF-8 are read as Latin-1, which requests,
    urllib3 and aiohttp send. Raises LoginFailed if one of them has a control character or is too long.
    """
    name, password = _as_utf8(name), _as_utf8(password)
    if _find_control(name) or _find_control(password):
        raise errors.LoginFailed('log-in failed: name or password has a control character')
    if len(name) > LONGEST_NAME or len(password) > LONGEST_PASSWORD:
        raise errors.LoginFailed('log-in failed: the name is longer than %d octets, or the password than %d' % (
            LONGEST_NAME, LONGEST_PASSWORD))
    return name, password
