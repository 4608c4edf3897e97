"""A budget of memory that all connections of the process share. Reads nothing, waits for nothing.

Most connections hold almost no octets. The octets that can add up are charged to the budget: large heads, octets that a
slow peer has not taken yet, and octets that were read ahead. Small amounts are not counted, because to count them would
slow down each request.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors

FREE = 8 * 1024         # octets of one connection that are not counted
SHORT = 4               # the budget is short when less than one in so many octets is left


class Budget(object):
    """A number of octets that all connections share.

    `held`: octets that are charged now; `refused`: how many charges were refused; `short`: True if so little is left
    that connections should read small pieces.
    """
    __slots__ = ('held', 'refused', 'short', '_most')

    def __init__(self, most=None):
        """Make an unused budget. `most`: octets in all, None for no limit."""
        self.held = self.refused = 0
        self.most = most

    @property
    def most(self):
        """How many octets may be held in all, None for no limit."""
        return self._most

    @most.setter
    def most(self, most):
        """Set the limit to `most` octets, or None. Octets that are held already stay."""
        self._most = most
        self.force(0, 0)

    def charge(self, before, count):
        """Charge one connection `count` octets in place of the `before` octets that it held until now.

        Raises MemoryFull, and changes nothing, if all together would hold more than `most`. To hold fewer octets is
        always allowed.
        """
        more = count - before
        if more > 0 and self._most is not None and self.held + more > self._most:
            self.refused += 1
            raise errors.MemoryFull('all connections together hold %d octets, and %d more are over the limit of %d '
                                    '([limits] memory)' % (self.held, more, self._most))
        self.force(before, count)

    def force(self, before, count):
        """Charge octets that are in memory already, without refusing them. `before`, `count`: as for `charge`."""
        self.held += count - before
        self.short = self._most is not None and self.held * SHORT > self._most * (SHORT - 1)


# One event loop, so one budget, in each process: see one_hub. A reload changes its `most`.
budget = Budget()
