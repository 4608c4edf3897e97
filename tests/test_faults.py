"""Faults made for real, to a real process: nobody else waits, the log says it, nothing is left behind, and it recovers.

Others stand where their subject is: full disks and stuck pipes in test_log, test_outlets and test_quota, descriptors and
reloads in test_server, supervisord in test_supervisord, nodes that are killed in test_haproxy.
"""
from __future__ import absolute_import, division, print_function

import os
import signal

import gevent
import pytest
import slow
from gevent.event import Event
from helpers import PATIENCE, listening, read_until
from processes import Client, get, run, running, wait_until


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


def stopped(proxy, meanwhile):
    """The process does not run for STOPPED seconds, at the beginning of which `meanwhile()` happens."""
    proxy.tell(signal.SIGSTOP)
    try:
        meanwhile()
        gevent.sleep(STOPPED)           # what is waited for is the end of all time-outs
    finally:
        proxy.tell(signal.SIGCONT)


def test_what_came_while_the_process_was_stopped_came_in_time():
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


# --- clients that are slow on purpose, by the hundred; by the thousand: python tests/slow.py -------------------------

@pytest.mark.parametrize('kind', slow.ATTACKS)
def test_a_sound_client_does_not_feel_an_attack_of_slow_ones(kind):
    # The best of several rounds: other work of this host is no concern of it.
    for quiet, under, _memory in slow.rounds(kind, 200, 4, requests=300):
        if slow.percentile(under, 99) < 2 * slow.percentile(quiet, 99):
            return
    raise AssertionError('each time, the 99th percentile was more than twice as much')


def test_slowhttptest_does_no_more():
    try:
        run(['slowhttptest', '-h'])
    except OSError:
        pytest.skip('no slowhttptest here (apt-get install slowhttptest)')
    for _quiet, under, _memory in slow.rounds('headers', 200, 1, 'slowhttptest', requests=100):
        assert len(under) == 100
