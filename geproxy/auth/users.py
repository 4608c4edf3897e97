"""Reads the files of users and groups, and reads them again when they have changed. Blocks while it reads."""
from __future__ import absolute_import, division, print_function

import bisect
import codecs
import collections
import hashlib
import hmac
import os

from geproxy.auth import hashes, htpasswd

# What was read. `files`: (path of users, path of groups), each may be ''; `paths`: the files that there are; `stamps`:
# see `_stamp`; `by_name`: {name of a user, octets: Secret};
# `groups`: {user: frozenset of groups}; `secrets`: all of them, in order, and at least one; `ring`: see `stand_in`.
Users = collections.namedtuple('Users', 'paths files stamps by_name groups secrets ring')

RING = 256              # points that a ring has at least
Ring = collections.namedtuple('Ring', 'points secrets')        # points in order, and the Secret of each


class FilesError(Exception):
    """The files cannot be used. `problems`: [(path, line number or 0, what is wrong)]."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(
            '%s%s: %s' % (path, ':%d' % number if number else '', what) for path, number, what in problems))
        self.problems = problems


def read(users_path, groups_path=''):
    """Return the Users in an htpasswd file and an AuthGroupFile. Raises FilesError with everything that is wrong.

    `users_path`, `groups_path`: of the files, native text; '' if there is no such file.
    """
    files = (users_path, groups_path)
    problems, stamps, found = [], [], [{}, {}]
    for at, (path, parse) in enumerate(zip(files, (htpasswd.parse_users, htpasswd.parse_groups))):
        if not path:
            continue
        try:
            with open(path, 'rb') as opened:
                stamps.append(_stamp(os.fstat(opened.fileno())))
                octets = opened.read()
            lines = octets[len(codecs.BOM_UTF8) if octets.startswith(codecs.BOM_UTF8) else 0:].split(b'\n')
        except EnvironmentError as error:
            option = '[auth] %s' % ('users', 'groups')[at]
            problems.append((path, 0, 'cannot be read: %s (this file is set in %s)' % (error.strerror, option)))
            continue
        found[at], wrong = parse(lines)
        problems.extend((path, number, what) for number, what in wrong)
    if problems:
        raise FilesError(problems)
    users, groups = found
    return _make(files, tuple(stamps), users, _by_user(groups))


def _make(files, stamps, users, groups):
    secrets = tuple(sorted(users.values())) or (hashes.Secret('sha', b'', 1, b'fits nothing'),)
    copies = range(max(1, RING // len(secrets)))
    points = sorted((_point(secret, b'%d' % copy), at) for at, secret in enumerate(secrets) for copy in copies)
    return Users(tuple(filter(None, files)), files, stamps, users, groups, secrets, Ring(
        [point for point, _at in points], [secrets[at] for _, at in points]))


def _point(secret, octets):
    return hmac.new(secret.salt + secret.digest, octets, hashlib.sha256).digest()


NOBODY = _make((), (), {}, {})


def stand_in(users, name):
    """Return the Secret to compare the password of an unknown user with, so that it takes as long as for a known one.

    `users`: the Users; `name`: octets, as the client sent it. Hashes may cost different times. So the same name must
    always get the same Secret, after a restart too: a name whose time changes is visibly not a user's. Therefore the
    choice depends only on the name and on the hashes, which are secret. It is made by a ring with points of all hashes,
    so that a further user changes it for few names.
    """
    at = bisect.bisect(users.ring.points, _point(users.secrets[0], b'name ' + name))
    return users.ring.secrets[at % len(users.ring.secrets)]


def advice(users):
    """Return advice for the operator about the hashes of `users`, a Users, as a list of native texts."""
    slow = sum(map(hashes.is_slow, users.by_name.values()))
    if not slow:
        return []
    return ['%s: %d of %d hashes take more than 100 ms each to verify: many log-ins at once have to wait; bcrypt with '
            'a cost of %d, or $5$ and $6$ with %d rounds, take less' % (
                users.paths[0], slow, len(users.by_name), hashes.MOST_USUAL['bcrypt'], hashes.MOST_USUAL['6'])]


def read_again(users):
    """Return new Users if a file of `users`, a Users, has changed since it was read, else None. Raises FilesError."""
    try:
        if tuple(_stamp(os.stat(path)) for path in users.paths) == users.stamps:
            return None
    except OSError:
        pass                            # the file is gone or cannot be looked at: `read` says so
    return read(*users.files)


def _stamp(status):
    """Return the values that differ when a file has changed: its modification time, size and inode."""
    return status.st_mtime, status.st_size, status.st_ino


def _by_user(groups):
    """Return {user: frozenset of groups} for {group: users}."""
    found = {}
    for group, users in groups.items():
        for user in users:
            found.setdefault(user, set()).add(group)
    return dict((user, frozenset(names)) for user, names in found.items())
