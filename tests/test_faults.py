"""Faults made for real, to a real process: nobody else waits, the log says it, nothing is left behind, and it recovers.

Others stand where their subject is: full disks and stuck pipes in test_log, test_outlets and test_quota, descriptors and
reloads in test_server, supervisord in test_supervisord, nodes that are killed in test_haproxy.
"""
from __future__ import absolute_import, division, print_function

import base64
import os
import signal
import socket

import gevent
import pytest
import slow
from gevent.event import Event
from helpers import PATIENCE, listening, read_until
from processes import Client, answering, folder, get, own, read, run, running, unprivileged, wait_until

pytestmark = pytest.mark.programs


def connect_to(place):
    """A CONNECT for an origin."""
    return b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n' % (place[0].encode('ascii'), place[1])


def statuses(responses):
    """The status codes of responses, as one sorted list without repetitions."""
    return sorted(set(response[9:12] for response in responses))


# --- a process that is stopped: SIGSTOP, and every deadline passes meanwhile -----------------------------------------

STOPPED = float(os.environ.get('GEPROXY_STOPPED', '2'))         # seconds; longer ones show no more
CROWD = 25              # of each kind; together they are more than the loop is told of at once
SHORT = """
[timeouts]
head = 1500ms
idle = 1500ms
dns = 1500ms
connect = 1500ms
response = 1500ms
body = 1500ms
tunnel = 1500ms
linger = 1500ms
"""


def stopped(proxy, meanwhile, seconds=STOPPED):
    """The process does not run for so many seconds, at the beginning of which `meanwhile()` happens."""
    proxy.tell(signal.SIGSTOP)
    try:
        meanwhile()
        gevent.sleep(seconds)           # what is waited for is the end of all time-outs
    finally:
        proxy.tell(signal.SIGCONT)


def test_octets_that_arrived_while_the_process_was_stopped_came_in_time():
    ready, asked = Event(), []

    def origin(sock):
        sock.settimeout(PATIENCE + STOPPED)
        head = read_until(sock, b'\r\n\r\n')
        asked.append(head)
        ready.wait()
        sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine')
    with listening(origin) as place, running(SHORT) as proxy, Client(proxy.address) as silent:
        question = get(place, more=b'Connection: close\r\n')
        clients = [Client(proxy.address) for _ in range(4 * CROWD)]
        heads, idle, waiting, tunnels = (clients[at::4] for at in range(4))
        try:
            for client in tunnels:
                client.send(connect_to(place))
            for client in tunnels:
                assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            for client in idle:
                assert client.ask(b'OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n')[9:12] == b'200'
            for client in waiting:
                client.send(question)
            for client in heads:
                client.send(question[:20])
            silent.send(question[:20])
            wait_until(lambda: len(asked) == CROWD, 'the origin to be asked')

            def meanwhile():
                for client in heads:
                    client.send(question[20:])
                for client in idle + tunnels:
                    client.send(question)
                ready.set()
                gevent.sleep(0)
            stopped(proxy, meanwhile)
            came = dict((name, [client.rest() for client in group]) for name, group in (
                ('heads', heads), ('idle', idle), ('waiting', waiting), ('tunnels', tunnels)))
            assert dict((name, statuses(group)) for name, group in came.items()) == dict.fromkeys(came, [b'200'])
            # And who has sent nothing has had its time.
            assert silent.rest()[9:12] == b'408'
            assert b'Traceback' not in proxy.err
        finally:
            for client in clients:
                client.socket.close()


# Half a second and more of work for a thread. The password is secret.
USERS = ('joe:$6$rounds=300000$saltsalt$8eg/BVk4pUuhXG8kncI0tXGpi3GoMG9je.8eL.4j'
         'vjSJsNmQ0NlUCC7nkcyxOkbWc/iVyZKlWG7M/1ojtiCFF.\n')
LOGIN = """
[auth]
users = FOLDER/users
[timeouts]
login = 5s
"""
HASHING = 5         # seconds that the two passwords may take on a busy host: the same as above


def test_a_log_in_while_the_process_was_stopped_does_not_time_out(tmpdir):
    tmpdir.join('users').write(USERS)
    ini = LOGIN.replace('FOLDER', str(tmpdir))
    with running(ini) as proxy, Client(proxy.address) as right, Client(proxy.address) as wrong:
        for client, words in ((right, b'joe:secret'), (wrong, b'joe:nonsense')):
            client.send(own()[:-2] + b'Proxy-Authorization: Basic %s\r\n\r\n' % base64.b64encode(words))
        gevent.sleep(0.1)               # what is waited for is a thread that has begun
        stopped(proxy, lambda: None, max(STOPPED, HASHING + 0.6))
        assert [client.response()[9:12] for client in (right, wrong)] == [b'200', b'407']
        assert b'Traceback' not in proxy.err


# --- kill -9 ---------------------------------------------------------------------------------------------------------

