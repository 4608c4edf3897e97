"""One process: its listeners, signals, reloads and its stop, and what it does when there is too much of something."""
from __future__ import absolute_import, division, print_function

import contextlib
import gc
import os
import random
import re
import resource
import signal
import socket
import struct
import time

import gevent
import pytest
from bigbody import WAYS, growth
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client, answering, get, own, read, running, wait_until, write

from geproxy.admin import status
from geproxy.compat import monotonic, native_sleep
from geproxy.net import workers
from geproxy.service import acceptor, descriptors, listeners
from geproxy.settings import option_types

SOON = 3        # seconds: far less than the time-outs of these tests, far more than a busy host needs


class Slow(object):
    """A `handle` for `listening` that sets `asked` when a request has come, and waits for `go` before it responds.

    With `begun` it sends the head and the first five octets of the body at once.
    """

    def __init__(self, begun=False):
        self.asked, self.go = Event(), Event()
        self._begun = begun

    def __call__(self, sock):
        read_until(sock, b'\r\n\r\n')
        first, rest = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n01234', b'01234'
        if self._begun:
            sock.sendall(first)
            first = b''
        self.asked.set()
        assert self.go.wait(PATIENCE)
        sock.sendall(first + rest)


@contextlib.contextmanager
def several(count, address):
    """Give so many connected clients."""
    clients = [Client(address) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.socket.close()


def ended(proxy, seconds=SOON):
    """Return the exit code of a process. Fail if it does not end soon."""
    return proxy.wait(seconds)


# --- listeners -------------------------------------------------------------------------------------------------------

def test_a_star_serves_ipv4_and_ipv6():
    with listening(answering()) as origin, running(listen='*:0') as proxy:
        places = proxy.wait_for(br'listening on 0\.0\.0\.0:(\d+), \[::\]:(\d+) for ')
        assert places.group(1) == places.group(2)
        for host in ('127.0.0.1', '::1'):
            try:
                client = Client((host, int(places.group(1))))
            except socket.error as error:
                if ':' in host and not os.path.exists('/proc/net/if_inet6'):
                    pytest.skip('this host has no IPv6: %s' % error)
                raise
            with client:
                assert client.ask(get(origin)).endswith(b'fine')


def test_the_proxys_own_port_is_no_origin():
    with proxying() as (address, proxy):
        shown = ask(address, get(address, b'/x'))
        assert shown.startswith(b'HTTP/1.1 403 ')
        assert proxy.wait(1)[0].reason == 'destination_ip_prohibited'


# --- SIGTERM, SIGINT -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_an_exchange_in_flight_ends_before_the_process_does(number):
    origin = Slow()
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(number)
        proxy.wait_for(br'stopping: waiting for 1 connection, at most 8 s')
        origin.go.set()
        response = client.response()
        assert response.startswith(b'HTTP/1.1 200 ') and response.endswith(b'0123401234')
        assert b'\r\nConnection: close\r\n' in response
        assert client.rest() == b''
        client.socket.close()
        assert ended(proxy) == 0
        assert proxy.err.endswith(b' stopped\n') and b' cut' not in proxy.err
        assert len(proxy.lines(1)) == 1


def test_clients_that_have_connected_when_the_stop_comes_are_still_served():
    with listening(answering()) as place, running() as proxy:
        with Client(proxy.address) as client:
            client.ask(own())                   # it serves
        proxy.tell(signal.SIGSTOP)              # as long as a busy moment
        with several(30, proxy.address) as clients:
            for client in clients:
                client.send(get(place))
            proxy.tell(signal.SIGTERM)
            proxy.tell(signal.SIGCONT)
            assert [client.response()[-4:] for client in clients] == [b'fine'] * 30
        assert ended(proxy) == 0


def test_no_client_is_connected_between_the_last_accept_and_the_close(monkeypatch):
    seen, close = [], acceptor.Acceptor.close

    def slowly(self):
        with pytest.raises(socket.error) as raised:
            socket.create_connection(self.socket.getsockname(), 0.2).close()
        seen.append(raised.type)
        close(self)
    probe, = listeners.open_all([option_types.Listener('127.0.0.1', 0, None)])
    filters = listeners.refuse_new(probe)
    probe.close()
    if not filters:
        pytest.skip('no kernel that filters for a listener')
    with proxying():
        monkeypatch.setattr(acceptor.Acceptor, 'close', slowly)
    assert seen == [socket.timeout]


def test_a_client_that_has_its_last_response_and_does_not_hang_up_does_not_delay_the_stop():
    origin = Slow()
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        origin.go.set()
        assert client.response().endswith(b'0123401234')
        assert client.rest() == b''
        assert ended(proxy) == 0


def test_a_response_whose_head_is_out_already_delays_the_stop_no_longer_than_it_takes():
    # Its head did not say Connection: close, so the client would keep the connection: the proxy must close it.
    origin = Slow(begun=True)
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        read_until(client.socket, b'01234')
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        origin.go.set()
        assert client.rest() == b'01234'
        client.socket.close()
        assert ended(proxy) == 0
        assert b' cut' not in proxy.err


def test_an_exchange_that_began_before_a_reload_does_not_delay_the_stop():
    origin = Slow()
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br'SIGHUP: \S+ read')
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        origin.go.set()
        assert client.response().endswith(b'0123401234')
        assert client.rest() == b''
        client.socket.close()
        assert ended(proxy) == 0
        assert b' cut' not in proxy.err


