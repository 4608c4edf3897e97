"""Counts the file descriptors of the process, and keeps one in reserve.

The reserve is an open /dev/null. When no descriptor is left, it is closed. Then one more client can be accepted, and
gets the answer that the proxy is full.
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

    `limit`: how many it may have; `reserve`: the one in reserve, an integer; None if there are none left.
    """

    def __init__(self, say):
        """`say`: a function that writes native text to the error log."""
        self.limit = raise_limit()
        self._report = say
        self.reserve = None         # a plain attribute, because each connection asks for it
        self._said_at = None

    def room(self):
        """Return for how many client connections there are descriptors, at least 1."""
        return max(1, min(MOST_CONNECTIONS, (self.limit - SPARE) // EACH))

    def left(self, connections):
        """Return how many descriptors are left if `connections`, an int, client connections take theirs. It may be
        negative."""
        return self.limit - SPARE - EACH * connections

    def fill_reserve(self):
        """Open the reserve, unless it is open or no descriptor is left."""
        if self.reserve is None:
            try:
                self.reserve = os.open(os.devnull, os.O_RDONLY)
            except OSError:
                pass                            # none left; until there are, connections are turned away

    def free_reserve(self):
        """Close the reserve, so that another descriptor can be opened. Return False if it was closed already."""
        if self.reserve is None:
            return False
        os.close(self.reserve)
        self.reserve = None
        return True

    def report_shortage(self, connections):
        """Log that no descriptors are left, at most once in QUIET seconds. `connections`: how many clients there are.
        """
        now = monotonic()
        if self._said_at is None or now - self._said_at > QUIET:
            self._said_at = now
            self._report('out of file descriptors (%d) with %d connections: clients get 503; raise ulimit -n' % (
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
