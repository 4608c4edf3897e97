"""Switches from root to another user after the ports are open, and checks that there is no way back.

The switch happens before the logs are opened and before threads start. So if that user lacks a right (to read its
Python, to write a log, to open the log again tomorrow), the start fails, and not a process that serves.
"""
from __future__ import absolute_import, division, print_function

import grp
import os
import pwd

GROUP_ALONE = '[proxy] group needs [proxy] user'


class PrivilegeError(Exception):
    """The user cannot be changed. The message says why, and what to do."""


def drop(user, group, folders):
    """Become another user for good.

    `user`, `group`: names as native text; without `group` it is the main group of that user; if both are '' nothing
    changes. `folders`: paths that the user must be able to read, because modules are imported from there later. Raises
    PrivilegeError.
    """
    if not user:
        if group:
            raise PrivilegeError(GROUP_ALONE)
        return
    uid, gid, name = _find(user, group)
    if (os.getuid(), os.geteuid()) == (uid, uid) and gid in [os.getegid()] + os.getgroups():
        return                      # started as that user
    if os.geteuid() != 0:
        raise PrivilegeError('[proxy] user = %s: only root can switch to another user, and geproxy was started by %s; '
                             'leave user empty, or start geproxy as root' % (user, _name_of(os.geteuid())))
    try:
        os.initgroups(name, gid)    # in this order: after setuid the other two would not be allowed
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise PrivilegeError('[proxy] user = %s: cannot switch to that user: %s' % (user, error.strerror))
    _check(user, uid, gid)
    for folder in folders:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PrivilegeError('[proxy] user = %s: this user cannot read %s, and must: chmod it, or install geproxy '
                                 'and its Python where all users can read them' % (user, folder))


def complaint(user, group):
    """Return why `drop` refuses `user` and `group` (native texts) on this host, as a sentence; '' if it does not."""
    try:
        if user:
            _find(user, group)
    except PrivilegeError as error:
        return str(error)
    return '' if user or not group else GROUP_ALONE


def _find(user, group):
    """Return (uid, gid, name of the user)."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError("[proxy] user: there is no user '%s'; make it: useradd --system %s" % (user, user))
    if entry.pw_uid == 0:
        raise PrivilegeError("[proxy] user: '%s' is root itself; name a user with fewer rights" % user)
    if not group:
        return entry.pw_uid, entry.pw_gid, entry.pw_name
    try:
        return entry.pw_uid, grp.getgrnam(group).gr_gid, entry.pw_name
    except KeyError:
        raise PrivilegeError("[proxy] group: there is no group '%s'; make it: groupadd --system %s" % (group, group))


def _check(user, uid, gid):
    """Raise PrivilegeError if the user was not changed, or if there is a way back to root."""
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PrivilegeError('[proxy] user = %s: this system does not switch to that user completely' % user)
    try:
        os.setuid(0)
    except OSError:
        return
    raise PrivilegeError('[proxy] user = %s: this system lets that user become root again' % user)


def _name_of(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return 'user %d' % uid
