"""Every difference between Python 2 and 3, and between gevents, is settled here. Nothing else is.

Three kinds of string: octets (``b''``: what was or will be on the wire), native ``str`` (names of options,
texts for people, addresses for ``getaddrinfo``), and Unicode text, which is kept nowhere.
"""
from __future__ import absolute_import, division, print_function

import gc
import os
import sys

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

# Unpatched, for the one thread that writes logs: it may block without stopping the hub.
start_native_thread, native_lock = get_original(
    'thread' if PY2 else '_thread', ['start_new_thread', 'allocate_lock'])
native_sleep = get_original('time', 'sleep')
native_getaddrinfo = get_original('socket', 'getaddrinfo')
native_socket = get_original('socket', 'socket')


# So that collections of garbage do not visit what stays anyway, as 10,000 rules would cost 60 ms each time.
gc_freeze = getattr(gc, 'freeze', lambda: None)


to_path = getattr(os, 'fsdecode', lambda octets: octets)        # octets of a path -> what open() takes


def to_octets(text):
    """Native text or Unicode -> octets (UTF-8)."""
    return text if isinstance(text, bytes) else text.encode('utf-8', 'backslashreplace')


def to_native(octets):
    """Octets -> native text; what is not ASCII becomes ``\\xNN``."""
    if PY2:
        return octets.decode('latin-1').encode('ascii', 'backslashreplace')
    return octets.decode('ascii', 'backslashreplace')