def test_a_process_that_is_killed_takes_with_it_what_was_in_flight_on_it_and_nothing_else():
    arrived = {}            # {path: an Event that lets the origin answer it}

    def origin(sock):
        path = read_until(sock, b'\r\n\r\n').split(b' ')[1]
        arrived[path] = Event()
        arrived[path].wait(PATIENCE)
        try:
            sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine')
        except socket.error:
            pass                        # that was the one that is no more
    listener = socket.socket()
    try:
        listener.bind(('127.0.0.1', 0))
        listener.listen(100)
        address = listener.getsockname()
        options = dict(listen='fd:0', stdin=listener.fileno())
        with listening(origin) as place, running(**options) as one, running(**options) as two:
            # While the other is stopped, whoever comes is served by this one.
            clients = {}
            for process, other in ((one, two), (two, one)):
                other.tell(signal.SIGSTOP)
                clients[process] = client = Client(address)
                path = b'/%d' % process.pid
                client.send(get(place, path))
                wait_until(lambda: path in arrived, 'the origin to be asked')
                other.tell(signal.SIGCONT)
            # Whoever waits at the port meanwhile is nobody's yet.
            for process in (one, two):
                process.tell(signal.SIGSTOP)
            for number in range(20):
                clients[number] = Client(address)
                clients[number].send(get(place, b'/late%d' % number))
            one.tell(signal.SIGKILL)
            assert one.wait() == -signal.SIGKILL
            two.tell(signal.SIGCONT)
            assert clients.pop(one).rest() == b''
            wait_until(lambda: len(arrived) == 22, 'the origin to be asked')
            for event in arrived.values():
                event.set()
            for client in clients.values():
                assert client.response().endswith(b'fine')
            with Client(address) as client:
                assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            for client in clients.values():
                client.socket.close()
    finally:
        listener.close()


# --- files -----------------------------------------------------------------------------------------------------------

def test_a_file_that_may_not_be_read_any_more_changes_nothing():
    with listening(answering()) as place, running(preexec_fn=unprivileged) as proxy, Client(proxy.address) as client:
        os.chmod(proxy.path, 0)
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br' SIGHUP: nothing changed: cannot open \S+/proxy\.ini: Permission denied\n')
        assert client.ask(get(place)).endswith(b'fine')
        os.chmod(proxy.path, 0o600)
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br' SIGHUP: \S+/proxy\.ini read\n')
        assert b'Traceback' not in proxy.err


def test_a_full_disk_stops_no_client_and_is_written_to_once_there_is_room():
    if os.getuid() != 0:
        pytest.skip('not root: no file system that could be full')
    by = ['unshare', '-m', '/bin/sh', '-c', 'mount -t tmpfs -o size=8k none "$0" && exec "$@"']
    with folder() as disk:
        by.append(disk)
        try:
            code = run(by + ['true']).popen.returncode
        except OSError:
            code = 'no unshare'
        if code != 0:
            pytest.skip('no mount namespace here (%s): no file system that could be full' % code)
        log = '[log]\naccess = %s/access.log\nformat = json\n' % disk
        with running(log, by=by) as proxy, Client(proxy.address) as client:
            path = '/proc/%d/root%s/access.log' % (proxy.pid, disk)     # as the process sees it
            asked = 100
            for _ in range(asked):
                assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            proxy.wait_for(br' (\d+) log lines? dropped: the disk is full, or nobody reads the pipe\n')
            os.rename(path, path + '.old')
            os.unlink(path + '.old')
            proxy.tell(signal.SIGUSR1)
            wait_until(lambda: os.path.exists(path), 'a new log')
            assert client.ask(own(b'http://a.test/room')).startswith(b'HTTP/1.1 200 ')
            wait_until(lambda: b'a.test/room' in read(path), 'a line on the disk')
            assert b'Traceback' not in proxy.err


# --- clients that are slow on purpose, by the hundred; by the thousand: python tests/slow.py -------------------------

FEW = 5                 # milliseconds: below that it is the host's scheduler that is measured
WORST = 0.025           # seconds, of all: what happens four times a second is in no 99th percentile


def is_felt_by_nobody(quiet, under):
    """True if neither the median nor the 99th percentile nor the worst is twice as much. In one round of several is
    enough: other work of this host is no concern of it."""
    return slow.percentile(under, 99) < 2 * max(FEW, slow.percentile(quiet, 99)) and (
        slow.percentile(under, 50) < 2 * slow.percentile(quiet, 50)) and max(under) < 2 * max(WORST, max(quiet))


@pytest.mark.parametrize('kind', slow.ATTACKS)
def test_a_sound_client_does_not_feel_an_attack_of_slow_ones(kind):
    assert any(is_felt_by_nobody(quiet, under) for quiet, under, _memory in slow.rounds(
        kind, 200, 6, every=1, requests=1000))


def test_slowhttptest_does_no_more():
    try:
        run(['slowhttptest', '-h'])
    except OSError:
        pytest.skip('no slowhttptest here (apt-get install slowhttptest)')
    assert any(is_felt_by_nobody(quiet, under) for quiet, under, _memory in slow.rounds(
        'headers', 200, 6, 'slowhttptest', every=1, requests=1000))
