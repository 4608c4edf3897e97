"""End client connections before they end by themselves: when the process stops, and when the operator kills one.

First each client that waits for its response is told why. A short time later, what is left ends without a word.
"""
from __future__ import absolute_import, division, print_function

import functools

import gevent

from geproxy.compat import monotonic
from geproxy.net import workers

BRIEFLY = 1.0           # seconds that a connection has to end, once it is told to
LOOK = 0.01             # seconds between two looks whether it has


def end(live, handlers, error):
    """End connections, and wait until they have ended. Waits BRIEFLY seconds at most.

    `live`: {Conversation: its greenlet}, of which an entry leaves when that connection has ended; `handlers`:
    those of them that are to end; `error`: the ProxyError for a client that waits for its response.
    """
    _interrupt(live, handlers, error)
    deadline = monotonic() + BRIEFLY
    while handlers and monotonic() < deadline:
        gevent.sleep(LOOK)
        handlers = [handler for handler in handlers if handler in live]
    _interrupt(live, handlers, None)
    gevent.sleep(0)


def _interrupt(live, handlers, error):
    for handler in handlers:
        workers.interrupt(functools.partial(_ending, live, handler, error))


def _ending(live, handler, error):
    """Return (greenlet, what to throw into it), or None if the connection has ended. `error`: None: without a word."""
    greenlet = live.get(handler)
    if greenlet is None:
        return None
    return greenlet, error is not None and handler.end(error) or gevent.GreenletExit()
