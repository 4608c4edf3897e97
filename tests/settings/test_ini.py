"""The lines of ini files: sections, names, values, comments, each with its line number."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.settings import ini


@pytest.mark.parametrize('lines, found', [
    ([], []),
    (['', '  ', '# c', '; c', '\t# c'], []),
    (['[a]', 'b = c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b=c', 'd =', '=e'], [(1, 'a', None, ''), (2, 'a', 'b', 'c'), (3, 'a', 'd', ''), (4, 'a', '', 'e')]),
    (['[ a ]', '  b = c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b = c = d'], [(1, 'a', None, ''), (2, 'a', 'b', 'c = d')]),
    (['[a]', 'b = c # d', 'e = f ;g'], [(1, 'a', None, ''), (2, 'a', 'b', 'c'), (3, 'a', 'e', 'f')]),
    (['[a]', 'b = c#d;e'], [(1, 'a', None, ''), (2, 'a', 'b', 'c#d;e')]),
    (['[a]', 'b = c', '  d', '', '\te # f', 'g = h'], [(1, 'a', None, ''), (2, 'a', 'b', 'c d e'), (6, 'a', 'g', 'h')]),
    (['[a]', 'b =', '    c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b = 100%'], [(1, 'a', None, ''), (2, 'a', 'b', '100%')]),
    (['[a]  # c', '[b] ; d'], [(1, 'a', None, ''), (2, 'b', None, '')]),
    (['a = b', '[c'], [(1, None, 'a', 'b'), (2, None, '[c', None)]),
    (['[a]', 'b', '  c = d'], [(1, 'a', None, ''), (2, 'a', 'b', None), (3, 'a', 'c', 'd')]),
    (['  [a]', '  b = c', '  d = e', '    f', '  g = h'],
     [(1, 'a', None, ''), (2, 'a', 'b', 'c'), (3, 'a', 'd', 'e f'), (5, 'a', 'g', 'h')]),
    (['[a]\r', 'b = c\r'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
])
def test_a_file_is_sections_of_names_and_values_with_their_lines(lines, found):
    assert [
        (entry.lines[0].number, entry.section, entry.name, entry.value) for entry in ini.read('a.ini', lines)] == found


def test_a_value_keeps_each_of_its_lines_with_the_comment_beside_it():
    entry = ini.read('a.ini', ['[a]', 'b = # first', '  c d ; second', '', '# third', '\te=f', 'g = h'])[1]
    assert entry == ini.Entry('a', 'b', 'c d e=f', (
        ini.Line('a.ini', 2, 'a.ini:2', '', 'first'), ini.Line('a.ini', 3, 'a.ini:3', 'c d', 'second'), ini.Line('a.ini', 6, 'a.ini:6', 'e=f', '')))


def test_text_that_is_not_ascii_becomes_escaped_octets():
    assert ini.read('a.ini', [u'[a]', u'b = \xfc # \xfc'])[1].lines == (ini.Line('a.ini', 2, 'a.ini:2', '\\xc3\\xbc', '\\xc3\\xbc'),)


def test_escaped_text_becomes_the_octets_of_the_file_again():
    line, = ini.read('a.ini', [u'[a]', u'b = \xfc\\xfc\\'])[1].lines
    assert line.text == '\\xc3\\xbc\\x5cxfc\\x5c'
    assert ini.octets_of(line.text) == b'\xc3\xbc\\xfc\\'
    with open(__file__) as opened:
        assert opened.name == ini.path_of(__file__)


@pytest.mark.parametrize('line, what', [(b'b = a\x00', '(0x00) at octet 6'), (b'\x7f', '(0x7f) at octet 1'), (b'a\rb', '(0x0d)')])
def test_a_control_character_is_refused_with_its_line(line, what):
    with pytest.raises(ini.BadLine) as raised:
        ini.read('a.ini', [b'[a]', line])
    assert raised.value.number == 2 and what in str(raised.value)


def test_a_long_value_is_read_in_a_time_that_grows_with_it():
    entry, = ini.read('a.ini', [b'a ='] + [b'  b'] * 100000)        # 28 s if each line is added to the text before it
    assert len(entry.value) == 200000 - 1
