"""Ends client connections early: when the process stops, and when the operator kills one.

First each client that waits for its response gets an error as the response. A short time later, the connections that
are left end without an answer.
"""
from __future__ import absolute_import, division, print_function

import functools

import gevent

from geproxy.compat import monotonic
from geproxy.net import workers

BRIEFLY = 1.0           # seconds in which a connection must end
LOOK = 0.01             # seconds between two checks if it has ended


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
    """Return (greenlet, the exception to throw into it), or None if the connection has ended. `error`: None to send no
    answer."""
    greenlet = live.get(conversation)
    if greenlet is None:
        return None
    return greenlet, error is not None and conversation.end(error) or gevent.GreenletExit()
