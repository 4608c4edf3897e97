"""Signals that arrive while Python still starts. Each is sent right before gevent is imported, which takes nearly all of
the time of a start."""
from __future__ import absolute_import, division, print_function

import os
import signal

import pytest
from processes import GEPROXY, Client, folder, own, process, running, wait_until, write

# Imported in the place of gevent: sends the signals, then imports gevent itself.
GEVENT = '''
import os, sys
for number in %r:
    os.kill(os.getpid(), number)
sys.path.remove(os.path.dirname(os.path.abspath(__file__)))
del sys.modules['gevent']
import gevent
'''


@pytest.fixture
def early():
    """Give a function of signals, which returns the `more_env` for a process that gets them."""
    with folder() as here:
        def sent(*numbers):
            write(os.path.join(here, 'gevent.py'), GEVENT % (tuple(int(number) for number in numbers),))
            return {'PYTHONPATH': here, 'PYTHONDONTWRITEBYTECODE': '1'}
        yield sent


def test_signals_that_come_too_early_are_acted_on_once_it_serves(early):
    with running(more_env=early(signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1, signal.SIGHUP)) as proxy:
        for done in (br' SIGHUP: \S+ read\n', br' state: '):      # a reload does not hold up the others
            proxy.wait_for(br'(?s) listening on .*' + done)
        proxy.tell(signal.SIGTERM)
        assert proxy.wait() == 0
        assert proxy.err.count(b' SIGHUP: ') == 1 and b'Traceback' not in proxy.err


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_while_it_starts_ends_at_once(early, number):
    with process(GEPROXY, more_env=early(number)) as ended:
        assert ended.wait() == -number
        assert (ended.out, ended.err) == (b'', b'')


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
def test_signals_end_a_command_as_they_end_other_programs(number):
    with running('[admin]\nlisten = unix:FOLDER/admin.sock\n') as proxy:
        tail = GEPROXY + ['tail', '-c', proxy.path]
        with process(tail, more_env={'PYTHONUNBUFFERED': '1'}) as shown, Client(proxy.address) as client:
            wait_until(lambda: client.ask(own()) and shown.out, 'the tail')
            shown.tell(number)
            assert shown.wait() == -number


def test_process_1_of_a_container_ends_too(early):
    if os.getuid() != 0:
        pytest.skip('not root: no other process 1')
    by = ['unshare', '--pid', '--fork', '--kill-child']
    with process(by + ['true']) as asked:
        if asked.wait() != 0:
            pytest.skip('no unshare that makes a process 1: %r' % asked)
    with process(by + GEPROXY, more_env=early(signal.SIGTERM)) as ended:
        assert ended.wait() == 128 + signal.SIGTERM
