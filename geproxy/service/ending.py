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


def end(live, conversations, error):
    """End connections, and wait until they have ended. Waits BRIEFLY seconds at most.

    `live`: {Conversation: its greenlet}, of which an entry leaves when that connection has ended; `conversations`:
    those of them that are to end; `error`: the ProxyError for a client that waits for its response.
    """
    _interrupt(live, conversations, error)
    deadline = monotonic() + BRIEFLY
    while conversations and monotonic() < deadline:
        gevent.sleep(LOOK)
        conversations = [conversation for conversation in conversations if conversation in live]
    _interrupt(live, conversations, None)
    gevent.sleep(0)


def _interrupt(live, conversations, error):
    for conversation in conversations:
        workers.interrupt(functools.partial(_ending, live, conversation, error))


def _ending(live, conversation, error):
    """Return (greenlet, what to throw into it), or None if the connection has ended. `error`: None: without a word."""
    greenlet = live.get(conversation)
    if greenlet is None:
        return None
    return greenlet, error is not None and conversation.end(error) or gevent.GreenletExit()