def test_idle_clients_do_not_delay_the_stop():
    with listening(answering()) as place, running() as proxy, several(3, proxy.address) as clients:
        for client in clients[1:]:              # the first has not even asked once
            assert client.ask(get(place)).endswith(b'fine')
        proxy.tell(signal.SIGTERM)
        assert ended(proxy) == 0
        assert b' cut' not in proxy.err
        assert [client.rest() for client in clients] == [b''] * 3


def test_new_and_kept_connections_get_one_more_response_with_connection_close():
    # The first request comes a round trip after its connection. And a kept connection that is closed may cross the
    # next request, which not every client sends again.
    with listening(answering()) as place, running() as proxy, several(2, proxy.address) as (early, late):
        assert late.ask(get(place)).endswith(b'fine')       # so `early`, which came before, has been accepted
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        for client in (late, early):
            response = client.ask(get(place))
            assert response.startswith(b'HTTP/1.1 200 ') and b'\r\nConnection: close\r\n' in response
            assert client.rest() == b''
        assert ended(proxy) == 0


def test_half_an_empty_line_before_a_request_stops_no_other_client():
    with listening(answering()) as place, running() as proxy, several(2, proxy.address) as (odd, other):
        assert odd.ask(get(place)).endswith(b'fine')
        odd.send(b'\r')
        for _ in range(3):
            with Client(proxy.address) as client:
                assert client.ask(get(place)).endswith(b'fine')
        odd.send(b'\n')
        assert odd.ask(get(place)).endswith(b'fine')
        other.send(b'\r')
        other.socket.close()


