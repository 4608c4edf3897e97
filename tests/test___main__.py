"""The entry: `python -m geproxy`, and what it says to a Python without gevent."""
from __future__ import absolute_import, division, print_function

import os
import sys

import pytest
from processes import CHECKOUT, GEPROXY, PYTHON, folder, run

PATCHED = '''
import sys
import geproxy.__main__
import socket, threading, time
from gevent.monkey import is_module_patched
unpatched = [name for name in ('socket', 'thread' if sys.version_info[0] == 2 else '_thread', 'time', 'ssl', 'os')
             if not is_module_patched(name)]
early = [name for name in sys.modules if name.startswith('geproxy.') and name != 'geproxy.__main__' and sys.modules[name]]
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
    assert said.startswith('geproxy: needs gevent, which this Python (%s) does not have' % sys.version.split()[0])
    assert '-m pip install' in said and 'Traceback' not in said


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
