"""How much memory all connections together may hold: one budget for the process. Reads nothing, waits for nothing.

Most connections hold next to nothing: the scratch buffer of the process belongs to nobody for longer than a moment.
What can add up is charged to the budget: heads that are large, what a slow peer has not taken yet, and what was read
ahead. Small amounts are not counted, as counting would cost each request something.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors

FREE = 8 * 1024         # octets of one connection that are not counted
SHORT = 4               # the budget is short when less than one part of so many is left


class Budget(object):
    """A number of octets that is shared by all connections.

    `held`: octets that are charged now; `refused`: how often a charge was refused; `short`: true if so little is left
    that large pieces should be avoided.
    """
    __slots__ = ('held', 'refused', 'short', '_most')

    def __init__(self, most=None):
        """`most`: octets in all, None for no limit."""
        self.held = self.refused = 0
        self.most = most

    @property
    def most(self):
        """How many octets may be held in all, None for no limit."""
        return self._most

    @most.setter
    def most(self, most):
        """Change it; what is held already stays."""
        self._most = most
        self.force(0, 0)

    def charge(self, before, count):
        """Let one connection hold `count` octets instead of the `before` that it held until now.

        Raises MemoryFull, and changes nothing, if all together would hold more than `most`. To hold less is always
        allowed.
        """
        more = count - before
        if more > 0 and self._most is not None and self.held + more > self._most:
            self.refused += 1
            raise errors.MemoryFull('all connections together hold %d octets, and %d more are over the limit of %d '
                                    '([limits] memory)' % (self.held, more, self._most))
        self.force(before, count)

    def force(self, before, count):
        """Do the same for octets that are there already and cannot be refused any more."""
        self.held += count - before
        self.short = self._most is not None and self.held * SHORT > self._most * (SHORT - 1)


# One event loop, so one budget, in each process: see one_hub. A reload changes its `most`.
budget = Budget()
