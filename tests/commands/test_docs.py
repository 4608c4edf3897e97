"""The texts that are made from the tables in the code, and how they come into the documents."""
from __future__ import absolute_import, division, print_function

import io
import os

import pytest

from geproxy import cli, errors
from geproxy.commands import chapters, docs
from geproxy.observe import formats
from geproxy.settings import ini, loading, schema


def test_the_example_is_all_options_with_their_defaults():
    lines = docs.example().splitlines()
    assert loading.load('example', lines) == loading.load(None)
    named = [entry[:2] for entry in ini.read('', lines) if entry.name]
    assert named == [(option.section, option.name) for option in schema.SCHEMA]


def test_the_example_explains_each_option_within_100_columns():
    text = docs.example()
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text.endswith('\n') and not text.endswith('\n\n')
    flat = ' '.join(text.replace('\n# ', ' ').split())
    for option in schema.SCHEMA:
        assert option.sentence in flat
    assert flat.count('(A change needs a restart.)') == sum(not option.reloadable for option in schema.SCHEMA)


def cells(table):
    """The rows of a Markdown table, without its head."""
    lines = table.replace('\\|', '&').splitlines()
    assert all(line[:2] == '| ' and line[-2:] == ' |' for line in lines)
    rows = [line[2:-2].split(' | ') for line in lines]
    assert set(len(row) for row in rows) == {len(rows[0])}
    assert rows[1] == ['---'] * len(rows[0])
    return rows[2:]


def test_every_option_has_its_row():
    rows = cells(docs.options())
    assert [row[:2] for row in rows] == [['`[%s]`' % each.section, '`%s`' % each.name] for each in schema.SCHEMA]


def test_every_reason_has_its_row_in_order_of_status():
    rows = cells(docs.reasons())
    classes = [each for each in vars(errors).values() if isinstance(each, type) and each is not errors.ProxyError]
    expected = [('`%s`' % each.token, str(each.status)) for each in classes]
    assert sorted((row[0], row[1]) for row in rows) == sorted(expected)
    assert [row[1] for row in rows] == sorted(row[1] for row in rows)
    assert all(row[2] for row in rows)


def test_every_field_of_the_log_has_its_row():
    assert cells(docs.fields()) == [['`%s`' % field.name, field.sentence] for field in formats.FIELDS]


def test_the_mistakes_are_those_that_the_program_names(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write(docs.example().replace('\nclients = loopback private', '\nclient = any').replace('\nconnect = 10', '\nconnect = ten'))
    assert cli.main(['--check', str(path)]) == 1
    said = capsys.readouterr()[1].replace(str(path), 'conf/proxy.ini')
    assert said.count('\n') == 2
    assert docs.mistakes() == '```console\n$ python -m geproxy --check conf/proxy.ini\n%s```\n' % said


def test_every_module_is_in_the_row_of_its_wing():
    rows = cells(docs.wings())
    told = set((row[0].strip('`/'), name) for row in rows for name in row[2].replace('`', '').split(', '))
    package = os.path.dirname(chapters.FOLDER)
    assert told == set((os.path.relpath(where, package).replace('.', '(top level)'), name[:-len('.py')])
                       for where, _folders, names in os.walk(package)
                       for name in names if name.endswith('.py') and name != '__init__.py')
    assert all(row[1].endswith('.') for row in rows)
    assert [row[0] for row in rows[:2]] == ['(top level)', '`commands/`'] and rows[-1][0] == '`net/`'


def test_the_chapters_are_listed_in_their_order():
    lines = docs.manual('there/').splitlines()
    assert [line.partition(']')[0] for line in lines] == ['* [' + name for name in chapters.NAMES]
    assert all('(there/%s.md): ' % name in line for name, line in zip(chapters.NAMES, lines))


def test_a_document_gets_the_tables_between_its_marks_and_nothing_else():
    form = ''.join('a\n<!-- %s -->\n%%s<!-- end -->\n' % mark for mark, _generate in docs.GENERATED) + 'b\n'
    made = form % tuple(generate() for _mark, generate in docs.GENERATED)
    assert docs.refreshed(form % tuple('old %d\n' % number for number in range(len(docs.GENERATED)))) == made
    assert docs.refreshed(made) == made


def test_the_documents_of_this_checkout_are_the_readme_and_the_whole_manual():
    paths = docs.documents()
    assert [os.path.basename(path) for path in paths[:2]] == ['README.md', 'contents.md']
    assert len(paths) == len(chapters.NAMES) + 2 and all(os.path.isfile(path) for path in paths)


@pytest.mark.parametrize('text', ['', 'a\n', '<!-- options -->\n', '<!-- else -->\nx\n<!-- end -->\n'])
def test_a_document_without_marks_stays_as_it_is(text):
    assert docs.refreshed(text) == text


def test_documents_are_refreshed_in_place(tmpdir):
    path = tmpdir.join('README.md')
    path.write_binary(u'\xeb\n<!-- fields -->\n<!-- end -->\n'.encode('utf-8'))
    docs.main([str(path)])
    with io.open(str(path), encoding='utf-8') as opened:
        assert opened.read() == u'\xeb\n<!-- fields -->\n%s<!-- end -->\n' % docs.fields()
