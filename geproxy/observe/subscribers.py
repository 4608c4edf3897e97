"""Exchanges as they end, for those who watch: a stream of JSON lines for each watcher, from a bounded queue.

Whoever reads too slowly misses lines, and is told how many; the proxy never waits for a watcher, and formats nothing
while there is none. Writes to nobody: the watchers come and take.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent.event import Event

from geproxy.observe.record import json_line

QUEUE = 1000            # events that wait for one watcher; a record has about 1 KiB


def line_of(event, record, query):
    """An event about a record as a JSON object: the fields of the json log, behind what has happened."""
    return '{"event": "%s", %s' % (event, json_line(record, query)[1:])


class Watcher(object):
    """One who watches. `arrived`: an Event, set when there is something to take, or an end."""

    def __init__(self, query):
        """`query`: show URLs with their query strings."""
        self.arrived = Event()
        self._query = query
        self._dropped = 0
        self._waiting = collections.deque()

    def ended(self, record):
        """An exchange has ended."""
        self._put(record)

    def opened(self, record):
        """A tunnel has opened."""
        self._put(line_of('opened', record, self._query))       # now, as its record will go on to change

    def _put(self, what):
        if len(self._waiting) < QUEUE:
            self._waiting.append(what)
            self.arrived.set()
        else:
            self._dropped += 1

    def take(self):
        """The lines that wait, as a list of native text."""
        self.arrived.clear()
        lines = [what if isinstance(what, str) else line_of('ended', what, self._query) for what in self._waiting]
        self._waiting.clear()
        if self._dropped:
            lines.append('{"event": "dropped", "count": %d}' % self._dropped)
            self._dropped = 0
        return lines


class Observer(object):
    """Stands where log.Log does, before it, and shows the records to the metrics and to those who watch too."""

    def __init__(self, log, metrics):
        self._log, self._metrics = log, metrics
        self._watchers = []
        self.say = log.say

    def access(self, record):
        """An exchange has ended."""
        self._log.access(record)
        self._metrics.observe(record)
        for watcher in self._watchers:
            watcher.ended(record)

    def opened(self, record):
        """A tunnel has opened."""
        self._log.opened(record)
        self._metrics.opened(record)
        for watcher in self._watchers:
            watcher.opened(record)

    def watch(self, query):
        """A Watcher, that sees what happens from now on until `unwatch`."""
        watcher = Watcher(query)
        self._watchers.append(watcher)
        return watcher

    def unwatch(self, watcher):
        """It has seen enough."""
        self._watchers.remove(watcher)
