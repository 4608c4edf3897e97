"""Rows of [upstream] routes that can never be used are reported, and no others."""
from __future__ import absolute_import, division, print_function

import time

import pytest

from geproxy.policy import shadows
from geproxy.settings import ini, route_lines

NAMES = {'list': frozenset([b'one.example', b'.two.example']), 'empty': frozenset()}


def rows(*lines):
    """Return the Rows of these lines; the first one is p.ini:1."""
    return [route_lines.parse(ini.Line('p.ini', number, 'p.ini:%d' % number, text, ''), NAMES.get)
            for number, text in enumerate(lines, 1)]


@pytest.mark.parametrize('first, second, reported', [
    ('any direct', '.a.example http://p:1', True),
    ('any direct', '10.0.0.0/8 http://p:1', True),
    ('.a.example direct', 'any http://p:1', False),
    ('.a.example direct', 'www.a.example http://p:1', True),
    ('.a.example .b.example direct', 'b.example a.a.example http://p:1', True),
    ('.a.example direct', 'a.example b.example http://p:1', False),
    ('*.a.example direct', 'a.example http://p:1', False),
    ('10.0.0.0/8 direct', '10.1.0.0/16 http://p:1', True),
    ('10.1.0.0/16 direct', '10.0.0.0/8 http://p:1', False),
    ('.example direct', '10.0.0.0/8 http://p:1', False),
    ('https://any direct', '.a.example http://p:1', False),
    ('https://any direct', 'https://.a.example http://p:1', True),
    ('any direct', 'https://any http://p:1', True),
    ('http://.a.example direct', 'http://*.a.example:80 http://p:1', True),
    ('any:443 direct', '.a.example http://p:1', False),
    ('any:443 direct', '.a.example:443 http://p:1', True),
    ('@list direct', 'one.example www.two.example http://p:1', True),
    ('@list direct', '@list http://p:1', True),
    ('one.example direct', '@list http://p:1', False),
    ('@empty direct', 'any http://p:1', False),
])
def test_a_row_behind_a_wider_one_is_reported(first, second, reported):
    found = shadows.find_rows(rows(first, second))
    assert found == (['p.ini:2: %s can never be used, because an earlier row takes all of its requests: p.ini:1: %s' % (
        second, first)] if reported else [])


def test_several_earlier_rows_are_named():
    found = shadows.find_rows(rows('.a direct', '.b http://p:1', '.c direct', 'x.a x.b http://q:1'))
    assert found == ['p.ini:4: x.a x.b http://q:1 can never be used, because earlier rows take all of its requests: '
                     'p.ini:1: .a direct and p.ini:2: .b http://p:1']


def test_many_rows_and_long_lists_take_no_longer_than_a_few_seconds():
    many = rows(*['h%d.example direct' % number for number in range(1000)])
    long_list = frozenset([b'h%d.example' % number for number in range(100000)])
    where = many[0].wheres[0]._replace(names=long_list)
    began = time.time()
    assert shadows.find_rows(many + [many[0]._replace(wheres=(where,))] + many) == []
    assert time.time() - began < 20
