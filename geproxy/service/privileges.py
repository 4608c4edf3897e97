"""From root to somebody who may do less, once the ports are open. For good: it is tried whether there is a way back.

Done before the logs are opened and before there are threads. So whatever that user may not do -- read its Python, write
a log, open it anew tomorrow -- shows at the start, and not in the night.
"""
from __future__ import absolute_import, division, print_function

import grp
import os
import pwd


GROUP_ALONE = '[proxy] group needs [proxy] user'


class PrivilegeError(Exception):
    """The user cannot be changed; the message says why, and what to do."""


def drop(user, group, folders):
    """Become `user`, native text, with `group`, or its own one if that is ''; both '' change nothing. `folders`: paths
    that it must be able to read, as this program still has to import from there. Raises PrivilegeError."""
    if not user:
        if group:
            raise PrivilegeError(GROUP_ALONE)
        return
    uid, gid, name = _find(user, group)
    if (os.getuid(), os.geteuid()) == (uid, uid) and gid in [os.getegid()] + os.getgroups():
        return                      # whoever started us has seen to it
    if os.geteuid() != 0:
        raise PrivilegeError('[proxy] user = %s: only root can become somebody else, and this was started by %s; leave '
                             'user empty, or start it as root' % (user, _name_of(os.geteuid())))
    try:
        os.initgroups(name, gid)    # in this order: later it would not be allowed any more
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise PrivilegeError('[proxy] user = %s: %s' % (user, error.strerror))
    _check(user, uid, gid)
    for folder in folders:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise PrivilegeError('[proxy] user = %s: it cannot read %s, which it has to: chmod, or install geproxy and '
                                 'its Python where all can read them' % (user, folder))


def complaint(user, group):
    """Why `drop` will refuse that user and group on this host whoever starts it, as a sentence; '' if it will not."""
    try:
        if user:
            _find(user, group)
    except PrivilegeError as error:
        return str(error)
    return '' if user or not group else GROUP_ALONE


def _find(user, group):
    """-> (uid, gid, name)"""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError("[proxy] user: there is no user '%s'; make it: useradd --system %s" % (user, user))
    if entry.pw_uid == 0:
        raise PrivilegeError("[proxy] user: '%s' is root itself" % user)
    if not group:
        return entry.pw_uid, entry.pw_gid, entry.pw_name
    try:
        return entry.pw_uid, grp.getgrnam(group).gr_gid, entry.pw_name
    except KeyError:
        raise PrivilegeError("[proxy] group: there is no group '%s'; make it: groupadd --system %s" % (group, group))


def _check(user, uid, gid):
    """It has worked, and there is no way back."""
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PrivilegeError('[proxy] user = %s: it was set, but does not hold' % user)
    try:
        os.setuid(0)
    except OSError:
        return
    raise PrivilegeError('[proxy] user = %s: there is a way back to root' % user)


def _name_of(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return 'user %d' % uid
