"""The entry point: `python -m geproxy`, and its message to a Python without gevent."""
from __future__ import absolute_import, division, print_function

import os
import sys

import pytest
from processes import CHECKOUT, GEPROXY, PYTHON, folder, run, write

from geproxy import __main__
from geproxy.__main__ import complaint

PATCHED = '''
import sys
sys.argv[1:] = ['--version']
from geproxy.__main__ import main
main()
import socket, threading, time
from gevent.monkey import is_module_patched
print([name for name in ('socket', 'thread' if sys.version_info[0] == 2 else '_thread', 'time', 'ssl', 'os')
       if not is_module_patched(name)])
'''
# Imported in the place of gevent: prints what of geproxy was imported before, and whether SIGHUP would end the process.
GEVENT = '''
import signal, sys
print(sorted(name for name in sys.modules if name.startswith('geproxy.') and sys.modules[name]))
print(signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
sys.stdout.flush()
raise ImportError
'''


def bare_python():
    """Return the path of this Python outside of its virtual environment: inside, old ones do not find their library."""
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
    assert ('-m pip install' in said or ': it has gevent' in said) and 'Traceback' not in said


def test_another_python_that_has_gevent_is_named(monkeypatch):
    with folder() as empty, folder() as here:
        for name, code in (('python2', 0), ('python3', 1)):
            path = os.path.join(here, name)
            write(path, '#!/bin/sh\n[ "$*" = "-E -c import gevent.monkey" ] && exit %d\nexit 9\n' % code)
            os.chmod(path, 0o755)
        os.symlink(sys.executable, os.path.join(empty, 'python3'))          # the Python that runs this, which must not be named
        monkeypatch.setattr(__main__, 'FOLDERS', (empty, here))
        assert __main__.other_python() == os.path.join(here, 'python2')
        os.unlink(path.replace('python3', 'python2'))
        assert __main__.other_python() == ''


def test_a_host_without_dev_null_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(os, 'devnull', '/nowhere/null')
    with pytest.raises(SystemExit) as raised:
        __main__.hold_standard_descriptors()
    assert raised.value.code == (
        'geproxy: cannot open /nowhere/null, which every program needs: No such file or directory')


@pytest.mark.parametrize('python, gevent, wrong', [
    ((3, 13, 0), '26.9.0', ''), ((3, 13, 5), '24.10.1', ''), ((3, 6, 15), '1.2.2', ''), ((2, 7, 5), '1.1.2', ''),
    ((3, 15, 0), '26.9.dev0', ''),
    ((3, 12, 1), '22.10.2', 'gevent 22.10.2 is too old for Python 3.12: geproxy needs 23.9.1 or later'),
    ((2, 7, 6), '1.0', 'gevent 1.0 is too old for Python 2.7: geproxy needs 1.1 or later'),
    ((3, 14, 0), '25.4.2', 'gevent 25.4.2 is too old for Python 3.14: geproxy needs 25.8.1 or later'),
    ((2, 6, 6), '1.1', 'Python 2.6 is not supported: geproxy needs 2.7, or 3.6 or later'),
])
def test_a_gevent_that_does_not_fit_its_python_is_reported(python, gevent, wrong):
    assert complaint(python, gevent) == wrong


def test_a_gevent_that_cannot_be_imported_is_reported_in_one_line():
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


def test_the_import_path_loses_only_what_python_put_there():
    with folder() as there:
        os.symlink(os.path.join(CHECKOUT, 'geproxy'), os.path.join(there, 'geproxy'))
        left = 'from geproxy import __main__; import sys; before = sys.path[%d:]; __main__.leave_current_folder(); print(sys.path == before)'
        shown, kept = PYTHON + ['-c', left % 1], PYTHON + ['-c', left % 0]
        path = os.pathsep.join([there, CHECKOUT])
        assert run(shown, cwd=there, more_env={'PYTHONPATH': path}).out == b'True\n'    # removed once, not also where PYTHONPATH names it
        assert run(kept, cwd=CHECKOUT).out == b'True\n'


def test_the_standard_library_is_patched_when_it_runs():
    ended = run(PYTHON + ['-c', PATCHED])
    assert (ended.popen.returncode, ended.out[-3:]) == (0, b'[]\n'), ended


@pytest.mark.parametrize('started, imported', [
    (['-m', 'geproxy'], []), (['-c', 'from geproxy.__main__ import main; main()'], ['geproxy.__main__'])])
def test_signals_are_held_and_nothing_else_of_ours_is_imported_before_gevent(started, imported):
    with folder() as elsewhere:
        write(os.path.join(elsewhere, 'gevent.py'), GEVENT)
        ended = run(PYTHON + started, more_env={'PYTHONPATH': os.pathsep.join([elsewhere, CHECKOUT])})
    expected = imported + ['geproxy.service', 'geproxy.service.early_signals']
    assert ended.out.decode('ascii').splitlines() == ['%r' % expected, 'False'], ended


def test_it_runs_as_the_console_script_does():
    # What pip writes for the entry point in setup.py.
    ended = run(PYTHON + ['-c', 'import sys; sys.argv = ["geproxy", "--example"]; from geproxy.__main__ import main; '
                                'sys.exit(main())'])
    assert ended.popen.returncode == 0 and ended.out.startswith(b'# geproxy: all options'), ended


def test_it_runs_as_a_module_from_the_checkout():
    shown = [run(PYTHON + where + ['--example']).out for where in (['-m', 'geproxy'], ['-m', 'geproxy.__main__'])]
    assert shown[0] == shown[1] and shown[0].startswith(b'# geproxy: all options')


def test_it_runs_from_any_folder_with_pythonpath():
    with folder() as elsewhere:
        ended = run(GEPROXY + ['--example'], cwd=elsewhere, more_env={'PYTHONPATH': CHECKOUT})
    assert ended.popen.returncode == 0 and ended.out.startswith(b'# geproxy: all options'), ended
