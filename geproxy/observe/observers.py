"""Tells observers of each exchange: the log, the metrics, subscribers. Knows none of them, keeps no record.

An observer is any object with some of these methods, each a function of a Record, which must not wait:

    began    the first octet of a request has come; its head is not read yet
    opened   a tunnel has opened (CONNECT, or an upgraded connection)
    ended    the exchange has ended, with success or not; always the last call
"""
from __future__ import absolute_import, division, print_function

from geproxy.net import supervise

EVENTS = ('began', 'opened', 'ended')


class Observers(object):
    """The observers of a process, in the order in which they are told. A reload does not change them."""

    def __init__(self, say, observers=()):
        """`say`: a function that logs native text, for an observer that fails; `observers`: the first ones."""
        self._report = say
        self._use(tuple(observers))

    def add(self, observer):
        """Tell `observer`, too, from the next event on."""
        self._use(self._observers + (observer,))

    def remove(self, observer):
        """Tell `observer` no more."""
        self._use(tuple(each for each in self._observers if each is not observer))

    def _use(self, observers):
        self._observers = observers
        # Bound once: an event that no observer listens to costs a loop over nothing.
        self._began, self._opened, self._ended = [
            tuple(getattr(observer, event) for observer in observers if hasattr(observer, event)) for event in EVENTS]

    def began(self, record):
        """Tell the observers that an exchange has begun. `record`: its Record."""
        for tell in self._began:
            try:
                tell(record)
            except Exception:
                self._failed(tell)

    def opened(self, record):
        """Tell the observers that a tunnel has opened. `record`: the Record of its exchange."""
        for tell in self._opened:
            try:
                tell(record)
            except Exception:
                self._failed(tell)

    def ended(self, record):
        """Tell the observers that an exchange has ended. `record`: its Record, complete."""
        for tell in self._ended:            # not one function for all events: this is called for each request
            try:
                tell(record)
            except Exception:
                self._failed(tell)

    def _failed(self, tell):
        """Report the exception that is being handled: it costs neither the exchange nor the other observers."""
        supervise.failed('observer ' + type(tell.__self__).__name__, self._report)
