"""Start a process: open the listeners, give up root, open the log; then serve until it is told to stop.

A step that fails is told in one line on standard error. The exit code says whether another start can succeed.
"""
from __future__ import absolute_import, division, print_function

import os

import gevent

from geproxy.observe.log import Log, complain
from geproxy.service import listeners, privileges, server, systemd
from geproxy.settings import loading
from geproxy.settings.rule_files import beside

FAILED = 1              # exit code: a port, a socket or a log cannot be had now; a later start may succeed
BAD_FILE = 78           # exit code, EX_CONFIG of sysexits(3): no start can succeed before the ini file is changed
# Modules are imported from these folders, some only when they are needed: those of geproxy, gevent and Python.
FOLDERS = [os.path.dirname(os.path.abspath(module.__file__)) for module in (loading, gevent, os)]


def run(path, settings):
    """Serve until the process is told to stop. Waits.

    `path`: of the ini file as native text, or None; `settings`: the Settings that it gave. Returns the exit code: 0,
    FAILED or BAD_FILE.
    """
    try:
        return _serve(path, settings)
    except listeners.ListenError as error:
        complain(error.args[0])
        return FAILED
    except privileges.PrivilegeError as error:
        complain(error.args[0])
        systemd.tell(systemd.status(error.args[0]))         # `systemctl status` shows it even when this process is gone
        return BAD_FILE


def _serve(path, settings):
    sockets = listeners.open_all(settings.proxy.listen)
    privileges.drop(settings.proxy.user, settings.proxy.group, FOLDERS)
    # Opened after that, so that the socket files belong to the user who runs geproxy.
    admin_sockets = listeners.open_all(settings.admin.listen, '[admin] listen')
    for needed in (path, settings.upstream.parents and beside(path, settings.upstream.parents)):
        if needed and not os.access(needed, os.R_OK):
            complain('%s: user %s cannot read it, so a reload will fail; until the next start the settings hold' % (
                needed, settings.proxy.user))
    try:
        log = Log(settings.log)
    except (IOError, OSError) as error:
        complain("cannot open the log '%s': %s: geproxy must be able to write there; or choose another path in "
                 '[log]' % (error.filename, error.strerror))
        return FAILED
    try:
        return server.Server(path, settings, log, sockets, admin_sockets).run()
    finally:
        log.close()
