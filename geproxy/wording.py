"""Small parts of the sentences that people read."""
from __future__ import absolute_import, division, print_function

import difflib

# strftime would give the names in the language of the host.
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')


def did_you_mean(word, words):
    """Return ' (did you mean X?)' if one of `words` is near to `word`, else ''.

    `word`: native text that was read; `words`: an iterable of those that would have been right.
    """
    near = difflib.get_close_matches(word, list(words), 1, 0.6)
    return ' (did you mean %s?)' % near[0] if near else ''
