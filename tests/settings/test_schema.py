"""The table of options: each has what people and the loader need. (What an option takes is in test_kinds.)"""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.settings import schema


@pytest.mark.parametrize('option', schema.SCHEMA, ids=lambda option: '%s-%s' % (option.section, option.name))
def test_an_option_stands_in_a_section_that_is_there_and_says_what_it_does(option):
    assert option.section in schema.SECTIONS and option.sentence.strip()[-1] == '.'


def test_the_default_of_each_option_is_one_that_it_takes():
    for option in schema.SCHEMA:
        if option.kind not in schema.WHOLE:
            option.kind(option.default)
