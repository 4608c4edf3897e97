"""Messages to systemd about this process: sd_notify(3), and its watchdog. Without systemd, nothing is sent."""
from __future__ import absolute_import, division, print_function

import os
import socket

from geproxy.compat import monotonic, to_octets

READY, STOPPING, ALIVE = 'READY=1', 'STOPPING=1', 'WATCHDOG=1'

# Kept open: if a message needed a new descriptor, a process that is out of them would look dead and be killed.
_socket = []


def tell(*lines):
    """Send a message to systemd, if it has started this process. Never waits; what cannot be sent is lost.

    `lines`: native text, one assignment (NAME=value) each.
    """
    path = os.environ.get('NOTIFY_SOCKET', '')
    if path[:1] not in ('/', '@'):
        return
    try:
        if not _socket:
            _socket.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            _socket[0].setblocking(False)
        # '@' stands for the NUL octet of an abstract address.
        _socket[0].sendto(to_octets('\n'.join(lines)), '\0' + path[1:] if path[:1] == '@' else path)
    except socket.error:
        pass                        # systemd is gone or busy; nothing here depends on it


def reloading():
    """Tell systemd that the ini file will be read now. The caller sends READY when that is done."""
    # With the time, systemd can tell this reload from an earlier one: see sd_notify(3).
    tell('RELOADING=1', 'MONOTONIC_USEC=%d' % (monotonic() * 1e6))


def status(text):
    """Return the assignment that makes `systemctl status` show `text`, native text, in one line."""
    return 'STATUS=' + ' '.join(text.split())


def watchdog_interval():
    """Return the seconds between two `tell(ALIVE)`: half of WatchdogSec= in the unit. None if the watchdog is off."""
    allowed, pid = os.environ.get('WATCHDOG_USEC', ''), os.environ.get('WATCHDOG_PID', '')
    if not allowed.isdigit() or not int(allowed) or pid not in ('', '%d' % os.getpid()):
        return None
    return int(allowed) / 2e6
