"""What people read says what the code does: generated texts are those of today."""
from __future__ import absolute_import, division, print_function

import glob
import io
import os
import re

import pytest

from geproxy import config, explain

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INI = os.path.join(TOP, 'conf', 'proxy.ini')
EXAMPLES = sorted(glob.glob(os.path.join(TOP, 'conf', '*.ini')))
README = os.path.join(TOP, 'README.md')


def read(path):
    """The text of a file."""
    with io.open(path, encoding='utf-8', newline='') as opened:
        return opened.read()


def test_the_ini_file_is_what_the_code_prints():
    assert read(INI) == explain.example(), 'run: python -m geproxy --example > conf/proxy.ini'


def test_the_ini_file_changes_nothing():
    assert config.load(INI) == config.load(None)


@pytest.mark.parametrize('path', EXAMPLES, ids=os.path.basename)
def test_every_example_loads_and_is_documented(path):
    config.load(path)
    assert read(path).startswith('# %s: ' % os.path.basename(path)) or path == INI
    assert '`conf/%s`' % os.path.basename(path) in read(README)


def test_the_tables_of_the_readme_are_those_of_the_code():
    assert read(README) == explain.refreshed(read(README)), 'run: python -m geproxy.explain README.md'


@pytest.mark.parametrize('mark', ['options', 'reasons', 'fields'])
def test_the_readme_has_each_table_once(mark):
    assert len(re.findall(r'<!-- %s -->\n[^!]*?<!-- end -->' % mark, read(README))) == 1
