"""The files of users and groups: read, and read again when they have changed. Blocks, as short as a disk does."""
from __future__ import absolute_import, division, print_function

import bisect
import codecs
import collections
import hashlib
import hmac
import os

from geproxy.auth import hashes, htpasswd

# What was read. `paths`: of users, and of groups if there are any; `stamps`: see `_stamp`; `by_name`: {name: Secret};
# `groups`: {user: frozenset of groups}; `secrets`: all of them, in order, and at least one; `ring`: see `stand_in`.
Users = collections.namedtuple('Users', 'paths stamps by_name groups secrets ring')

RING = 256              # points that a ring has at least
Ring = collections.namedtuple('Ring', 'points secrets')        # points in order, and the Secret of each


class FilesError(Exception):
    """What is wrong with the files; `problems`: [(path, line number or 0, what)]."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(
            '%s%s: %s' % (path, ':%d' % number if number else '', what) for path, number, what in problems))
        self.problems = problems


def read(users_path, groups_path=''):
    """The Users in an htpasswd file and, unless its path is '', in an AuthGroupFile. Raises FilesError with all that
    is wrong."""
    paths = (users_path, groups_path) if groups_path else (users_path,)
    problems, stamps, found = [], [], [{}, {}]
    for at, (path, parse) in enumerate(zip(paths, (htpasswd.parse_users, htpasswd.parse_groups))):
        try:
            with open(path, 'rb') as opened:
                stamps.append(_stamp(os.fstat(opened.fileno())))
                octets = opened.read()
            lines = octets[len(codecs.BOM_UTF8) if octets.startswith(codecs.BOM_UTF8) else 0:].split(b'\n')
        except EnvironmentError as error:
            problems.append((path, 0, 'cannot be read: %s' % error.strerror))
            continue
        found[at], wrong = parse(lines)
        problems.extend((path, number, what) for number, what in wrong)
    if problems:
        raise FilesError(problems)
    users, groups = found
    return _make(paths, tuple(stamps), users, _by_user(groups))


def _make(paths, stamps, users, groups):
    secrets = tuple(sorted(users.values())) or (hashes.Secret('sha', b'', 1, b'fits nothing'),)
    copies = range(max(1, RING // len(secrets)))
    points = sorted((_point(secret, b'%d' % copy), at) for at, secret in enumerate(secrets) for copy in copies)
    return Users(paths, stamps, users, groups, secrets, Ring(
        [point for point, _at in points], [secrets[at] for _, at in points]))


def _point(secret, octets):
    return hmac.new(secret.salt + secret.digest, octets, hashlib.sha256).digest()


NOBODY = _make((), (), {}, {})


def stand_in(users, name):
    """Return the Secret that the password of an unknown user is compared with, so that it takes as long as for one of
    the users in a Users. `name`: octets.

    Where the hashes cost differently, the same name must get the same one always, after a restart too: a name whose
    cost changes is nobody's. So it depends on nothing but the name and the hashes, which nobody else knows; and by a
    ring with points of all hashes, so that another user changes it for few names.
    """
    at = bisect.bisect(users.ring.points, _point(users.secrets[0], b'name ' + name))
    return users.ring.secrets[at % len(users.ring.secrets)]


def advice(users):
    """Return what an operator should know about the hashes in a Users, as texts."""
    slow = sum(map(hashes.is_slow, users.by_name.values()))
    if not slow:
        return []
    return ['%s: %d of %d hashes take more than 100 ms each to verify: many log-ins at once have to wait; bcrypt with '
            'a cost of %d, or $5$ and $6$ with %d rounds, take less' % (
                users.paths[0], slow, len(users.by_name), hashes.MOST_USUAL['bcrypt'], hashes.MOST_USUAL['6'])]


def read_again(users):
    """What `read` does if a file of that Users has changed since, else None."""
    try:
        if tuple(_stamp(os.stat(path)) for path in users.paths) == users.stamps:
            return None
    except OSError:
        pass                            # gone, or out of reach: reading it will say so
    return read(*users.paths)


def _stamp(status):
    """What changes with a file: its modification time, size and inode."""
    return status.st_mtime, status.st_size, status.st_ino


def _by_user(groups):
    """{group: users} -> {user: frozenset of groups}"""
    found = {}
    for group, users in groups.items():
        for user in users:
            found.setdefault(user, set()).add(group)
    return dict((user, frozenset(names)) for user, names in found.items())
