"""The entry: `python -m geproxy`, and what it says to a Python without gevent."""
from __future__ import absolute_import, division, print_function

import os
import sys

import pytest
from processes import CHECKOUT, GEPROXY, PYTHON, folder, run, write

from geproxy import __main__
from geproxy.__main__ import complaint

PATCHED = '''
import sys
import geproxy.__main__
import socket, threading, time
from gevent.monkey import is_module_patched
unpatched = [name for name in ('socket', 'thread' if sys.version_info[0] == 2 else '_thread', 'time', 'ssl', 'os')
             if not is_module_patched(name)]
early = [name for name in sys.modules if name.startswith('geproxy.') and sys.modules[name] and name not in (
    'geproxy.__main__', 'geproxy.service', 'geproxy.service.early_signals')]
print('%r %r' % (unpatched, early))
'''


def bare_python():
    """This Python without its virtual environment: there, an old one does not even find its own library with -S."""
    prefix = getattr(sys, 'base_prefix', getattr(sys, 'real_prefix', sys.prefix))
    path = os.path.join(prefix, 'bin', 'python%d.%d' % sys.version_info[:2])
    if not os.path.exists(path):
        pytest.skip('no %s, to be run without site-packages' % path)
    return path


def test_without_gevent_it_says_how_to_get_it():
    python = bare_python()
    ended = run([python, '-E', '-S', '-m', 'geproxy'])
    said = ended.err.decode('ascii')
    assert ended.popen.returncode == 1 and ended.out == b''
    assert said.startswith('geproxy: this Python (%s) has no gevent that works: ' % sys.version.split()[0])
    assert ('-m pip install' in said or ', which has one, in the place of' in said) and 'Traceback' not in said


def test_another_python_that_has_gevent_is_named(monkeypatch):
    with folder() as empty, folder() as here:
        for name, code in (('python2', 0), ('python3', 1)):
            path = os.path.join(here, name)
            write(path, '#!/bin/sh\n[ "$*" = "-E -c import gevent.monkey" ] && exit %d\nexit 9\n' % code)
            os.chmod(path, 0o755)
        os.symlink(sys.executable, os.path.join(empty, 'python3'))          # this one, that has none
        monkeypatch.setattr(__main__, 'FOLDERS', (empty, here))
        assert __main__.other_python() == os.path.join(here, 'python2')
        os.unlink(path.replace('python3', 'python2'))
        assert __main__.other_python() == ''


def test_a_host_without_dev_null_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(os, 'devnull', '/nowhere/null')
    with pytest.raises(SystemExit) as raised:
        __main__.hold_standard_descriptors()
    assert raised.value.code == (
        'geproxy: /nowhere/null cannot be opened, which every program needs: No such file or directory')


@pytest.mark.parametrize('python, gevent, wrong', [
    ((3, 13, 0), '26.9.0', ''), ((3, 13, 5), '24.10.1', ''), ((3, 6, 15), '1.2.2', ''), ((2, 7, 5), '1.1.2', ''),
    ((3, 15, 0), '26.9.dev0', ''),
    ((3, 12, 1), '22.10.2', 'gevent 22.10.2 is too old for Python 3.12: it takes 23.9.1 or later'),
    ((2, 7, 6), '1.0', 'gevent 1.0 is too old for Python 2.7: it takes 1.1 or later'),
    ((3, 14, 0), '25.4.2', 'gevent 25.4.2 is too old for Python 3.14: it takes 25.8.1 or later'),
    ((2, 6, 6), '1.1', 'Python 2.6 is not supported: it takes 2.7, or 3.6 and later'),
])
def test_a_gevent_that_does_not_fit_its_python_is_told(python, gevent, wrong):
    assert complaint(python, gevent) == wrong


def test_a_gevent_that_does_not_import_is_one_line_too():
    with folder() as elsewhere:
        with open(os.path.join(elsewhere, 'gevent.py'), 'w') as broken:
            broken.write('raise ValueError("greenlet size changed")\n')
        ended = run(GEPROXY, more_env={'PYTHONPATH': elsewhere})
    said = ended.err.decode('ascii')
    assert ended.popen.returncode == 1 and 'greenlet size changed' in said and 'Traceback' not in said


@pytest.mark.parametrize('planted', ['gevent.py', 'signal.py', 'argparse.py'])
def test_nothing_is_imported_from_the_folder_where_an_installed_geproxy_is_started(planted):
    with folder() as there:
        with open(os.path.join(there, planted), 'w') as bait:
            bait.write('import os\nos.write(1, b"planted\\n")\nos._exit(7)\n')
        ended = run(GEPROXY + ['--version'], cwd=there, more_env={'PYTHONPATH': CHECKOUT})
    assert (ended.popen.returncode, ended.out[:8]) == (0, b'geproxy '), ended


def test_what_python_is_told_to_import_from_is_left_as_it_is():
    with folder() as there:
        os.symlink(os.path.join(CHECKOUT, 'geproxy'), os.path.join(there, 'geproxy'))
        shown = PYTHON + ['-c', 'import sys; before = sys.path[1:]; import geproxy.__main__; print(sys.path == before)']
        kept = PYTHON + ['-c', 'import sys; before = sys.path[:]; import geproxy.__main__; print(sys.path == before)']
        path = os.pathsep.join([there, CHECKOUT])
        assert run(shown, cwd=there, more_env={'PYTHONPATH': path}).out == b'True\n'    # once, and not as PYTHONPATH has it
        assert run(kept, cwd=CHECKOUT).out == b'True\n'


def test_all_is_patched_before_anything_of_ours_is_imported():
    ended = run(PYTHON + ['-c', PATCHED])
    assert (ended.popen.returncode, ended.out) == (0, b'[] []\n'), ended


def test_it_runs_as_a_module_from_the_checkout():
    shown = [run(PYTHON + where + ['--example']).out for where in (['-m', 'geproxy'], ['-m', 'geproxy.__main__'])]
    assert shown[0] == shown[1] and shown[0].startswith(b'# geproxy: all options')


def test_it_runs_from_any_folder_that_python_is_told_of():
    with folder() as elsewhere:
        ended = run(GEPROXY + ['--example'], cwd=elsewhere, more_env={'PYTHONPATH': CHECKOUT})
    assert ended.popen.returncode == 0 and ended.out.startswith(b'# geproxy: all options'), ended
