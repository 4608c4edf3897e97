"""The messages to systemd, at a real datagram socket; the sockets that it hands over; and the unit files."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess

import gevent
import pytest
from helpers import PATIENCE, listening, read_until
from processes import CHECKOUT, GEPROXY, Client, answering, folder, get, own, process, run, running, write

from geproxy.compat import monotonic
from geproxy.service import systemd
from geproxy.service.startup import BAD_FILE
from geproxy.settings import loading

SERVICE, SOCKET = (os.path.join(CHECKOUT, 'conf', 'geproxy.' + name) for name in ('service', 'socket'))
AS_SYSTEMD_DOES = ['/bin/sh', '-c', 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=x exec "$@" 3<&0 < /dev/null', 'sh']


@contextlib.contextmanager
def manager(abstract=False):
    """Give a datagram socket in the place of systemd: (its address for NOTIFY_SOCKET, a function that waits for the next
    message)."""
    with folder() as here:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        path = os.path.join(here, 'notify')
        sock.bind('\0' + path if abstract else path)
        try:
            yield '@' + path if abstract else path, lambda: sock.recv(65536).decode('ascii').split('\n')
        finally:
            sock.close()


@pytest.fixture
def told(monkeypatch):
    """Give a function that waits for the next message that this process sends to systemd."""
    with manager() as (place, message):
        monkeypatch.setenv('NOTIFY_SOCKET', place)
        yield message


# --- what is told ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('abstract', [False, True])
def test_systemd_is_told_of_start_reload_and_stop(abstract):
    with manager(abstract) as (place, message), running(more_env={'NOTIFY_SOCKET': place}) as proxy:
        ready, status = message()
        assert ready == 'READY=1'
        assert re.match(r'STATUS=listening on 127\.0\.0\.1:%d for loopback private; \S+proxy\.ini; ' % proxy.address[1], status)
        for more, clients in (('[access]\nclients = 10.0.0.0/8\n', '10.0.0.0/8'), ('[nonsense]\n', '10.0.0.0/8')):
            write(proxy.path, '[proxy]\nlisten = 127.0.0.1:0\n' + more)
            before = monotonic()
            proxy.tell(signal.SIGHUP)
            reloading, moment = message()
            assert reloading == 'RELOADING=1'
            assert before - 1 <= int(re.match(r'MONOTONIC_USEC=(\d+)\Z', moment).group(1)) / 1e6 <= monotonic() + 1
            ready, status = message()
            assert ready == 'READY=1' and ' for %s; ' % clients in status
        proxy.tell(signal.SIGTERM)
        assert message() == ['STOPPING=1', 'STATUS=stopping: waiting for 0 connections']
        assert proxy.wait() == 0


def test_it_serves_when_it_says_that_it_is_ready():
    with manager() as (place, message), listening(answering()) as origin, running(more_env={'NOTIFY_SOCKET': place}) as proxy:
        assert message()[0] == 'READY=1'
        with Client(proxy.address) as client:
            assert client.ask(get(origin)).endswith(b'fine')


def test_the_watchdog_gets_two_messages_in_its_time_also_during_a_drain():
    with manager() as (place, message):
        with running(more_env={'NOTIFY_SOCKET': place, 'WATCHDOG_USEC': '400000'}) as proxy, Client(proxy.address) as client:
            client.ask(own())
            assert ['WATCHDOG=1'] in [message(), message()]         # the first comes before or after READY
            began = monotonic()
            assert [message() for _ in range(5)].count(['WATCHDOG=1']) >= 4
            assert 0.5 < monotonic() - began < 5
            client.send(b'GET http://127.0.0.1:')                   # the proxy waits for the rest
            proxy.tell(signal.SIGTERM)
            while message()[0] != 'STOPPING=1':
                pass
            assert message() == ['WATCHDOG=1']


def test_a_process_that_hangs_sends_nothing_to_the_watchdog():
    with manager() as (place, message), running(more_env={'NOTIFY_SOCKET': place, 'WATCHDOG_USEC': '200000'}) as proxy:
        assert ['WATCHDOG=1'] in [message(), message()]
        proxy.tell(signal.SIGSTOP)
        with gevent.Timeout(1, False):
            while True:
                message()                                           # a message that was sent before
        with gevent.Timeout(1, False):
            raise AssertionError(message())
        proxy.tell(signal.SIGCONT)
        assert message() == ['WATCHDOG=1']


@pytest.mark.parametrize('place', ['', '/nowhere/at/all', '@nobody-has-this', 'relative', 'vsock:2:1'])
def test_without_a_listener_nothing_is_sent(monkeypatch, place):
    monkeypatch.setenv('NOTIFY_SOCKET', place)
    systemd.tell(systemd.READY)
    monkeypatch.delenv('NOTIFY_SOCKET')
    systemd.tell(systemd.READY)


def test_a_systemd_that_reads_nothing_does_not_stop_the_process(told):
    with gevent.Timeout(PATIENCE, AssertionError('it waits')):
        for _ in range(2000):
            systemd.tell(systemd.ALIVE, systemd.status('x' * 1000))
    assert told()[0] == 'WATCHDOG=1'


def test_a_status_is_one_line(told):
    systemd.tell(systemd.READY, systemd.status('two\nlines'))
    assert told() == ['READY=1', 'STATUS=two lines']


@pytest.mark.parametrize('usec,pid,seconds', [
    ('30000000', '', 15.0), ('30000000', 'ours', 15.0), ('30000000', '1', None), ('', '', None), ('0', '', None),
    ('-1', '', None), ('much', '', None),
])
def test_the_watchdog_is_only_for_the_process_that_it_names(monkeypatch, usec, pid, seconds):
    monkeypatch.setenv('WATCHDOG_USEC', usec)
    monkeypatch.setenv('WATCHDOG_PID', pid.replace('ours', str(os.getpid())))
    assert systemd.watchdog_interval() == seconds


# --- what is handed over ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def port():
    """Give a listening socket of this process."""
    sock = socket.socket()
    try:
        sock.bind(('127.0.0.1', 0))
        sock.listen(16)
        yield sock
    finally:
        sock.close()


@pytest.mark.parametrize('listen', ['systemd', 'fd:3'])
def test_it_listens_on_what_systemd_opened(listen):
    with port() as sock, running(listen=listen, by=AS_SYSTEMD_DOES, stdin=sock.fileno()) as proxy:
        assert proxy.address == sock.getsockname()
        with Client(proxy.address) as client:
            assert client.ask(own()).startswith(b'HTTP/1.1 200 ')


def test_a_restart_refuses_no_client_because_the_port_stays_open():
    with port() as sock:
        for _ in range(2):
            with running(listen='systemd', by=AS_SYSTEMD_DOES, stdin=sock.fileno()) as proxy:
                proxy.tell(signal.SIGTERM)
                assert proxy.wait() == 0
            early = Client(sock.getsockname())                      # no process accepts now
            early.send(own())
            with early, running(listen='systemd', by=AS_SYSTEMD_DOES, stdin=sock.fileno()):
                assert early.response().startswith(b'HTTP/1.1 200 ')


def test_sockets_for_another_process_are_not_taken():
    other = ['/bin/sh', '-c', 'LISTEN_PID=1 LISTEN_FDS=1 exec "$@" 3<&0 < /dev/null', 'sh']
    with port() as sock, pytest.raises(AssertionError) as raised:
        with running(listen='systemd', by=other, stdin=sock.fileno()):
            pass
    assert 'geproxy: systemd has handed over no sockets: make a .socket unit' in str(raised.value)


@pytest.mark.skipif(not os.path.exists('/usr/bin/systemd-socket-activate'), reason='no systemd-socket-activate')
def test_systemd_socket_activate_hands_over_several_sockets():
    with port() as first, port() as second:
        places = [sock.getsockname() for sock in (first, second)]
    tool = ['systemd-socket-activate'] + ['--listen=%s:%d' % place for place in places]
    with folder() as here:
        path = os.path.join(here, 'proxy.ini')
        write(path, '[proxy]\nlisten = systemd\n')
        with process(tool + GEPROXY + ['-c', path]) as activated:
            activated.wait_for(br'(?s)Listening on .*Listening on ')
            for place in places:
                with Client(place) as client:
                    client.send(own())
                    assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            activated.wait_for(br'listening on 127\.0\.0\.1:%d, 127\.0\.0\.1:%d for ' % (places[0][1], places[1][1]))
            activated.tell(signal.SIGTERM)
            assert activated.wait() == 0


# --- the unit files --------------------------------------------------------------------------------------------------

def options(path):
    """Return the settings in a unit file as {name: value}. Fail if a name comes twice."""
    with open(path) as lines:
        return dict(line.rstrip('\n').split('=', 1) for line in lines if re.match('[A-Z]', line))


def test_systemd_finds_nothing_wrong_with_the_units():
    if not os.path.exists('/usr/bin/systemd-analyze'):
        pytest.skip('no systemd-analyze')
    with folder() as here:          # because systemd complains if a folder above the checkout belongs to another user
        for path in (SERVICE, SOCKET):
            shutil.copy(path, here)
        asked = subprocess.Popen(['systemd-analyze', 'verify'] + [os.path.join(here, name) for name in sorted(os.listdir(here))],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = asked.communicate()[0]
    if b'Failed to initialize manager' in said or b'Failed to connect' in said:
        pytest.skip('systemd-analyze does not work here: %r' % said)
    assert (asked.returncode, said) == (0, b'')


def test_systemd_finds_little_that_the_unit_leaves_open():
    if not os.path.exists('/usr/bin/systemd-analyze'):
        pytest.skip('no systemd-analyze')
    with folder() as here:
        shutil.copy(SERVICE, here)
        asked = run(['systemd-analyze', 'security', '--no-pager', '--offline=yes', '--threshold=16',     # 1.6 of 10
                     os.path.join(here, os.path.basename(SERVICE))])
    if b'offline' in asked.err or b'threshold' in asked.err or b'Failed to' in asked.err:
        pytest.skip('this systemd-analyze cannot: %r' % asked.err)
    assert asked.popen.returncode == 0, asked.out


def test_the_units_agree_with_the_program():
    service, defaults = options(SERVICE), loading.load(None)
    assert int(options(SOCKET)['ListenStream']) == defaults.proxy.listen[0].port
    assert service['Type'] == 'notify'
    assert int(service['TimeoutStopSec']) > defaults.timeouts.drain + 2
    assert service['ExecStart'] == '/usr/bin/python3 -m geproxy -c /etc/geproxy/proxy.ini'
    assert service['RestartPreventExitStatus'] == '%d' % BAD_FILE
    assert service['SyslogIdentifier'] == 'geproxy'
    with open(SERVICE) as lines:        # so that a bad file never reaches the process
        assert [line.split('=', 1)[1] for line in lines if line.startswith('ExecReload')] == [
            '/usr/bin/python3 -m geproxy --check /etc/geproxy/proxy.ini\n', '/bin/kill -HUP $MAINPID\n']


def test_systemd_gets_the_reason_why_a_bad_file_ends_the_start():
    with manager() as (place, message), folder() as here:
        path = os.path.join(here, 'proxy.ini')
        write(path, '[proxy]\nlistem = x\n')
        assert run(GEPROXY + ['-c', path], more_env={'NOTIFY_SOCKET': place}).popen.returncode == BAD_FILE
        assert message() == ['STATUS=%s:2: [proxy] listem: unknown option (did you mean listen?)' % path]


@pytest.mark.parametrize('path', [SERVICE, SOCKET])
def test_every_unit_begins_with_what_it_is(path):
    with open(path) as opened:
        assert opened.read().startswith('# %s: ' % os.path.basename(path))
