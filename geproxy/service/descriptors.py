"""The file descriptors of the process: for how many connections they are enough, and one in reserve.

The reserve is an open /dev/null. When no descriptor is left, it is closed, so that one more client can be accepted and
told that the proxy is full.
"""
from __future__ import absolute_import, division, print_function

import os
import resource

from geproxy.compat import monotonic

SPARE = 64                  # for logs, listeners, the event loop, look-ups and pipes
EACH = 2                    # for one client connection: its own, and the one to an origin
MOST_CONNECTIONS = 50000    # of [limits] connections = auto, on a host without a limit
QUIET = 10.0                # seconds between two messages that there are none left


class Descriptors(object):
    """The descriptors of this process.

    `limit`: how many it may have.
    """

    def __init__(self, say):
        """`say`: takes a message for the error log as native text."""
        self.limit = raise_limit()
        self._say = say
        self._reserve = None
        self._said_at = None

    @property
    def has_reserve(self):
        """True if the one in reserve is there: false means that there are none left."""
        return self._reserve is not None

    def room(self):
        """Return for how many client connections there are descriptors, at least 1."""
        return max(1, min(MOST_CONNECTIONS, (self.limit - SPARE) // EACH))

    def left(self, connections):
        """Return how many are left beside those that so many client connections may need; may be negative."""
        return self.limit - SPARE - EACH * connections

    def fill_reserve(self):
        """Open the one in reserve, unless it is there or there are none left."""
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                pass                            # none left; until there are, connections are turned away

    def free_reserve(self):
        """Close the one in reserve, so that another can be opened. Return False if it was closed already."""
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        return True

    def report_shortage(self, connections):
        """Say that there are none left, at most once in QUIET seconds. `connections`: how many clients there are."""
        now = monotonic()
        if self._said_at is None or now - self._said_at > QUIET:
            self._said_at = now
            self._say('out of file descriptors (%d) with %d connections: clients get 503; raise ulimit -n' % (
                self.limit, connections))


def raise_limit():
    """Raise the soft limit of file descriptors to the hard limit, and return how many this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError, resource.error):
            pass                                # some systems have a lower limit of their own: the old one stays
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft if soft != resource.RLIM_INFINITY else EACH * MOST_CONNECTIONS + SPARE
