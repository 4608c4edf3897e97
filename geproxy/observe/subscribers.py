"""A stream of JSON lines about exchanges for each subscriber (tail, top), from a bounded queue.

A subscriber that reads too slowly misses lines, and is told how many; the proxy never waits for it, and formats nothing
while there is none. Sends nothing: the subscriber's connection takes the lines.
"""
from __future__ import absolute_import, division, print_function

import collections

from gevent.event import Event

from geproxy.observe.formats import json_line

QUEUE = 1000            # lines that wait for one subscriber; a line has about 0.5 KiB, and 50 KiB at most


def line_of(event, record, query):
    """Return a line about an event: a JSON object with `event`, then the fields of the json log.

    `event`: 'opened' or 'ended'; `record`: a Record; `query`: show the query string of the URL.
    """
    return '{"event": "%s", %s' % (event, json_line(record, query)[1:])


class Subscriber(object):
    """An observer of all exchanges for one reader. `arrived`: an Event, set while there are lines to take."""

    def __init__(self, query):
        """Begin with an empty queue. `query`: show the query strings of URLs."""
        self.arrived = Event()
        self._query = query
        self._dropped = 0
        self._lines = collections.deque()

    def ended(self, record):
        """Queue a line about an exchange that has ended. `record`: its Record."""
        self._put('ended', record)

    def opened(self, record):
        """Queue a line about a tunnel that has opened. `record`: the Record of its exchange."""
        self._put('opened', record)

    def _put(self, event, record):
        # Formatted now, not when it is read: the record has the secrets of its request, and goes with its exchange.
        if len(self._lines) < QUEUE:
            self._lines.append(line_of(event, record, self._query))
            self.arrived.set()
        else:
            self._dropped += 1

    def take(self):
        """Return the lines that wait, as a list of native text; the last one says how many were dropped, if any."""
        self.arrived.clear()
        lines = list(self._lines)
        self._lines.clear()
        if self._dropped:
            lines.append('{"event": "dropped", "count": %d}' % self._dropped)
            self._dropped = 0
        return lines
