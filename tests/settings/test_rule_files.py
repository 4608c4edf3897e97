"""Rules of a file, and lists of names. (test_loading has the messages about them.)"""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.settings import ini, rule_files


def entry(folder, *texts):
    """Return an ini.Entry of rules, in a file p.ini of that folder."""
    path = str(folder.join('p.ini'))
    return ini.Entry('access', 'rules', '', tuple(
        ini.Line(path, number, 'p.ini:%d' % number, text, '') for number, text in enumerate(texts, 1)))


def test_a_list_that_several_rules_name_is_read_once(tmpdir):
    tmpdir.join('a.txt').write_binary(b'a.example\n')
    first, second = rule_files.rule_list(entry(tmpdir, 'deny any @a.txt', 'deny any @a.txt:80'))
    assert first.wheres[0].names is second.wheres[0].names == {b'a.example'}


def test_all_wrong_lines_are_reported(tmpdir):
    with pytest.raises(rule_files.LineErrors) as raised:
        rule_files.rule_list(entry(tmpdir, 'deny any', '', 'deny any any', 'deny any @none'))
    assert [line.number for line, _what in raised.value.found] == [1, 4]


def test_a_hundred_thousand_names_are_a_set(tmpdir):
    tmpdir.join('many').write_binary(b''.join(b'0.0.0.0 host-%d.example\n' % number for number in range(100000)))
    names = rule_files.read_names(str(tmpdir.join('many')))
    assert len(names) == 100000 and b'host-99999.example' in names
