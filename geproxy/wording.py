"""Small parts of the sentences that people read."""
from __future__ import absolute_import, division, print_function

import difflib


def did_you_mean(word, words):
    """Return ' (did you mean X?)' if one of `words` is near to `word`, else ''.

    `word`: native text that was read; `words`: an iterable of those that would have been right.
    """
    near = difflib.get_close_matches(word, list(words), 1, 0.6)
    return ' (did you mean %s?)' % near[0] if near else ''


def count(number, what, ending='s'):
    """Return a number with its noun, '1 process' or '2 processes'.

    `number`: an int; `what`: the noun in the singular, native text; `ending`: what the plural adds to it.
    """
    return '%d %s%s' % (number, what, '' if number == 1 else ending)
