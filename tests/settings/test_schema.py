"""The table of options: each row has what people and the loader need. (test_option_types has what an option takes.)"""
from __future__ import absolute_import, division, print_function

import re

import pytest

from geproxy.settings import schema

TYPES = [option.read for option in schema.SCHEMA if option.read not in schema.READ_ENTRIES]


@pytest.mark.parametrize('text', ['', ' ', 'x' * 100000, '\\xff', '%s', '%(a)s', '1' * 100, "'", '-', '0', '\x00'])
def test_no_text_is_too_much_for_any_type(text):
    for read in TYPES:
        try:
            read(text)
        except ValueError as error:
            assert '\n' not in str(error)


@pytest.mark.parametrize('option', schema.SCHEMA, ids=lambda option: '%s-%s' % (option.section, option.name))
def test_an_option_has_a_section_a_good_default_and_a_sentence(option):
    assert option.section in schema.SECTIONS
    option.read(option.default)
    assert re.match(r'[A-Za-z][ -~]+\.\Z', option.sentence)
    assert option.read.__doc__.startswith('Return ')
    assert [each.name for each in schema.SCHEMA if each.section == option.section].count(option.name) == 1
