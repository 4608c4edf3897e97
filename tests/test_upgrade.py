"""Another geproxy in the place of one that serves: a real `pip install -U`, and a roll under a real supervisord.

Into a user's site-packages in a folder of the test's, as the Python below this environment has them: that takes pip and
nothing else. Wheels are zipped here, so neither setuptools nor an index has a part in it.
"""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import re
import shutil
import signal
import sys
import zipfile

import pytest
from helpers import ask
from processes import CHECKOUT, PYTHON, folder, own, read, run, wait_until, write
from supervising import supervised
from test___main__ import bare_python

pytestmark = pytest.mark.programs

SOAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'soak')
if SOAK not in sys.path:
    sys.path.append(SOAK)

import checks       # noqa: E402
import daemons      # noqa: E402
import loads        # noqa: E402
from origins import Origin          # noqa: E402

DRAIN = 2.0                             # seconds
OLD, NEW = '98.1', '98.2'               # versions
USERS = 'joe:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n'         # whose password is secret
NAMES = ('geproxy_0.log', 'geproxy_1.log')
WHEEL = 'Wheel-Version: 1.0\nGenerator: geproxy (tests)\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n'
# As the Python of an installation: what it runs comes from there, and gevent from wherever this one has it.
WRAPPER = '#!/bin/sh\ncd %s && PYTHONUSERBASE=%s exec %s "$@"\n'


def wheel(here, version):
    """Make a wheel of this checkout that calls itself that version -> its path."""
    path = os.path.join(here, 'geproxy-%s-py2.py3-none-any.whl' % version)
    info = 'geproxy-%s.dist-info/' % version
    files = dict((os.path.relpath(os.path.join(where, name), CHECKOUT), read(os.path.join(where, name)).decode('utf-8'))
                 for where, _folders, names in os.walk(os.path.join(CHECKOUT, 'geproxy'))
                 for name in names if name.endswith(('.py', '.md')))
    files['geproxy/__init__.py'] = re.sub(r"__version__ = '.*'", "__version__ = '%s'" % version, files['geproxy/__init__.py'])
    files.update({info + 'METADATA': 'Metadata-Version: 2.1\nName: geproxy\nVersion: %s\n' % version, info + 'WHEEL': WHEEL})
    files[info + 'RECORD'] = ''.join('%s,,\n' % name for name in sorted(files) + [info + 'RECORD'])
    with zipfile.ZipFile(path, 'w') as packed:
        for name in sorted(files):
            packed.writestr(name, files[name].encode('utf-8'))
    return path


class Installation(object):
    """A place for geproxy; `python`: what runs it from there."""

    def __init__(self, here):
        self._here = here
        self.python = os.path.join(here, 'python')
        write(self.python, WRAPPER % (here, here, ' '.join([bare_python()] + PYTHON[1:])))
        os.chmod(self.python, 0o755)
        asked = run([self.python, '-c', 'import site; print(site.ENABLE_USER_SITE and site.getusersitepackages() or "")'])
        self.packages = asked.out.decode('ascii').strip()
        if not self.packages:
            pytest.skip('%s has no site-packages of users' % bare_python())
        os.makedirs(self.packages)
        others = [path for path in sys.path if os.path.basename(path) in ('site-packages', 'dist-packages')]
        write(os.path.join(self.packages, 'others.pth'), ''.join(     # those behind ours, with what they have in .pth files
            'import site; site.addsitedir(%r)\n' % path for path in others))
        if run([self.python, '-m', 'pip', '--version']).popen.returncode != 0:
            pytest.skip('no pip')

    def install(self, version):
        """pip install -U a geproxy of that version."""
        asked = run([self.python, '-m', 'pip', 'install', '--user', '-U', '--no-deps', '--no-index', wheel(self._here, version)],
                    more_env={'PIP_BREAK_SYSTEM_PACKAGES': '1', 'PIP_DISABLE_PIP_VERSION_CHECK': '1'})
        assert asked.popen.returncode == 0, asked
        assert os.listdir(self.packages).count('geproxy-%s.dist-info' % version) == 1, asked


