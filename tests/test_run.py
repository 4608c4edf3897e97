"""The runner of the tests: each file is run by one of the processes, and what came of it is told."""
from __future__ import absolute_import, division, print_function

import os
import re

import pytest
from processes import PYTHON, folder, run, write

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = 'import pytest\n@pytest.fixture(scope="package")\ndef shared():\n    yield\n'
TEST = 'import os\ndef test_it(shared):\n    with open(os.environ["NOTES"], "a") as opened:\n        opened.write(__name__ + "\\n")\n'


@pytest.fixture()
def here():
    """A folder with six files of tests, three of them in a package."""
    with folder() as path:
        os.mkdir(os.path.join(path, 'inner'))
        write(os.path.join(path, 'conftest.py'), PACKAGE)
        write(os.path.join(path, 'inner', '__init__.py'), '')
        for number in range(6):
            where = [path, 'inner'] if number % 2 else [path]
            write(os.path.join(*(where + ['test_part%d.py' % number])), TEST)
        yield path


def ran(here, *arguments):
    """Run them -> (exit code, the last line, which were run)."""
    notes = os.path.join(here, 'notes')
    done = run(PYTHON + [os.path.join(HERE, 'run.py')] + list(arguments) + [here], more_env={
        'NOTES': notes, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'})
    if not os.path.exists(notes):
        write(notes, '')
    with open(notes) as opened:
        names = sorted(line.rpartition('.')[2] for line in opened.read().split())
    return done.popen.returncode, done.out.decode().splitlines()[-1], names


def test_each_is_run_once_whoever_is_there_for_it(here):
    code, last, names = ran(here, '--processes', '3')
    assert (code, names) == (0, ['test_part%d' % number for number in range(6)])
    assert re.match(r'6 passed in [0-9]+ s, by 3 processes\Z', last)


def test_what_fails_anywhere_is_told(here):
    write(os.path.join(here, 'test_bad.py'), 'def test_it():\n    assert not 1\n')
    write(os.path.join(here, 'inner', 'test_skipped.py'), 'import pytest\ndef test_it():\n    pytest.skip("not here")\n')
    code, last, names = ran(here)
    assert code == 1 and len(names) == 6
    assert last.startswith('1 failed, 6 passed, 1 skipped in ')


def test_a_process_that_dies_is_no_success(here):
    write(os.path.join(here, 'test_dies.py'), 'import os\ndef test_it():\n    os._exit(3)\n')
    code, last, _names = ran(here)
    assert code == 3 and 'passed' in last


def test_options_of_pytest_choose(here):
    assert ran(here, '-k', 'part3')[::2] == (0, ['test_part3'])
    code, last, _names = ran(here, '-k', 'nothing_of_that_name')
    assert code == 5 and last.startswith('no tests in ')
