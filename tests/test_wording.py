"""Small parts of sentences."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import wording


@pytest.mark.parametrize('word, hint', [
    ('alow', ' (did you mean allow?)'), ('dny', ' (did you mean deny?)'), ('zzz', ''), ('', ''),
])
def test_a_slip_of_the_pen_is_answered_with_the_word_that_was_meant(word, hint):
    assert wording.did_you_mean(word, ('allow', 'deny')) == hint


@pytest.mark.parametrize('number, text', [(0, '0 processes'), (1, '1 process'), (2, '2 processes')])
def test_a_count_has_its_plural(number, text):
    assert wording.count(number, 'process', 'es') == text
    assert wording.count(number, 'line') == '%d line%s' % (number, 's' * (number != 1))
