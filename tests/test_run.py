"""The runner of the tests: each test is run once, by one of the processes, and shown as pytest alone would."""
from __future__ import absolute_import, division, print_function

import os
import re

import pytest
from processes import CHECKOUT, PYTHON, folder, read, run, write

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGE = 'import pytest\n@pytest.fixture(scope="package")\ndef shared():\n    yield\n'
TEST = '''import os
import pytest
@pytest.mark.parametrize('number', [0, 1])
def test_it(shared, number):
    with open(os.environ["NOTES"], "a") as opened:
        opened.write("%s-%d %d\\n" % (__name__, number, os.getpid()))
'''
# The first and the last test end only if two processes run them at the same time.
TOGETHER = '''import os
import time
import pytest
@pytest.mark.parametrize('mine, other', ['ab', 'cc', 'ba'])
def test_it(mine, other):
    open(os.environ["NOTES"] + mine, "w").close()
    for _ in range(2000):
        if os.path.exists(os.environ["NOTES"] + other):
            return
        time.sleep(0.01)
    raise AssertionError("alone")
'''


@pytest.fixture()
def here():
    """Return a folder with six files of tests, three of them in a package."""
    with folder() as path:
        os.mkdir(os.path.join(path, 'inner'))
        write(os.path.join(path, 'conftest.py'), PACKAGE)
        write(os.path.join(path, 'inner', '__init__.py'), '')
        for number in range(6):
            where = [path, 'inner'] if number % 2 else [path]
            write(os.path.join(*(where + ['test_part%d.py' % number])), TEST)
        yield path


def ran(here, *arguments):
    """Run the tests there. Return (exit code, output, names of the tests that were run)."""
    notes = os.path.join(here, 'notes')
    done = run(PYTHON + [os.path.join(HERE, 'run.py')] + list(arguments) + [here], more_env={
        'NOTES': notes, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'})
    if not os.path.exists(notes):
        write(notes, '')
    with open(notes) as opened:
        names = sorted(line.split()[0].rpartition('.')[2] for line in opened)
    return done.popen.returncode, done.out.decode(), names


ALL = sorted('test_part%d-%d' % (number, each) for number in range(6) for each in (0, 1))


def last(out):
    """Return the last line of pytest."""
    return out.splitlines()[-1].strip('= ')


@pytest.mark.parametrize('processes', ['1', '3'])
def test_each_test_is_run_once(here, processes):
    code, out, names = ran(here, '--processes', processes)
    assert (code, names) == (0, ALL)
    assert re.match(r'12 passed in [0-9.]+ ?s', last(out))
    assert re.findall(r'\[ *(\d+)%\]', out)[-1:] in ([], ['100']) and out.count('passed') == 1


def test_a_process_without_files_takes_tests_of_another(here):
    write(os.path.join(here, 'test_together.py'), TOGETHER)
    assert last(ran(here, '--processes', '2', '-k', 'together')[1]).startswith('3 passed, 12 deselected in ')


def test_a_failure_is_shown_and_counted(here):
    write(os.path.join(here, 'test_bad.py'), 'def test_it():\n    print("said before")\n    assert not "right"\n')
    write(os.path.join(here, 'inner', 'test_skipped.py'), 'import pytest\ndef test_it():\n    pytest.skip("not here")\n')
    code, out, names = ran(here)
    assert (code, names) == (1, ALL)
    assert last(out).startswith('1 failed, 12 passed, 1 skipped in ')
    assert "assert not 'right'" in out and 'said before' in out and ': not here\n' in out


def test_with_x_the_first_failure_ends_all_processes(here):
    write(os.path.join(here, 'test_bad.py'), 'def test_it():\n    assert 0\n')
    write(os.path.join(here, 'test_waits.py'), 'import time\ndef test_it():\n    time.sleep(1000)\n')
    code, out, _names = ran(here, '--processes', '2', '-x')
    assert code == 1 and last(out).startswith('1 failed')


def test_a_file_that_cannot_be_read_is_an_error(here):
    write(os.path.join(here, 'test_bad.py'), 'no python\n')
    code, out, names = ran(here)
    assert code != 0 and names == [] and 'test_bad.py' in out and re.match(r'1 error', last(out))


def test_a_process_that_dies_is_shown_with_its_test(here):
    write(os.path.join(here, 'test_dies.py'), 'import os\ndef test_it():\n    os._exit(3)\n')
    code, out, _names = ran(here)
    assert code != 0 and 'the process that ran this test has ended, by exit code 3' in out
    assert 'test_dies.py::test_it' in out and 'tests were not finished' in out


def test_options_of_pytest_select_tests(here):
    assert ran(here, '-k', 'part3')[::2] == (0, ['test_part3-0', 'test_part3-1'])
    code, out, _names = ran(here, '-k', 'nothing_of_that_name')
    assert code == 5 and last(out).startswith('12 deselected in ')


def test_each_python_that_setup_py_claims_is_tested():
    claimed = re.findall(br"(?m)^    \('([0-9.]+)', '>=", read(os.path.join(CHECKOUT, 'setup.py')))
    wanted = re.search(br"(?m)^WANTED='(.*)'", read(os.path.join(CHECKOUT, '.ci', 'run'))).group(1)
    assert len(claimed) > 5 and wanted.split() == claimed
