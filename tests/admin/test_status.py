"""The phase of each connection, rows, figures: of real connections."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import socket

import gevent
from gevent.event import Event
from helpers import PATIENCE, listening, proxying, read_all, read_until
from processes import Client, answering, get
from test_tls import path

from geproxy.admin import status
from geproxy.observe import metrics


def until_phase(proxy, phase):
    """Wait until the only connection is in that phase. Return its Conversation."""
    proxy.wait_until(lambda: status.phases(proxy.server.live) == {phase: 1})
    conversation, = proxy.server.live
    return conversation


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


def test_a_connection_is_idle_again_after_its_origin_could_not_be_reached():
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
        conversation = until_phase(proxy, 'idle')
        assert status.row(conversation, True)['request'] is None
        request = get(place, b'/x?y=z')
        client.send(request[:20])
        conversation = until_phase(proxy, 'head')
        assert status.row(conversation, True)['url'] is None and status.row(conversation, True)['received'] == 0
        client.send(request[20:])
        row = status.row(until_phase(proxy, 'waiting'), True)
        assert row['url'] == 'http://127.0.0.1:%d/x?y=z' % place[1]
        assert (row['method'], row['client'], row['address']) == ('GET', '127.0.0.1', '127.0.0.1')
        assert row['received'] == len(request) and row['sent'] == 0
        assert 0 <= row['seconds'] <= row['age'] < PATIENCE
        assert status.row(conversation, False)['url'].endswith('/x?')
        go.set()
        row = status.row(until_phase(proxy, 'body'), True)
        assert row['sent'] > 0
        go.set()
        assert client.response().endswith(b'fine')
        conversation = until_phase(proxy, 'idle')
        assert status.octets(conversation) == (0, 0)


def test_the_phase_is_body_while_a_request_body_goes_up():
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        client.send(b'POST http://127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nhe' % place[1])
        until_phase(proxy, 'body')
        client.send(b're')
        client.response()


def test_the_phase_is_dns_while_a_name_is_looked_up():
    # Names and addresses that keep one waiting are made by waiting in front of the real thing.
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        with stuck((proxy.server.proxy.upstream.resolver, 'resolve')):
            client.send(get(place))
            assert status.row(until_phase(proxy, 'dns'), True)['address'] is None
        assert client.response().endswith(b'fine')


def test_the_phase_is_connect_while_a_host_does_not_answer():
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


def test_the_phase_of_a_tunnel_is_tunnel_and_its_silence_is_known():
    with listening(lambda sock: sock.sendall(sock.recv(10))) as place, proxying() as (address, proxy):
        with Client(address) as client:
            client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % place[1])
            read_until(client.socket, b'\r\n\r\n')
            conversation = until_phase(proxy, 'tunnel')
            assert status.figures(proxy.server)['geproxy_tunnels'] == 1
            silent = status.row(conversation, True)['idle']
            if silent is not None:
                gevent.sleep(0.3)
                assert silent + 0.2 < status.row(conversation, True)['idle'] < PATIENCE
                client.send(b'ping')
                read_until(client.socket, b'ping')
                assert conversation not in proxy.server.live or status.row(conversation, True)['idle'] < 0.25


def test_the_phase_is_linger_after_the_last_response():
    with listening(answering()) as place, proxying() as (address, proxy), Client(address) as client:
        client.send(get(place, more=b'Connection: close\r\n'))
        until_phase(proxy, 'linger')


def test_a_connection_is_found_by_its_id_and_by_that_of_its_request():
    with listening(read_all) as place, proxying() as (address, proxy):
        with Client(address) as client:
            client.send(get(place))
            conversation = until_phase(proxy, 'waiting')
            conversations = proxy.server.live
            assert status.connection_id(conversation.view()) == '%d-%d' % (os.getpid(), conversation.number)
            assert status.find(conversations, status.connection_id(conversation.view())) is status.find(conversations, conversation.view().exchange.id) is conversation
            assert status.find(conversations, '1-1') is None


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


def test_the_state_tells_the_phases_of_all_connections():
    with listening(read_all) as place, proxying() as (address, proxy):
        with Client(address) as one, Client(address) as two:
            one.send(get(place))
            two.send(b'GET')
            proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1, 'head': 1})
            lines = status.state(proxy.server)
            assert lines[0] == 'state: 1 head, 1 waiting'
            assert 'geproxy_connections_total 2' in lines
            assert any(line.endswith(' in _await_origin') for line in lines)


def test_certificates_have_their_days_in_the_state_and_their_end_in_the_metrics():
    tls = '[tls]\ncertificate = %s\nkey = %s\n' % (path('proxy.test.pem'), path('proxy.test.key'))
    with proxying(tls) as (_address, proxy):
        said = '\n'.join(status.state(proxy.server))
        assert 'certificate: %s, proxy.test localhost 127.0.0.1, ' % path('proxy.test.pem') in said
        found, = status.process(proxy.server)['certificates']
        assert (found['path'], found['names'][:1]) == (path('proxy.test.pem'), ['proxy.test']) and found['days'] > 1000
        shown = metrics.exposition(status.figures(proxy.server))
    assert 'geproxy_certificate_expiration_timestamp_seconds{path="%s"} 4949' % path('proxy.test.pem') in shown
    assert 'geproxy_certificates_last_read_successful 1\n' in shown
    with proxying() as (_address, proxy):
        assert 'geproxy_certificate_exp' not in metrics.exposition(status.figures(proxy.server))
