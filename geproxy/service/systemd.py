"""What systemd is told about this process: sd_notify(3), and its watchdog. Says nothing where nobody asked."""
from __future__ import absolute_import, division, print_function

import os
import socket

from geproxy.compat import monotonic, to_octets

# What is told. RELOADING needs a time, so that it cannot be taken for an earlier one: see sd_notify(3).
READY, STOPPING, ALIVE = 'READY=1', 'STOPPING=1', 'WATCHDOG=1'

_socket = []        # kept open: without it a process that is out of descriptors would look dead, and be killed


def tell(*lines):
    """Send native text, one assignment in a line, to whoever started this process, if that is systemd. Never waits."""
    place = os.environ.get('NOTIFY_SOCKET', '')
    if place[:1] not in ('/', '@'):
        return
    try:
        if not _socket:
            _socket.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            _socket[0].setblocking(False)
        # '@' stands for the NUL of an abstract address.
        _socket[0].sendto(to_octets('\n'.join(lines)), '\0' + place[1:] if place[:1] == '@' else place)
    except socket.error:
        pass                        # it is gone, or busy: nothing here depends on it


def reloading():
    """The ini file is about to be read; `tell(READY)` is to follow."""
    tell('RELOADING=1', 'MONOTONIC_USEC=%d' % (monotonic() * 1e6))


def status(text):
    """A line for `systemctl status`, as an assignment."""
    return 'STATUS=' + ' '.join(text.split())


def beat():
    """Seconds between two `tell(ALIVE)`, half of what WatchdogSec= allows; None if nobody watches this process."""
    allowed, pid = os.environ.get('WATCHDOG_USEC', ''), os.environ.get('WATCHDOG_PID', '')
    if not allowed.isdigit() or not int(allowed) or pid not in ('', '%d' % os.getpid()):
        return None
    return int(allowed) / 2e6