@pytest.fixture
def installation():
    """An Installation, with nothing in it yet."""
    with folder() as here:
        yield Installation(here)


@contextlib.contextmanager
def loaded(address):
    """A steady load of everything: its checks.Books; behind the block, it has ended."""
    origin, books = Origin(), checks.Books()
    load = loads.Load(address, origin, books, DRAIN / 3, 0)
    try:
        load.start()
        try:
            yield books
        finally:
            load.stop()
    finally:
        origin.stop()


def versions(daemon):
    """Which ones run, by /metrics."""
    return sorted(re.search(r'version="([^"]*)"', name).group(1) for pid in daemon.pids() for name in daemon.metrics(pid)
                  if name.startswith('geproxy_build_info'))


def test_an_upgrade_and_a_roll_lose_nothing(installation):
    where = daemons.find_supervisord()
    if where is None:
        pytest.skip('no supervisord')
    installation.install(OLD)
    with supervised(where, 'fcgi-program', ini=daemons.house('127.0.0.1:1', DRAIN), settle=(1, 8),
                    python=installation.python) as supervisor:
        for name in NAMES:
            supervisor.geproxy(1, name)
        supervisor.wait_for(br'success: geproxy_\d entered RUNNING', 'supervisord.log', 2)
        daemon = daemons.Supervised(supervisor, supervisor.here, supervisor.address, 'fd:0', 'fcgi.ini', DRAIN)
        assert versions(daemon) == [OLD, OLD]
        with loaded(supervisor.address) as books:
            wait_until(lambda: books.of(checks.GOOD) > 30, 'the load')
            installation.install(NEW)
            assert versions(daemon) == [OLD, OLD]           # they have all that they need
            before = books.of(checks.GOOD)
            wait_until(lambda: books.of(checks.GOOD) > before + 30, 'the load')
            code, out, err = supervisor.roll('fcgi.ini', [installation.python])
            assert (code, err, out.count(', ready after ')) == (0, '', 2)
            assert versions(daemon) == [NEW, NEW]
            before = books.of(checks.GOOD)
            wait_until(lambda: books.of(checks.GOOD) > before + 30, 'the load')
        assert b'Traceback' not in daemon.said(), daemon.said()         # first, as it tells why something failed
        assert [books.of(outcome) for outcome in (checks.FAILED, checks.RACED, checks.CUT)] == [0, 0, 0], books.problems
        assert books.problems == []


def test_a_process_whose_files_are_gone_serves_and_reloads_and_ends():
    """As between the two halves of what pip does, for as long as it likes: nothing of ours is imported late."""
    with folder() as there:
        shutil.copytree(os.path.join(CHECKOUT, 'geproxy'), os.path.join(there, 'geproxy'))
        python = os.path.join(there, 'python')
        write(python, '#!/bin/sh\ncd %s && exec %s "$@"\n' % (there, ' '.join(PYTHON)))
        os.chmod(python, 0o755)
        with daemons.alone(python, DRAIN) as daemon:
            shutil.rmtree(os.path.join(there, 'geproxy'))
            with loaded(daemon.address) as books:
                wait_until(lambda: books.of(checks.GOOD) > 50, 'the load')
                write(os.path.join(daemon.here, 'users'), USERS)
                daemon.reload(('', '', '', 'keep = 8\n[auth]\nusers = FOLDER/users\nexempt = loopback\n', False))
                daemon.reload(daemons.VARIANTS[1])   # a bad one
                for word, status in (('am9lOnNlY3JldA==', b'200'), ('am9lOndyb25n', b'407')):
                    assert ask(daemon.address, own()[:-2] + b'Proxy-Authorization: Basic %s\r\n\r\n' % (
                        word.encode('ascii')))[9:12] == status
                daemon.tell(signal.SIGUSR1)
                assert daemon.look()['greenlets'] > 0
            assert books.problems == []
            daemon.tell(signal.SIGTERM)
            wait_until(lambda: b'] stopped\n' in daemon.said(), 'the end')
            assert b'Traceback' not in daemon.said() and b'Error' not in daemon.said()
