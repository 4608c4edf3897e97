"""Notices that a client leaves while its greenlet waits for something else than an origin's answer: for a name, a
connection, or a log-in (DESIGN, 2). What is waited for is given up then: ClientLost is raised in that greenlet.

A short wait costs an entry in a dict. Only a client that waits for longer is watched; see client_watch.ClientWatch for
what can be known of it. Knows no HTTP.
"""
from __future__ import absolute_import, division, print_function

import collections
import itertools

from gevent import getcurrent
from gevent.hub import get_hub

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange.client_watch import ClientWatch
from geproxy.net import supervise

TICK = 0.2      # seconds between two looks; a client is watched when its wait has seen one of them
LOOKS = 500     # clients that are looked at each time: about 2 ms


class Leaving(object):
    """A client that is watched, and the greenlet that is told."""
    __slots__ = ('ended', '_handler', '_greenlet', '_watch', '_room')

    def __init__(self, handler, greenlet, ended):
        """`ended`: a function of this Leaving, called when nothing more is read from the client, so that it has to be
        looked at from time to time."""
        self.ended = ended
        self._handler, self._greenlet = handler, greenlet
        self._room = handler.proxy.limits.head_size
        self._watch = ClientWatch(handler.client, handler.proxy.waits.half_closed, self._room)
        handler.client.reader.start(self._read)

    def stop(self):
        """It is not watched any more."""
        self._handler.client.reader.stop()

    def look(self):
        """Is it still there? What is to be sent first anyway tells: see Reply.probe."""
        try:
            if self._handler.client.ended:
                self._watch.check(monotonic(), self._handler.reply.probe)
            else:
                self._watch.check_reset()
        except errors.ProxyError as error:
            self._greenlet.throw(error)

    def _read(self):
        """Called by the hub: something has come, the next request or the end."""
        client = self._handler.client
        try:
            if not client.ended and len(client.buffer) < self._room:
                client.fill_ahead()
        except errors.ProxyError as error:
            self._greenlet.throw(error)
            return
        if client.ended or len(client.buffer) >= self._room:
            self.stop()
            self.ended(self)


class Leavings(object):
    """All clients whose greenlets wait. One for the process."""

    def __init__(self):
        self._new, self._seen = {}, {}              # {handler.Handler: its greenlet}: not seen by a look yet; by one
        self._watched = {}                          # {Handler: Leaving}
        self._ended = collections.OrderedDict()     # {Leaving: None}; who is looked at next is first
        self._timer = None
        # One look that fails must not keep the others waiting.
        self._guarded = supervise.guard('a look at clients that may leave', lambda do, *arguments: do(*arguments))

    def watch(self, handler):
        """The current greenlet begins to wait for something, on behalf of a Handler's client. Until `forget`,
        ClientLost may be raised in it wherever it waits."""
        if self._timer is None:
            self._timer = get_hub().loop.timer(TICK, TICK, ref=False)
            self._timer.start(self._tick)
        self._new[handler] = getcurrent()

    def forget(self, handler):
        """It does not wait any more."""
        if self._new.pop(handler, None) is None and self._seen.pop(handler, None) is None:
            leaving = self._watched.pop(handler, None)
            if leaving is not None:
                leaving.stop()
                self._ended.pop(leaving, None)

    def _tick(self):
        seen, self._seen, self._new = self._seen, self._new, {}
        for handler, greenlet in seen.items():
            self._guarded(self._begin, handler, greenlet)
        for leaving in list(itertools.islice(self._ended, LOOKS)):
            if self._ended.pop(leaving, leaving) is None:       # unless what another one was told has ended it
                self._guarded(self._end, leaving)

    def _begin(self, handler, greenlet):
        self._watched[handler] = Leaving(handler, greenlet, self._end)

    def _end(self, leaving):
        self._ended[leaving] = None
        leaving.look()


_all = Leavings()
watch, forget = _all.watch, _all.forget
