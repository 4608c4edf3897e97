"""What people read says what the code does: generated texts are those of today."""
from __future__ import absolute_import, division, print_function

import glob
import io
import os
import re

import pytest

from geproxy.commands import docs
from geproxy.settings import loading

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INI = os.path.join(TOP, 'conf', 'proxy.ini')
EXAMPLES = sorted(glob.glob(os.path.join(TOP, 'conf', '*.ini')))
README = os.path.join(TOP, 'README.md')


def read(path):
    """The text of a file."""
    with io.open(path, encoding='utf-8', newline='') as opened:
        return opened.read()


def test_the_ini_file_is_what_the_code_prints():
    assert read(INI) == docs.example(), 'run: python -m geproxy --example > conf/proxy.ini'


def test_the_ini_file_changes_nothing():
    assert loading.load(INI) == loading.load(None)


@pytest.mark.parametrize('path', EXAMPLES, ids=os.path.basename)
def test_every_example_loads_and_is_documented(path):
    loading.load(path)
    assert read(path).startswith('# %s: ' % os.path.basename(path)) or path == INI
    assert '`conf/%s`' % os.path.basename(path) in read(README)


def test_the_tables_of_the_readme_are_those_of_the_code():
    assert read(README) == docs.refreshed(read(README)), 'run: python -m geproxy.commands.docs README.md'


def test_the_readme_says_of_each_module_in_which_wing_it_is():
    table = re.search(r'(?s)\| wing, top down \|.*?\n\n', read(README)).group()
    told = set()
    for row in table.split('\n')[2:]:
        cells = row.split(' | ')
        if len(cells) == 3:
            wing = re.match(r'\| `(\w+)/`', cells[0])
            told.update((wing.group(1) if wing else '', name) for name in re.findall(r'`(\w+)`', cells[2]))
    package = os.path.join(TOP, 'geproxy')
    assert told == set((os.path.relpath(where, package).strip('.'), name[:-len('.py')])
                       for where, _folders, names in os.walk(package)
                       for name in names if name.endswith('.py') and name != '__init__.py')


@pytest.mark.parametrize('mark', ['options', 'rule options', 'reasons', 'fields'])
def test_the_readme_has_each_table_once(mark):
    assert len(re.findall(r'<!-- %s -->\n[^!]*?<!-- end -->' % mark, read(README))) == 1


def measured(scene):
    """What the table of "How fast it is" has for geproxy in a scene."""
    return float(re.search(r'(?m)^\| %s \| \w+ \| \**([\d.]+)' % re.escape(scene), read(README)).group(1))


def number(pattern):
    """A number in the README, with commas for thousands."""
    return float(re.search(pattern, read(README)).group(1).replace(',', ''))


def test_the_sizing_arithmetic_follows_from_what_was_measured():
    requests, tunnels = number(r'about ([\d,]+) small requests'), number(r'or ([\d,]+) tunnels set up')
    octets, memory = number(r'or ([\d.]+) GB/s'), number(r'Per idle\s+tunnel (\d+) KiB')
    # Rounded down, by no more than a fifth.
    for said, true in ((requests, 1e6 / measured('1 KiB GET, 32 kept-alive clients')),
                       (tunnels, 1e6 / measured('CONNECT, one GET, close')),
                       (octets, 1.0737e3 / measured('body of 1 GiB'))):
        assert 0.75 * true < said < true
    assert memory == measured('memory of an idle tunnel')
    example = re.search(r'(?s)For instance .*?\n\n', read(README)).group()
    cores = float(re.search(r'= ([\d.]+) cores', example).group(1))
    assert cores == round(8000 / requests + 2000 / tunnels, 1) and '%d processes' % -(-2 * cores // 1) in example
    assert '= %d MiB' % round(30000 * memory / 1024, -1) in example
    tunnels_each = 30000 // int(-(-2 * cores // 1))
    assert number(r'MiB in all; ([\d,]+) tunnels') == tunnels_each
    assert number(r'process take ([\d,]+)\s+descriptors') == 2 * tunnels_each < 65536


def test_the_mistakes_that_the_readme_shows_are_at_the_lines_that_the_program_names(tmpdir):
    path = tmpdir.join('proxy.ini')
    text = read(INI).replace('\nclients = loopback private', '\nclient = any').replace('\nconnect = 10', '\nconnect = ten')
    path.write(text)
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    said = str(raised.value).replace(str(path), 'conf/proxy.ini')
    assert '$ python -m geproxy --check conf/proxy.ini\n%s\n```' % said in read(README)
