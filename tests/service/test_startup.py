"""A start: what it says when it is done, and in one line why it cannot be done."""
from __future__ import absolute_import, division, print_function

import os
import re
import socket

import pytest
from helpers import listening
from processes import GEPROXY, Client, answering, folder, get, run, running, unprivileged, write

from geproxy import cli
from geproxy.service import startup


@pytest.fixture
def here():
    """Give the path of a folder for files."""
    with folder() as path:
        yield path


def written(here, text):
    """Write an ini file and return its path."""
    path = os.path.join(here, 'proxy.ini')
    write(path, text)
    return path


def refused(arguments, **options):
    """Return what geproxy says when it does not start: one line on standard error, native text."""
    ended = run(GEPROXY + arguments, **options)
    assert ended.popen.returncode == startup.FAILED, ended
    assert ended.out == b''
    said = ended.err.decode('ascii')
    assert 'Traceback' not in said and said.endswith('\n') and said.count('\n') == 1
    return said


def test_a_port_in_use_is_reported_with_the_process_that_has_it(here):
    taken = socket.socket()
    try:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        said = refused(['-c', written(here, '[proxy]\nlisten = 127.0.0.1:%d\n' % port)])
        assert said.startswith('geproxy: cannot listen on 127.0.0.1 port %d: the port is in use' % port)
        if not os.path.exists('/proc/net/tcp'):
            pytest.skip('no /proc/net/tcp here: who listens cannot be known')
        assert ' by process %d (' % os.getpid() in said
    finally:
        taken.close()


def test_a_port_below_1024_needs_root(here):
    try:
        with open('/proc/sys/net/ipv4/ip_unprivileged_port_start') as opened:
            if int(opened.read()) <= 1023:
                pytest.skip('this host lets everybody listen below port 1024')
    except IOError:
        pass                            # an older kernel: 1024
    said = refused(['-c', written(here, '[proxy]\nlisten = 127.0.0.1:1023\n')], preexec_fn=unprivileged)
    assert said.startswith('geproxy: cannot listen on 127.0.0.1 port 1023: only root may use ports below 1024; ')


@pytest.mark.parametrize('option', ['access', 'errors'])
def test_a_log_in_a_missing_folder_is_reported(here, capsys, option):
    path = written(here, '[proxy]\nlisten = 127.0.0.1:0\n[log]\n%s = %s/no/such/folder.log\n' % (option, here))
    assert cli.main(['-c', path]) == startup.FAILED
    assert capsys.readouterr() == (
        '', "geproxy: cannot open the log '%s/no/such/folder.log': No such file or directory: geproxy must be able to "
        'write there; or choose another path in [log]\n' % here)


def test_a_standard_input_that_is_not_a_socket_is_reported(here):
    said = refused(['-c', written(here, '[proxy]\nlisten = fd:0\n')])
    assert said.startswith('geproxy: fd:0 is not a socket (') and '[fcgi-program:...]' in said


def test_the_announcement_names_listener_clients_file_and_limit():
    with running('[limits]\nconnections = 12\n') as proxy:
        said = proxy.lines(1, 'err')[0].decode('ascii')
        assert re.match(
            r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d geproxy\[%d\] listening on 127\.0\.0\.1:%d for loopback private; %s; '
            r'up to 12 connections; as geproxy-[0-9a-f]{6}\Z' % (proxy.pid, proxy.address[1], re.escape(proxy.path)), said)


def test_it_listens_on_a_socket_that_it_is_handed_as_standard_input():
    shared = socket.socket()
    try:
        shared.bind(('127.0.0.1', 0))
        shared.listen(16)
        with listening(answering()) as origin, running(listen='fd:0', stdin=shared.fileno()) as proxy:
            assert proxy.address == shared.getsockname()
            with Client(proxy.address) as client:
                assert client.ask(get(origin)).endswith(b'fine')
    finally:
        shared.close()