def test_a_tunnel_is_cut_off_after_the_drain_and_counted():
    with listening(read_all) as place, running('[timeouts]\ndrain = 300ms\n') as proxy:
        with several(2, proxy.address) as clients:
            for client in clients:
                client.send(b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n' % (place[0].encode('ascii'), place[1]))
                assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            proxy.tell(signal.SIGTERM)
            proxy.wait_for(br'stopping: waiting for 2 connections, at most 0\.3 s')
            assert ended(proxy) == 0
            assert b' 2 connections cut off\n' in proxy.err
            # Each has its line in the log, with the reason.
            assert proxy.out.count(b' drained: the proxy stopped [') == 2


@pytest.mark.parametrize('first,second', [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_told_a_second_time_it_stops_at_once(first, second):
    origin = Slow()
    with listening(origin) as place, running('[timeouts]\ndrain = 1h\n') as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(first)
        proxy.wait_for(br'stopping: waiting for 1 connection, ')
        proxy.tell(second)
        assert ended(proxy) == 0
        assert b'told again to stop: stopping at once' in proxy.err and b' 1 connection cut off\n' in proxy.err
        assert client.rest()[:5] in (b'', b'HTTP/')
        origin.go.set()


def test_a_client_that_still_waits_when_the_drain_is_over_is_told_why():
    with listening(read_all) as place:
        with proxying() as (address, proxy), Client(address) as client:
            client.send(get(place))
            proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
            proxy.server.proxy.timeouts = proxy.server.proxy.timeouts._replace(drain=0.01)
            draining = gevent.spawn(proxy.server.drain)
            shown = client.response()
            assert shown.startswith(b'HTTP/1.1 503 the proxy stopped\r\n') and b'\nreason: drained\n' in shown
            client.socket.close()
            draining.join()
        assert [(record.status, record.reason) for record in proxy.records] == [(503, 'drained')]


def test_while_it_drains_logs_are_opened_anew_and_nothing_else_changes():
    origin = Slow()
    with listening(origin) as place, running('[log]\naccess = FOLDER/access.log\n') as proxy, (
            Client(proxy.address)) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        path = os.path.join(proxy.folder, 'access.log')
        os.rename(path, path + '.1')
        proxy.tell(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(path), 'the new file')
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br'SIGHUP: nothing changed: this process is stopping')
        origin.go.set()
        client.rest()
        client.socket.close()
        assert ended(proxy) == 0
        assert b' GET ' in read(path) and read(path + '.1') == b''


def test_while_it_drains_no_new_client_can_connect():
    origin = Slow()
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        with pytest.raises(socket.error):
            connect(proxy.address)
        origin.go.set()
        assert client.response().endswith(b'01234')


# --- SIGHUP ----------------------------------------------------------------------------------------------------------

def reload(proxy, replaced=None):
    """Send SIGHUP, and return what the process says to it, octets. `replaced`: a new text for the ini file."""
    if replaced is not None:
        write(proxy.path, replaced)
    seen = len(proxy.err)
    proxy.tell(signal.SIGHUP)
    wait_until(lambda: b'SIGHUP: ' in proxy.err[seen:] and proxy.err.endswith(b'\n'), 'SIGHUP to be answered')
    return proxy.err[seen:]


@pytest.fixture(scope='module')
def told_often():
    """Give one geproxy for all tests that only reload."""
    with running() as proxy:
        yield proxy


@pytest.fixture
def reloading(told_often):
    """Give the same geproxy, and restore its ini file after the test."""
    good = read(told_often.path)
    yield told_often
    assert b' read\n' in reload(told_often, good)


def test_a_reload_holds_from_the_next_request_of_a_kept_connection_on(reloading):
    proxy = reloading
    with listening(answering()) as place, Client(proxy.address) as client:
        assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')
        good = read(proxy.path)
        said = reload(proxy, good.replace(b'http_ports = any', b'http_ports = 80'))
        assert b' SIGHUP: %s read\n' % proxy.path.encode('ascii') in said
        refused = client.ask(get(place))
        assert refused.startswith(b'HTTP/1.1 403 port %d is not among [access] http_ports (80)' % place[1])
        reload(proxy, good)
        assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')


def test_an_exchange_in_flight_keeps_the_settings_it_began_with(reloading):
    proxy, origin = reloading, Slow()
    with listening(origin) as place, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        reload(proxy, read(proxy.path).replace(b'[access]', b'[access]\nclients = 192.0.2.1\ndeny_addresses = any'))
        origin.go.set()
        assert client.response().endswith(b'0123401234')
        refused = client.ask(get(place))
        assert refused.startswith(b'HTTP/1.1 403 client 127.0.0.1 is not among [access] clients')


def test_a_bad_file_changes_nothing_and_is_told_with_its_lines(reloading):
    proxy = reloading
    with listening(answering()) as place, Client(proxy.address) as client:
        said = reload(proxy, '[access]\nhttp_ports = 80\nclient = none\n[log]\nformat = x\n').decode('ascii')
        assert ' SIGHUP: nothing changed, because of mistakes in the file:\n' in said
        proxy.wait_for(br":5: \[log\] format: invalid value 'x': expected one of ")
        assert '%s:3: [access] client: unknown option (did you mean clients?)\n' % proxy.path in (
            proxy.err.decode('ascii'))
        assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')


@pytest.mark.parametrize('spoil', [os.unlink, lambda path: write(path, b'\xff\xfe\x00')], ids=['deleted', 'binary'])
def test_a_file_that_cannot_be_read_changes_nothing(reloading, spoil):
    proxy = reloading
    with listening(answering()) as place, Client(proxy.address) as client:
        spoil(proxy.path)
        said = reload(proxy)
        assert b' SIGHUP: nothing changed' in said and proxy.path.encode('ascii') in said
        assert b'Traceback' not in said
        assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')


def test_a_log_that_cannot_be_opened_changes_nothing(reloading):
    proxy = reloading
    with listening(answering()) as place, Client(proxy.address) as client:
        said = reload(proxy, read(proxy.path).replace(b'http_ports = any', b'http_ports = 80') +
                      b'[log]\naccess = /nowhere/at/all.log\n')
        assert b' SIGHUP: nothing changed' in said and b'/nowhere/at/all.log' in said
        assert client.ask(get(place)).startswith(b'HTTP/1.1 200 ')
        proxy.wait_for(br' GET http://127\.0\.0\.1:%d/ 200 ' % place[1], 'out')


def test_a_reload_reports_what_needs_a_restart_and_keeps_listening(reloading):
    proxy = reloading
    said = reload(proxy, read(proxy.path).replace(b'listen = 127.0.0.1:0', b'listen = 127.0.0.1:1'))
    assert b' SIGHUP: [proxy] listen: 127.0.0.1:0 -> 127.0.0.1:1 (needs a restart)\n' in said
    with Client(proxy.address):
        pass


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_reload_that_hangs_delays_neither_a_stop_nor_a_client(number):
    with running() as proxy:
        os.unlink(proxy.path)
        os.mkfifo(proxy.path)               # as a file server that is gone: whoever opens it waits
        proxy.tell(signal.SIGHUP)

        def is_reading():
            proxy.tell(signal.SIGUSR2)
            return b' in _in_a_thread\n' in proxy.err
        wait_until(is_reading, 'the reload')
        with Client(proxy.address) as client:
            assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
        proxy.tell(number)
        assert ended(proxy) == 0 and proxy.err.endswith(b' stopped\n')


def test_without_an_ini_file_sighup_changes_nothing():
    with proxying() as (_address, proxy):
        proxy.server.reload('SIGHUP')
        assert proxy.said == ['SIGHUP: nothing changed: this process was started without an ini file (-c)']


def test_a_reload_moves_the_log_and_no_line_is_lost():
    with running('[log]\naccess = FOLDER/one.log\n') as proxy, Client(proxy.address) as client:
        one, two = (os.path.join(proxy.folder, name) for name in ('one.log', 'two.log'))
        for _ in range(3):
            client.ask(b'GET / HTTP/1.1\r\nHost: %s:%d\r\n\r\n' % (b'127.0.0.1', proxy.address[1]))
        reload(proxy, read(proxy.path).replace(b'one.log', b'two.log'))
        for _ in range(2):
            client.ask(b'GET / HTTP/1.1\r\nHost: %s:%d\r\n\r\n' % (b'127.0.0.1', proxy.address[1]))
        wait_until(lambda: (read(one).count(b'\n'), read(two).count(b'\n')) == (3, 2), 'three lines and two')


# --- SIGUSR1 ---------------------------------------------------------------------------------------------------------

def test_logs_are_reopened_and_no_line_is_lost():
    paths = []
    with listening(answering()) as place, running('[log]\naccess = FOLDER/access.log\n') as proxy:
        path = os.path.join(proxy.folder, 'access.log')
        with Client(proxy.address) as client:
            for turn in range(4):
                for number in range(25):
                    assert client.ask(get(place, b'/%d/%d' % (turn, number))).endswith(b'fine')
                if turn < 3:
                    # As logrotate does: the name is given to another file while lines are still on their way.
                    paths.append('%s.%d' % (path, turn))
                    os.rename(path, paths[-1])
                    proxy.tell(signal.SIGUSR1)
                    wait_until(lambda: os.path.exists(path), 'the log to be opened anew')
        proxy.tell(signal.SIGTERM)
        assert ended(proxy) == 0
        lines = b''.join(read(each) for each in paths + [path]).split(b'\n')[:-1]
        asked = [b'http://127.0.0.1:%d/%d/%d' % (place[1], turn, number) for turn in range(4) for number in range(25)]
        assert [line.split()[6] for line in lines] == asked
        assert read(path)


def test_a_log_whose_folder_is_gone_goes_on_in_the_old_file():
    with running('[log]\naccess = FOLDER/logs/access.log\n', make='logs') as proxy, Client(proxy.address) as client:
        logs, moved = (os.path.join(proxy.folder, name) for name in ('logs', 'moved'))
        os.rename(logs, moved)
        proxy.tell(signal.SIGUSR1)
        for _ in range(2):
            client.ask(b'GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n' % proxy.address[1])
        wait_until(lambda: read(os.path.join(moved, 'access.log')).count(b'\n') == 2, 'two lines in the old file')


# --- SIGUSR2, and a hub that is blocked ------------------------------------------------------------------------------

def test_the_state_is_logged_without_an_admin_listener():
    with running() as proxy, Client(proxy.address) as client:
        client.ask(own())
        proxy.tell(signal.SIGUSR2)
        proxy.wait_for(br'state: 1 idle\n')
        proxy.wait_for(br' geproxy_connections_total 1\n')
        proxy.wait_for(br' in await_request\n')
        assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
        assert b'Traceback' not in proxy.err


def test_the_state_is_logged_while_it_drains():
    origin = Slow()
    with listening(origin) as place, running() as proxy, Client(proxy.address) as client:
        client.send(get(place))
        assert origin.asked.wait(PATIENCE)
        proxy.tell(signal.SIGTERM)
        proxy.wait_for(br'stopping: ')
        proxy.tell(signal.SIGUSR2)
        proxy.wait_for(br'state: 1 waiting\n')
        proxy.wait_for(br' in _await_origin\n')
        origin.go.set()
        assert client.response().endswith(b'01234')


def test_a_blocked_event_loop_is_reported_with_the_line_and_counted():
    def block_everybody(_sock):
        native_sleep(1.6)               # in this process, and so in the hub of the proxy too
    with listening(block_everybody) as place, proxying() as (address, proxy):
        gevent.sleep(0.6)               # the watchdog has its mark
        ask(address, get(place))
        proxy.wait_until(lambda: len(proxy.said) == 2)
        assert ':\n  tests/service/test_server.py:' in proxy.said[0] and ' in block_everybody\n' in proxy.said[0]
        assert proxy.said[1].startswith('event loop running again after ')
        assert proxy.server.watchdog.blocked == 1 and proxy.server.watchdog.lag > 1


# --- too much --------------------------------------------------------------------------------------------------------

def test_more_connections_than_the_limit_get_503_and_then_there_is_room_again():
    with listening(answering()) as place, proxying('[limits]\nconnections = 2\n[proxy]\nname = gateway\n') as (
            address, proxy):
        with Client(address) as one, Client(address) as two:
            for client in (one, two):
                assert client.ask(get(place)).endswith(b'fine')
            began = monotonic()
            with Client(address) as third:
                shown = third.rest()            # without sending a request
            assert monotonic() - began < SOON
            assert shown.startswith(b'HTTP/1.1 503 all 2 connections are taken\r\n')
            record = proxy.wait(3)[-1]
            assert record.reason == 'connection_limit_reached'
            assert (b'\r\nProxy-Status: gateway; error=connection_limit_reached; details="all 2 connections are taken"; '
                    b'request-id="%s"\r\n' % record.id.encode('ascii')) in shown
            assert b'\r\nConnection: close\r\n' in shown
            # The clients that are connected are not disturbed.
            assert one.ask(get(place)).endswith(b'fine')
        proxy.wait_until(lambda: not proxy.server.live)
        with Client(address) as fourth:
            assert fourth.ask(get(place)).endswith(b'fine')


@pytest.mark.parametrize('pieces, answer', [
    ([b'\x16', b'\x03\x01\x02\x00'], b'\x15\x03\x01\x00\x02\x02\x31'),
    ([b'\x05\x01\x00'], b'\x05\xff'),
    ([b'HEAD http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n'], b'HTTP/1.1 503 '),
])
def test_a_client_without_room_is_told_in_the_protocol_that_it_speaks(pieces, answer):
    with proxying('[limits]\nconnections = 1\n') as (address, proxy), several(1, address):
        proxy.wait_until(lambda: proxy.server.live)
        with Client(address) as other:
            for piece in pieces:
                other.send(piece)
            shown = other.rest()
        assert shown.startswith(answer) and (b'HTTP' in shown) == (b'HTTP' in answer)
        assert b'\r\n\r\n' not in shown or shown.endswith(b'\r\n\r\n')         # no body behind HEAD
        record = proxy.wait()[-1]
        assert (record.status, record.reason) == (503, 'connection_limit_reached')


def test_the_limit_of_connections_follows_from_the_descriptors_unless_it_is_set():
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 264))
    with running(preexec_fn=limit) as proxy:
        proxy.wait_for(br'; up to 100 connections; ')           # the hard limit, less 64, then two for each
    with running('[limits]\nconnections = 7\n', preexec_fn=limit) as proxy:
        proxy.wait_for(br'; up to 7 connections; ')
    with running('[limits]\nconnections = 300\n', preexec_fn=limit) as proxy:
        proxy.wait_for(br'\[limits\] connections = 300 may need 664 file descriptors, but only 264 are allowed: ')


