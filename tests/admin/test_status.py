"""What goes on now: the phase of each connection, with real ones; rows; figures."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import socket

import gevent
from gevent.event import Event
from helpers import PATIENCE, listening, proxying, read_all, read_until
from processes import Client, answering, get

from geproxy.admin import status
from geproxy.observe import metrics


def until_phase(proxy, phase):
    """Wait until the only connection is in that phase -> its Handler."""
    proxy.wait_until(lambda: status.phases(proxy.server.live) == {phase: 1})
    handler, = proxy.server.live
    return handler


@contextlib.contextmanager
def stuck(server_part):
    """Make `server_part` (an object, the name of a method) wait until the block has ended."""
    go = Event()
    whole, name = server_part
    real = getattr(whole, name)

    def wait(*arguments):
        go.wait(PATIENCE)
        return real(*arguments)
    setattr(whole, name, wait)
    try:
        yield
    finally:
        go.set()


def test_a_connection_that_could_not_reach_an_origin_is_not_on_its_way_any_more():
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))         # and does not listen
    with proxying() as (address, proxy), Client(address) as client:
        assert client.ask(get(sock.getsockname())).startswith(b'HTTP/1.1 502 ')
        assert until_phase(proxy, 'idle').current is None
    sock.close()


def test_a_connection_goes_through_its_phases():
    go = Event()

    def slow(sock):
        read_until(sock, b'\r\n\r\n')
        go.wait(PATIENCE)
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi')
        go.clear()
        go.wait(PATIENCE)
        sock.sendall(b'ne')
    with listening(slow) as place, proxying() as (address, proxy), Client(address) as client:
        handler = until_phase(proxy, 'idle')
        assert status.row(handler, True)['request'] is None
        request = get(place, b'/x?y=z')
        client.send(request[:20])
        handler = until_phase(proxy, 'head')
        assert status.row(handler, True)['url'] is None and status.row(handler, True)['received'] == 0
        client.send(request[20:])
        row = status.row(until_phase(proxy, 'waiting'), True)
        assert row['url'] == 'http://127.0.0.1:%d/x?y=z' % place[1]
        assert (row['method'], row['client'], row['address']) == ('GET', '127.0.0.1', '127.0.0.1')
        assert row['received'] == len(request) and row['sent'] == 0
        assert 0 <= row['seconds'] <= row['age'] < PATIENCE
        assert status.row(handler, False)['url'].endswith('/x?')
        go.set()
        row = status.row(until_phase(proxy, 'body'), True)
        assert row['sent'] > 0
        go.set()
        assert client.response().endswith(b'fine')
        handler = until_phase(proxy, 'idle')
        assert status.octets(handler) == (0, 0)


def test_a_body_that_goes_up_is_one_too():
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        client.send(b'POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhe' % place[1])
        until_phase(proxy, 'body')
        client.send(b're')
        client.response()


def test_the_way_to_the_origin_has_two():
    # Names and addresses that keep one waiting are made by waiting in front of the real thing.
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        with stuck((proxy.server.proxy.upstream.resolver, 'resolve')):
            client.send(get(place))
            assert status.row(until_phase(proxy, 'dns'), True)['address'] is None
        assert client.response().endswith(b'fine')


def test_a_host_that_does_not_answer_is_being_connected_to():
    full = socket.socket()
    full.bind(('127.0.0.1', 0))
    full.listen(0)
    crowd = [socket.socket() for _ in range(3)]     # whoever comes behind them is kept waiting
    try:
        for sock in crowd:
            sock.settimeout(0.0)
            sock.connect_ex(full.getsockname())
        with proxying() as (address, proxy), Client(address) as client:
            client.send(get(full.getsockname()))
            until_phase(proxy, 'connect')
    finally:
        for sock in crowd + [full]:
            sock.close()


def test_tunnels_are_tunnels_and_their_silence_is_known():
    with listening(lambda sock: sock.sendall(sock.recv(10))) as place, proxying() as (address, proxy):
        with Client(address) as client:
            client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % place[1])
            read_until(client.socket, b'\r\n\r\n')
            handler = until_phase(proxy, 'tunnel')
            assert status.figures(proxy.server)['geproxy_tunnels'] == 1
            silent = status.row(handler, True)['idle']
            if silent is not None:
                gevent.sleep(0.3)
                assert silent + 0.2 < status.row(handler, True)['idle'] < PATIENCE
                client.send(b'ping')
                read_until(client.socket, b'ping')
                assert handler not in proxy.server.live or status.row(handler, True)['idle'] < 0.25


def test_who_has_its_last_response_lingers():
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        client.send(get(place, more=b'Connection: close\r\n'))
        until_phase(proxy, 'linger')


def test_a_connection_is_found_by_its_id_and_by_that_of_its_request():
    with listening(read_all) as place, proxying() as (address, proxy):
        with Client(address) as client:
            client.send(get(place))
            handler = until_phase(proxy, 'waiting')
            handlers = proxy.server.live
            assert status.connection_id(handler.view()) == '%d-%d' % (os.getpid(), handler.number)
            assert status.find(handlers, status.connection_id(handler.view())) is status.find(handlers, handler.view().exchange.id) is handler
            assert status.find(handlers, '1-1') is None


def test_figures_are_those_of_the_table_and_of_this_process():
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        client.ask(get(place))
        figures = status.figures(proxy.server)
        assert set(figures) <= set(metrics.BY_NAME)
        assert figures['geproxy_connections'] == {('127.0.0.1:%d' % address[1],): 1}
        assert (figures['geproxy_connections_total'], figures['geproxy_tunnels']) == (1, 0)
        assert figures['geproxy_connections_limit'] == proxy.server.proxy.limits.connections
        assert 0 < figures['process_cpu_seconds_total'] and 0 <= figures['geproxy_hub_lag_seconds'] < PATIENCE
        if os.path.isdir('/proc/self/fd'):
            assert 10 < figures['process_open_fds'] < figures['process_max_fds']
            assert 1e6 < figures['process_resident_memory_bytes'] < 1e10


def test_every_counter_has_a_value():
    with proxying('[admin]\nlisten = 127.0.0.1:0\n') as (_address, proxy):
        values = dict(status.figures(proxy.server), **proxy.server.admin.counted())
        assert set(values) == set(metrics.BY_NAME)


def test_the_state_says_where_all_are():
    with listening(read_all) as place, proxying() as (address, proxy):
        with Client(address) as one, Client(address) as two:
            one.send(get(place))
            two.send(b'GET')
            proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1, 'head': 1})
            lines = status.state(proxy.server)
            assert lines[0] == 'state: 1 head, 1 waiting'
            assert 'geproxy_connections_total 2' in lines
            assert any(line.endswith(' in _await_origin') for line in lines)
