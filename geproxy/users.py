"""The files of users and groups: read, and read again when they have changed. Blocks, as short as a disk does."""
from __future__ import absolute_import, division, print_function

import codecs
import collections
import os

from geproxy import auth, hashes

# What was read. `paths`: of users, and of groups if there are any; `stamps`: see `_stamp`; `users`: {name: Secret};
# `groups`: {user: frozenset of groups}; `secrets`: all of them, in order, and at least one.
Book = collections.namedtuple('Book', 'paths stamps users groups secrets')

NOBODY = Book((), (), {}, {}, (hashes.Secret('sha', b'', 1, b'fits nothing'),))


class FilesError(Exception):
    """What is wrong with the files; `problems`: [(path, line number or 0, what)]."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(
            '%s%s: %s' % (path, ':%d' % number if number else '', what) for path, number, what in problems))
        self.problems = problems


def read(users_path, groups_path=''):
    """The Book in an htpasswd file and, unless its path is '', in an AuthGroupFile. Raises FilesError with all that
    is wrong."""
    paths = (users_path, groups_path) if groups_path else (users_path,)
    problems, stamps, found = [], [], [{}, {}]
    for at, (path, parse) in enumerate(zip(paths, (auth.parse_users, auth.parse_groups))):
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
    return Book(paths, tuple(stamps), users, _by_user(groups), tuple(sorted(users.values())) or NOBODY.secrets)


def read_again(book):
    """What `read` does if a file of that Book has changed since, else None."""
    try:
        if tuple(_stamp(os.stat(path)) for path in book.paths) == book.stamps:
            return None
    except OSError:
        pass                            # gone, or out of reach: reading it will say so
    return read(*book.paths)


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