def test_kept_connections_give_their_descriptors_to_new_clients():
    with proxying('[upstream]\nkeep = 10\n') as (address, proxy), several(3, address) as first:
        together = Event()
        waiting = []

        def handle(sock):
            while read_until(sock, b'\r\n\r\n'):
                waiting.append(sock)
                if len(waiting) == 3:
                    together.set()
                together.wait(PATIENCE)         # so that there are three connections
                sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine')
        with listening(handle) as place:
            for client in first:
                client.send(get(place))
            for client in first:
                assert client.response().endswith(b'fine')
            server = proxy.server
            assert server._upstream.kept == 3
            server.descriptors.limit = descriptors.SPARE + 2 * 4 + 2         # room for four clients, and two more
            server._use(server.proxy.settings)
            with Client(address) as fourth:
                assert fourth.ask(get(place)).endswith(b'fine')
                assert (server._upstream.keep, server._upstream.kept) == (2, 2)
                with Client(address) as fifth:
                    assert fifth.ask(get(place)).endswith(b'fine')
                    assert (server._upstream.keep, server._upstream.kept) == (0, 0)
        server.descriptors.limit = descriptors.SPARE + 100
        proxy.wait_until(lambda: server._upstream.keep == 10)


def few_descriptors():
    """For preexec_fn."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (90, 90))


def test_a_crowd_gets_503_before_descriptors_run_out():
    with listening(answering()) as place, running(preexec_fn=few_descriptors) as proxy:
        proxy.wait_for(br'; up to 13 connections; ')
        with several(13, proxy.address) as clients:
            for client in clients:
                assert client.ask(get(place)).endswith(b'fine')
            began = monotonic()
            with several(40, proxy.address) as crowd:
                for client in crowd:
                    assert client.response().startswith(b'HTTP/1.1 503 all 13 connections are taken\r\n')
            assert monotonic() - began < SOON
            for client in clients:
                assert client.ask(get(place)).endswith(b'fine')
        assert b'out of file descriptors' not in proxy.err


def test_without_descriptors_clients_get_503_and_then_it_serves_again():
    with listening(answering()) as place, running('[limits]\nconnections = 1000\n', preexec_fn=few_descriptors) as proxy:
        with several(0, proxy.address) as clients:
            while True:
                clients.append(Client(proxy.address))
                response = clients[-1].ask(own())
                if not response.startswith(b'HTTP/1.1 200 '):
                    break
                assert len(clients) < 90
            # The connected clients can send requests, but there is no descriptor for an origin.
            for response in (response, clients[0].ask(get(place))):
                assert response.startswith(b'HTTP/1.1 503 ')
                assert b'; error=connection_limit_reached; ' in response
            clients.pop().socket.close()
            for _ in range(10):
                began = monotonic()
                with Client(proxy.address) as late:
                    assert late.ask(own()).startswith(b'HTTP/1.1 503 ')
                assert monotonic() - began < SOON
            proxy.wait_for(br' out of file descriptors \(90\) with %d connections: clients get 503; raise ulimit -n\n' %
                           len(clients))
        wait_until(lambda: ask(proxy.address, get(place)).endswith(b'fine'), 'an exchange after all others have left')
        assert proxy.err.count(b' out of file descriptors (') == 1
        assert b'Traceback' not in proxy.err
        proxy.tell(signal.SIGTERM)
        assert ended(proxy) == 0


# --- many at once ----------------------------------------------------------------------------------------------------

MANY = 1000
RESET = struct.pack('ii', 1, 0)


def one_of_many(address, place, number, dice):
    """Be a client that sends a request, plainly or through a tunnel, and dies at a random moment, or does not."""
    dies, resets, when, slice_ = dice.random() < 0.5, dice.random() < 0.5, dice.random() / 3, dice.random()
    gevent.sleep(dice.random() / 3)         # so that they do not all do the same at the same time
    question = get(place, b'/slow' if number % 4 == 0 else b'/')
    if number % 3 == 0:
        question = b'CONNECT %s:%d HTTP/1.1\r\nHost: x\r\n\r\n' % (place[0].encode('ascii'), place[1]) + question
    sock = connect(address)
    try:
        if not dies:
            sock.sendall(question)
            shown = read_until(sock, b'done')
            assert shown.endswith(b'done'), shown
            return
        sock.sendall(question[:int(len(question) * min(1, slice_ * 2))])
        gevent.sleep(when)
        if resets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    finally:
        sock.close()


def at_leisure(sock):
    """Be an origin that answers in two pieces, for /slow after a pause."""
    try:
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nnot ')
            if b'/slow' in head:
                gevent.sleep(0.3)
            sock.sendall(b'done')
    except socket.error:
        pass                            # the proxy has closed the connection, because its client left


def living():
    """Return the greenlets of this process that are not dead."""
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and not each.dead]


def open_descriptors():
    """Return how many descriptors this process has open."""
    return len(os.listdir('/proc/self/fd'))


@pytest.mark.programs
@pytest.mark.skipif(not os.path.isdir('/proc/self/fd'), reason='no /proc/self/fd here: descriptors cannot be counted')
def test_a_thousand_clients_half_of_which_die_leave_nothing_behind():
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 5 * MANY:
        pytest.skip('fewer than %d file descriptors are allowed here' % (5 * MANY))
    dice = random.Random(20261123)
    with listening(at_leisure) as place, proxying('[upstream]\nkeep_time = 100ms\n') as (address, proxy):
        assert ask(address, get(place)).endswith(b'done')
        proxy.wait_until(lambda: not proxy.server._upstream._idle and not workers._idle)
        before, open_before = living(), open_descriptors()
        clients = [gevent.spawn(one_of_many, address, place, number, random.Random(dice.random()))
                   for number in range(MANY)]
        gevent.joinall(clients, timeout=3 * PATIENCE)
        failed = [client.exception for client in clients if not client.successful()]
        assert not failed, failed[:3]
        del clients
        try:
            proxy.wait_until(lambda: set(living()) <= set(before) and open_descriptors() <= open_before)
        finally:
            # Greenlets of earlier tests may end meanwhile, but no new one may be left.
            assert [each for each in living() if each not in before] == [], (proxy.server.live, proxy.server._upstream._idle)
            assert open_descriptors() <= open_before
        # On a busy host, a thousand clients in this process may block the event loop for a second.
        assert not [text for text in proxy.said if not text.startswith('event loop ')]
        assert not [record for record in proxy.records if record.reason == 'proxy_internal_error']


# --- memory ----------------------------------------------------------------------------------------------------------

@pytest.mark.programs
@pytest.mark.skipif(not os.path.exists('/proc/self/status'), reason='no /proc/self/status here: no VmRSS to read')
def test_memory_does_not_grow_with_what_goes_through():
    # 200 MB each way; python tests/bigbody.py does it with 2 GB.
    with running() as proxy:
        grown = dict((name, growth(proxy, way, 200 * 1000 * 1000, 1e6, 0.3)) for name, way in WAYS)
    assert max(grown.values()) < 2 * 1000 * 1000, grown


def test_rules_that_end_soon_are_reported_at_the_start_and_after_a_reload():
    today = time.strftime('%Y-%m-%d')
    with running('rules = allow any any until %s # CHG-7\n' % today) as proxy:
        told = (r' rule proxy\.ini:\d+: allow any any until %s \(CHG-7\) ends after %s\n' % (today, today)).encode('ascii')
        proxy.wait_for(told)
        reload(proxy)
        proxy.wait_for(b'(?s)' + told + b'.*' + told)


# Two policies that disagree about both hosts, and have their rules in different lines. All that comes from a policy has
# its letter: the name of the proxy, the ticket, and the field that the origin gets.
BOTH = {
    b'A': ('127.0.0.2', '''[proxy]
listen = 127.0.0.1:0
name = policy-A
[access]
http_ports = any
rules =
  allow any 127.0.0.2 set X-Policy=ticket-A     # ticket-A
  deny any localhost,loopback                   # ticket-A
''', b'proxy.ini:8: '),
    b'B': ('localhost', '''[access]
http_ports = any
rules =
  # lines further down
  deny any 127.0.0.2                            # ticket-B
  allow any loopback set X-Policy=ticket-B      # ticket-B
[proxy]
listen = 127.0.0.1:0
name = policy-B
''', b'proxy.ini:5: ')}


def policy_of(host, response):
    """Return the letter of the policy that decided a request. Fail if anything comes from the other one."""
    letter, = set(re.findall(br'(?:policy|ticket)-([AB])', response))
    allowed, _text, place = BOTH[letter]
    if host == allowed:
        assert response.startswith(b'HTTP/1.1 200 ') and response.endswith(b'X-Policy: ticket-' + letter), response
        assert b'\r\nVia: 1.1 policy-' in response
    else:
        assert response.startswith(b'HTTP/1.1 403 denied by ' + place) and b' (ticket-' in response, response
        assert b'\r\nProxy-Status: policy-' in response
    return letter


def test_a_reload_under_traffic_judges_no_request_by_half_of_each_policy():
    def handle(sock):
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            body = re.search(br'X-Policy: \S+', head).group()
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))

    def traffic(client):
        while not stopped:
            for host in ('127.0.0.2', 'localhost'):
                judged.append(policy_of(host, client.ask(get((host, port)))))
    judged, stopped = [], []
    with listening(handle, '0.0.0.0') as (_host, port), running() as proxy, several(5, proxy.address) as clients:
        reload(proxy, BOTH[b'A'][1])
        busy = [gevent.spawn(traffic, client) for client in clients[1:]]
        for letter in [b'B', b'A'] * 8:
            before = len(judged)
            request = get(('localhost', port))
            clients[0].send(request[:40])           # half of its head comes before the reload, half after
            assert b' read\n' in reload(proxy, BOTH[letter][1])
            clients[0].send(request[40:])
            policy_of('localhost', clients[0].response())
            assert policy_of('127.0.0.2', clients[0].ask(get(('127.0.0.2', port)))) == letter
            wait_until(lambda: len(judged) > before + 20 or any(each.ready() for each in busy), 'traffic')
        stopped.append(True)
        gevent.joinall(busy, raise_error=True, timeout=PATIENCE)
    assert set(judged) == {b'A', b'B'}


def test_hashes_that_cost_too_much_are_reported_once_when_they_are_read(tmpdir):
    path = tmpdir.join('users')
    path.write(b'bob:$6$rounds=60000$a$' + b'x' * 86, 'wb')
    with proxying('[auth]\nusers = %s\n' % path) as (_address, proxy):
        proxy.server._use(proxy.server.proxy.settings)
        said = [text for text in proxy.said if 'take more than 100 ms each' in text]
        assert len(said) == 1 and said[0].startswith('%s: 1 of 1 hashes ' % path)
