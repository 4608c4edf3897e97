"""Notices a client that leaves while its greenlet waits for a look-up, a connection, or a log-in (DESIGN, 2). Then that
wait ends: ClientLost is raised in the greenlet.

A short wait costs only an entry in a dict. The client is watched only during a longer wait. client_watch.ClientWatch
says how a client that has left is recognised. Knows no HTTP.
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

TICK = 0.2      # seconds between two rounds; a client is watched if its wait lasts for a whole one
CHECKS = 500    # clients that are checked in one round, which takes about 2 ms


class Waiting(object):
    """A client that is watched, and the greenlet that waits on its behalf."""
    __slots__ = ('ended', '_exchange', '_greenlet', '_watch', '_room')

    def __init__(self, exchange, greenlet, ended):
        """Watch the client of an exchange.

        `exchange`: the Exchange; `greenlet`: the one that waits; `ended`: a function that is called with this object
        when nothing more is read from the client: from then on, `check` must be called in each round.
        """
        self.ended = ended
        self._exchange, self._greenlet = exchange, greenlet
        self._room = exchange.proxy.limits.head_size
        self._watch = ClientWatch(exchange.client, exchange.proxy.waits.half_closed, self._room)
        exchange.client.reader.start(self._read)

    def stop(self):
        """Do not watch the client any more."""
        self._exchange.client.reader.stop()

    def check(self):
        """Raise ClientLost in the greenlet if the client has left. Sends the start of the response ahead to find out:
        see Exchange.probe."""
        try:
            if self._exchange.client.ended:
                self._watch.check(monotonic(), self._exchange.probe)
            else:
                self._watch.check_reset()
        except errors.ProxyError as error:
            self._greenlet.throw(error)

    def _read(self):
        """Read the next request, or the end. The hub calls this when octets have arrived."""
        client = self._exchange.client
        try:
            if not client.ended and len(client.buffer) < self._room:
                client.fill_ahead()
        except errors.ProxyError as error:
            self._greenlet.throw(error)
            return
        if client.ended or len(client.buffer) >= self._room:
            self.stop()
            self.ended(self)


class Leaving(object):
    """All clients for which a greenlet waits. There is one object of this class in the process."""

    def __init__(self):
        # {Exchange: its greenlet}: waits that began after the last round, and waits that began before it.
        self._new, self._old = {}, {}
        self._watched = {}                          # {Exchange: Waiting}
        self._ended = collections.OrderedDict()     # {Waiting: None}; the first is checked next
        self._timer = None
        # A check that fails must not keep the others waiting.
        self._guarded = supervise.guard('a look at clients that may leave', lambda do, *arguments: do(*arguments))

    def watch(self, exchange):
        """Note that the current greenlet begins to wait for the client of `exchange`, an Exchange.

        Until `forget` is called, ClientLost may be raised in this greenlet wherever it waits.
        """
        if self._timer is None:
            self._timer = get_hub().loop.timer(TICK, TICK, ref=False)
            self._timer.start(self._tick)
        self._new[exchange] = getcurrent()

    def forget(self, exchange):
        """Note that the wait for the client of `exchange`, an Exchange, is over."""
        if self._new.pop(exchange, None) is None and self._old.pop(exchange, None) is None:
            waiting = self._watched.pop(exchange, None)
            if waiting is not None:
                waiting.stop()
                self._ended.pop(waiting, None)

    def _tick(self):
        """Do one round. The timer calls this."""
        old, self._old, self._new = self._old, self._new, {}
        for exchange, greenlet in old.items():
            self._guarded(self._begin, exchange, greenlet)
        for waiting in list(itertools.islice(self._ended, CHECKS)):
            if self._ended.pop(waiting, waiting) is None:       # unless the check of another one has ended it
                self._guarded(self._end, waiting)

    def _begin(self, exchange, greenlet):
        self._watched[exchange] = Waiting(exchange, greenlet, self._end)

    def _end(self, waiting):
        self._ended[waiting] = None
        waiting.check()


_all = Leaving()
watch, forget = _all.watch, _all.forget
