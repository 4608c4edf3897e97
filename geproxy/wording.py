"""Small parts of the sentences that people read."""
from __future__ import absolute_import, division, print_function

# As in HTTP dates and log lines. strftime would give the names in the language of the host.
MONTHS = ('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec')

SHORTENED = 3       # letters of a word that can be the beginning of another one, for `did_you_mean`


def plural(number, word, ending='s'):
    """Return a number with its word, as '1 connection' or '2 connections'.

    `number`: an integer; `word`: the singular, native text; `ending`: what the plural adds to it.
    """
    return '%d %s%s' % (number, word, '' if number == 1 else ending)


def did_you_mean(word, words):
    """Return ' (did you mean X?)' if one of `words` is similar to `word`, or begins with it, else ''.

    `word`: native text that is not valid; `words`: an iterable of the valid ones.
    """
    import difflib              # only here: a start without a mistake does not wait for it
    words = list(words)
    near = difflib.get_close_matches(word, words, 1, 0.6) or [
        each for each in words if len(word) >= SHORTENED and each.startswith(word)]
    return ' (did you mean %s?)' % near[0] if near else ''
