"""Small parts of sentences."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import wording


@pytest.mark.parametrize('number, word, ending, text', [
    (1, 'connection', 's', '1 connection'), (2, 'connection', 's', '2 connections'), (0, 'line', 's', '0 lines'),
    (1, 'process', 'es', '1 process'), (3, 'process', 'es', '3 processes'),
])
def test_a_number_and_its_word_agree(number, word, ending, text):
    assert wording.plural(number, word, ending) == text


@pytest.mark.parametrize('word, hint', [
    ('alow', ' (did you mean allow?)'), ('dny', ' (did you mean deny?)'), ('zzz', ''), ('', ''),
    ('cert', ' (did you mean certificate?)'), ('ce', ''),
])
def test_a_misspelt_word_is_answered_with_the_similar_one(word, hint):
    assert wording.did_you_mean(word, ('allow', 'deny', 'certificate')) == hint
