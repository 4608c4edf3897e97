"""Every difference between Python 2 and 3, and between gevents, is settled here. Nothing else is.

Three kinds of string: octets (what is on the wire), native ``str`` (options, texts for people, addresses for
``getaddrinfo``), and Unicode text, which is kept nowhere.
"""
from __future__ import absolute_import, division, print_function

import gc
import os
import sys
from _socket import socket as NativeSocket

from gevent.monkey import get_original

PY2 = sys.version_info[0] == 2
INTEGERS = (int, long) if PY2 else (int,)       # noqa: F821 (long exists where it is asked for)

try:
    from time import monotonic
except ImportError:
    try:
        from monotonic import monotonic
    except ImportError:
        def monotonic():
            """Seconds since some start, never set back; in steps of 10 ms, good enough for deadlines."""
            return os.times()[4]

try:
    from gevent import signal_handler
except ImportError:
    from gevent import signal as signal_handler         # its name until gevent 1.3 # noqa: F401

# Unpatched, for threads that may block without stopping the hub: those that write logs, and the watchdog.
start_native_thread, native_lock, native_lock_error, native_ident = get_original(
    'thread' if PY2 else '_thread', ['start_new_thread', 'allocate_lock', 'error', 'get_ident'])
native_sleep = get_original('time', 'sleep')
native_getaddrinfo = get_original('socket', 'getaddrinfo')
native_poll = get_original('select', 'poll')
native_fork, native_waitpid = get_original('os', ['fork', 'waitpid'])
to_path = getattr(os, 'fsdecode', lambda octets: octets)        # octets of a path -> what open() takes
gc_freeze = getattr(gc, 'freeze', lambda: None)         # garbage is not looked for in 10,000 rules: 60 ms each time


def accept(listener):
    """Take a connection that has come -> (NativeSocket, peer)."""
    if PY2:
        return getattr(listener, '_sock', listener).accept()
    fd, peer = listener._accept()
    return NativeSocket(listener.family, listener.type, listener.proto, fd), peer


def to_octets(text):
    """Native text or Unicode -> octets (UTF-8)."""
    return text if isinstance(text, bytes) else text.encode('utf-8', 'backslashreplace')


def to_native(octets):
    """Octets -> native text; what is not ASCII becomes ``\\xNN``."""
    if PY2:
        return octets.decode('latin-1').encode('ascii', 'backslashreplace')
    return octets.decode('ascii', 'backslashreplace')
