"""What `geproxy doctor` has found: how bad it is, and how that is said."""
from __future__ import absolute_import, division, print_function

import collections

OK, NOTE, WARNING, ERROR = range(4)
WORDS = ('ok', 'note', 'WARNING', 'ERROR')
EXITS = (0, 0, 1, 2)            # exit codes by the worst severity

# `severity`: an index of WORDS; `what`: what was found; `remedy`: what to change, or ''. Native text.
Finding = collections.namedtuple('Finding', 'severity what remedy')
