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

    `most`: octets in all, None for no limit; `held`: octets that are charged now; `refused`: how often one was refused.
    """
    __slots__ = ('most', 'held', 'refused')

    def __init__(self, most=None):
        self.most = most
        self.held = self.refused = 0

    def charge(self, before, count):
        """Let one connection hold `count` octets instead of the `before` that it held until now.

        Raises MemoryFull, and changes nothing, if all together would hold more than `most`. To hold less is always
        allowed.
        """
        more = count - before
        if more > 0 and self.most is not None and self.held + more > self.most:
            self.refused += 1
            raise errors.MemoryFull('all connections together hold %d octets, and %d more are over the limit of %d '
                                    '([limits] memory)' % (self.held, more, self.most))
        self.held += more

    def force(self, before, count):
        """Do the same for octets that are there already and cannot be refused any more."""
        self.held += count - before

    def is_short(self):
        """Return True if so little is left that large pieces should be avoided."""
        return self.most is not None and self.held * SHORT > self.most * (SHORT - 1)


# There is one hub in a process, so there is one budget; a reload changes its `most`.
budget = Budget()
