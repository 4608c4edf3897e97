"""The differences between Python 2 and 3, and between versions of gevent. Nothing else.

Three kinds of string: octets (on the wire), native ``str`` (for people), and Unicode text, which is never kept.
"""
from __future__ import absolute_import, division, print_function

import gc
import os
import sys
from _socket import socket as NativeSocket

from gevent.monkey import get_original

PY2 = sys.version_info[0] == 2
KEYED_HASH = not PY2 and bool(sys.flags.hash_randomization)     # true: a client cannot predict hash() of octets
INTEGERS = (int, long) if PY2 else (int,)       # noqa: F821 (on Python 2 there is long)

try:
    from time import monotonic
except ImportError:
    try:
        from monotonic import monotonic
    except ImportError:
        def monotonic():
            """Return seconds since some moment, never set back. The steps of 10 ms are fine for deadlines."""
            return os.times()[4]

try:
    from gevent import signal_handler
except ImportError:
    from gevent import signal as signal_handler         # its name until gevent 1.3 # noqa: F401

# Not patched: for native threads, which may wait while the event loop runs (writers of logs, the watchdog).
start_native_thread, native_lock, native_lock_error, native_ident = get_original(
    'thread' if PY2 else '_thread', ['start_new_thread', 'allocate_lock', 'error', 'get_ident'])
native_sleep = get_original('time', 'sleep')
native_getaddrinfo = get_original('socket', 'getaddrinfo')
native_poll = get_original('select', 'poll')
to_path = getattr(os, 'fsdecode', lambda octets: octets)        # octets of a path to what open() takes
gc_freeze = getattr(gc, 'freeze', lambda: None)         # the collector then skips 10,000 rules: 60 ms less each time


def accept(listener):
    """Accept a connection of `listener`, a listening socket. Return (NativeSocket, peer). Raises socket.error."""
    if PY2:
        return getattr(listener, '_sock', listener).accept()
    fd, peer = listener._accept()
    return NativeSocket(listener.family, listener.type, listener.proto, fd), peer


def to_octets(text):
    """Return native or Unicode text as octets (UTF-8); octets as they are."""
    return text if isinstance(text, bytes) else text.encode('utf-8', 'backslashreplace')


def to_native(octets):
    """Return octets as native text. An octet that is not ASCII becomes ``\\xNN``."""
    if PY2:
        return octets.decode('latin-1').encode('ascii', 'backslashreplace')
    return octets.decode('ascii', 'backslashreplace')
