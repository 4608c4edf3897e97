"""The pages of the admin listener: what each answers, and to whom. Real sockets."""
from __future__ import absolute_import, division, print_function

import os
import re
import socket

import gevent
import pytest
from helpers import PATIENCE, ask, listening, read_all, read_until
from processes import Client, answering, folder, get, own, run, write
from test_listener import asked, events, question, rows, tailing, with_admin
from test_metrics import read as parsed

from geproxy.admin import endpoints, listener, status
from geproxy.observe import subscribers
from geproxy.pages import table


# --- pages -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path,body', [
    (b'/-/healthy', b'healthy\n'), (b'/healthz', b'healthy\n'), (b'/-/ready', b'ready\n'), (b'/readyz', b'ready\n')])
def test_health(path, body):
    with with_admin() as (_address, _proxy, place):
        assert asked(place, path) == (200, body)


@pytest.mark.parametrize('octets,status', [
    (question(b'/nothing'), 404),
    (question(b'http://127.0.0.1/-/healthy'), 404),             # it is no proxy
    (question(b'/-/healthy', b'POST'), 405),
    (question(b'/-/kill?id=1-1'), 405),
    (question(b'/-/kill?id=1-1', b'POST'), 404),
    (question(b'/-/kill?id=%0a', b'POST'), 400),
    (question(b'/-/kill', b'POST'), 400),
    (question(b'/-/healthy', more=b'Host: 127.0.0.1\r\nHost: b\r\n'), 400),
    (question(b'/-/healthy', more=b''), 400),
    (b'nonsense\r\n\r\n', 400),
    (b'\x16\x03\x01\x02\x00\x01\x00', 400),
    (b'GET / HTTP/1.1\r\nA: ' + b'x' * listener.HEAD_SIZE + b'\r\n\r\n', 400)])
def test_a_bad_request_is_refused_with_the_right_status(octets, status):
    with with_admin() as (_address, proxy, place):
        shown = ask(place, octets)
        assert shown.startswith(b'HTTP/1.1 %d ' % status)
        assert (b'\r\nAllow: ' in shown) == (status == 405)
        assert asked(place, b'/-/healthy')[0] == 200
        assert proxy.said == []


def test_a_client_that_closes_in_the_middle_of_a_request_is_ignored():
    with with_admin() as (_address, proxy, place):
        assert ask(place, b'GET /-/hea') == ask(place, b'') == b''
        assert asked(place, b'/-/healthy')[0] == 200 and proxy.said == []


def test_head_and_http_1_0_without_host_are_answered_for_load_balancers():
    with with_admin() as (_address, _proxy, place):
        assert ask(place, question(b'/-/ready', more=b'', version=b'1.0')).endswith(b'\r\n\r\nready\n')
        assert ask(place, question(b'/-/ready', b'HEAD')).endswith(b'\r\n\r\n')
        assert ask(place, question(b'/-/connections', more=b'', version=b'1.0')).count(b'\n{') == 1


def test_metrics_can_be_read_by_the_parser_of_prometheus():
    with listening(answering()) as origin, with_admin() as (address, _proxy, place), Client(address) as client:
        client.ask(get(origin))
        ask(address, get(('no-such-name.invalid', 80)))
        status, body = asked(place, b'/metrics')
        shown = parsed(body.decode('ascii'))
        assert status == 200
        assert shown['geproxy_requests_total', (('code', '200'), ('method', 'GET'))] == 1
        assert shown['geproxy_requests_total', (('code', '502'), ('method', 'GET'))] == 1
        assert shown['geproxy_errors_total', (('reason', 'dns_error'),)] == 1
        assert shown['geproxy_connections', (('listener', '127.0.0.1:%d' % address[1]),)] == 1
        assert shown['geproxy_connections_total', ()] == 2
        assert shown['geproxy_bytes_total', (('direction', 'in'), ('side', 'client'))] > len(get(origin))


PROMTOOL = next((path for path in [os.path.join(each, 'promtool') for each in os.environ['PATH'].split(os.pathsep)]
                 if os.access(path, os.X_OK)), None)


@pytest.mark.skipif(PROMTOOL is None, reason='no promtool')
def test_promtool_finds_nothing_wrong_with_the_metrics():
    more = '[limits]\nper_client = 3\n[access]\nrules =\n  deny any denied.test\n  allow any any\n'
    with listening(answering()) as origin, with_admin(more) as (address, proxy, place):
        with Client(address) as client:
            for octets in (get(origin), get(('denied.test', 80)), get(('no-such-name.invalid', 80)), b'\xff\r\n\r\n'):
                client.ask(octets)
        proxy.wait(4)
        status, body = asked(place, b'/metrics')
        with folder() as here:
            write(os.path.join(here, 'metrics'), body)
            checked = run(['sh', '-c', 'exec "$0" check metrics < %s/metrics' % here, PROMTOOL])
        assert status == 200 and (checked.popen.returncode, checked.out, checked.err) == (0, b'', b'')


def test_octets_from_and_to_origins_are_counted_however_the_connection_ends():
    def handle(sock):
        while read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n' + b'x' * 1000)

    def octets(place):
        shown = parsed(asked(place, b'/metrics')[1].decode('ascii'))
        return [shown['geproxy_bytes_total', (('direction', way), ('side', 'origin'))] for way in ('in', 'out')] + [
            shown['geproxy_pool_connections', ()], shown['geproxy_pool_idle_connections', ()]]
    with listening(handle) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        assert octets(place) == [0, 0, 0, 0]
        for number in (1, 2):
            client.ask(get(origin))
            received, sent, connections, idle = octets(place)
            assert (received, connections, idle) == (1041 * number, 1, 1) and sent > 60 * number
        proxy.server._upstream.close_idle()
        assert octets(place) == [received, sent, 0, 0]


def test_refused_connections_are_counted():
    with with_admin('[limits]\nconnections = 1\n') as (address, proxy, place), Client(address) as client:
        client.ask(own())
        for _ in range(2):
            assert ask(address, own()).startswith(b'HTTP/1.1 503 ')
        shown = parsed(asked(place, b'/metrics')[1].decode('ascii'))
        assert shown['geproxy_connections_rejected_total', ()] == 2
        assert shown['geproxy_phase_connections', (('phase', 'idle'),)] == 1
        assert shown['geproxy_phase_connections', (('phase', 'tunnel'),)] == 0
        assert shown['geproxy_config_last_reload_successful', ()] == 1
        proxy.server.reload('SIGHUP')           # it has no file
        shown = parsed(asked(place, b'/metrics')[1].decode('ascii'))
        assert shown['geproxy_config_last_reload_successful', ()] == 0
        assert shown['geproxy_reloads_total', (('result', 'refused'),)] == 1


def test_octets_of_a_tunnel_are_counted_once_and_while_it_is_open():
    def echo(sock):
        while True:
            data = sock.recv(1000)
            if not data:
                return
            sock.sendall(data)
    names = [('geproxy_bytes_total', (('direction', way), ('side', 'client'))) for way in ('in', 'out')]
    with listening(echo) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        opening = b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1]
        client.send(opening)
        head = read_until(client.socket, b'\r\n\r\n')
        client.send(b'x' * 500)
        read_until(client.socket, b'x' * 500)
        wanted = [len(opening) + 500, len(head) + 500]
        for _ in range(2):
            shown = parsed(asked(place, b'/metrics')[1].decode('ascii'))
            assert [shown[name] for name in names] == wanted
            assert shown['geproxy_tunnels_total', ()] == 1
            if not proxy.records:
                client.socket.close()
                proxy.wait(1)


def test_connections_are_shown_with_their_phases():
    with listening(read_all) as origin, with_admin() as (address, proxy, place):
        with Client(address) as one, Client(address) as two:
            one.send(get(origin, b'/x?secret'))
            two.send(b'GET')
            proxy.wait_until(lambda: status.phases(proxy.server.live) == {'head': 1, 'waiting': 1})
            waiting, head = sorted(rows(place), key=lambda row: row['phase'], reverse=True)
            assert waiting['url'] == 'http://127.0.0.1:%d/x?secret' % origin[1]
            assert (head['phase'], head['url']) == ('head', None)


def test_query_strings_are_hidden_if_the_log_hides_them():
    with listening(read_all) as origin, with_admin('[log]\nquery = off\n') as (
            address, proxy, place), Client(address) as client:
        client.send(get(origin, b'/x?secret'))
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
        assert rows(place)[0]['url'].endswith('/x?')


# --- kill ------------------------------------------------------------------------------------------------------------

def test_the_record_of_a_killed_tunnel_has_the_reason():
    with listening(read_all) as origin, with_admin() as (address, proxy, place):
        with Client(address) as client, Client(address) as other:
            other.ask(own())
            client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
            read_until(client.socket, b'\r\n\r\n')
            row, = [row for row in rows(place) if row['phase'] == 'tunnel']
            assert asked(place, b'/-/kill?id=' + row['id'].encode('ascii'), b'POST') == (200, b'killed\n')
            assert client.rest() == b''
            record = proxy.wait(2)[1]
            assert (record.reason, record.status, record.id) == ('killed', 200, row['request'])
            assert other.ask(own()).startswith(b'HTTP/1.1 200 ')
            assert asked(place, b'/-/kill?id=' + row['id'].encode('ascii'), b'POST')[0] == 404


def test_a_killed_response_does_not_look_complete():
    def endless(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nsome')
        read_all(sock)
    with listening(endless) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        client.send(get(origin).replace(b'HTTP/1.1', b'HTTP/1.0'))      # to the end of the connection
        read_until(client.socket, b'some')
        assert asked(place, b'/-/kill?id=' + proxy.server.live.copy().popitem()[0].view().exchange.id.encode('ascii'),
                     b'POST')[0] == 200
        with pytest.raises(socket.error):
            client.socket.recv(1000)


def test_a_killed_idle_connection_is_closed_without_a_record():
    with with_admin() as (address, proxy, place), Client(address) as client:
        client.ask(own())
        row, = rows(place)
        assert row['phase'] == 'idle'
        assert asked(place, b'/-/kill?id=' + row['id'].encode('ascii'), b'POST')[0] == 200
        assert client.rest() == b'' and len(proxy.records) == 1


def test_a_kill_that_comes_too_late_hits_no_other_client():
    # Its connection ends between the kill's question and its act, and the same greenlet serves the next one.
    with with_admin() as (address, proxy, _place):
        with Client(address) as client:
            client.ask(own())
            conversation, greenlet = list(proxy.server.live.items())[0]
        gevent.get_hub().loop.run_callback(greenlet.switch, conversation.client)     # as its end would wake it
        endpoints.kill(table.Visit(None, b'id=' + status.connection_id(conversation.view()).encode('ascii'), endpoints.Visitor(proxy.server.admin, None, False)))
        assert conversation not in proxy.server.live and not greenlet.dead
        with Client(address) as client:
            assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            assert greenlet in proxy.server.live.values()


@pytest.mark.parametrize('cut, phase', [(4, 'head'), (-3, 'body'), (None, 'waiting')])
def test_a_client_that_waits_for_its_response_is_told_that_it_is_killed(cut, phase):
    with listening(read_all) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        client.send((get(origin, more=b'Content-Length: 5\r\n') + b'12345')[:cut])
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {phase: 1})
        name = rows(place)[0]['request'].encode('ascii')
        with gevent.Timeout(PATIENCE):
            killing = gevent.spawn(asked, place, b'/-/kill?id=' + name, b'POST')
            shown = client.response()
            assert client.rest() == b''
            client.socket.close()
            assert killing.get() == (200, b'killed\n')
        assert shown.startswith(b'HTTP/1.1 503 ended by the operator of the proxy\r\n')
        assert b'\r\nConnection: close\r\n' in shown and b'\nreason: killed\n' in shown
        record, = proxy.wait(1)
        assert (record.status, record.reason, record.aborted) == (503, 'killed', False)


def test_a_client_that_is_told_and_never_hangs_up_is_gone_when_the_kill_is_answered():
    with listening(read_all) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        client.send(get(origin))
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
        assert asked(place, b'/-/kill?id=' + rows(place)[0]['id'].encode('ascii'), b'POST')[0] == 200
        assert not proxy.server.live
        assert client.response().startswith(b'HTTP/1.1 503 ')


# --- tail ------------------------------------------------------------------------------------------------------------

def test_each_exchange_is_shown_to_each_subscriber_exactly_once():
    with listening(answering()) as origin, with_admin() as (address, proxy, place), Client(address) as client:
        client.ask(get(origin, b'/before'))
        with tailing(place) as one, tailing(place) as two:
            paths = ['%d' % number for number in range(250)]
            for path in paths:
                client.ask(get(origin, b'/' + path.encode('ascii')))
            wanted = [('ended', path) for path in paths]
            assert events(one, 250) == events(two, 250) == wanted
            assert len(proxy.records) == 251
        proxy.wait_until(lambda: len(proxy.server.observers._observers) == 2)       # the log and the metrics


def test_tunnels_are_shown_when_they_open_and_when_they_end():
    with listening(read_all) as origin, with_admin() as (address, _proxy, place), tailing(place) as subscriber:
        name = '127.0.0.1:%d' % origin[1]
        with Client(address) as client:
            client.send(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % name.encode('ascii'))
            assert events(subscriber, 1) == [('opened', name)]
        assert events(subscriber, 1) == [('ended', name)]


def test_a_slow_subscriber_delays_no_client_and_learns_how_many_lines_it_missed():
    many = 4 * subscribers.QUEUE
    with with_admin() as (address, proxy, place), tailing(place) as slow, Client(address) as client:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        longer = own(b'http://a.test/' + b'x' * 3000)
        for _ in range(many // 100):
            client.send(longer * 100)           # pipelined: the proxy is as fast as it can be
            for _number in range(100):
                assert client.response().startswith(b'HTTP/1.1 200 ')
        assert len(proxy.records) == many
        shown, missed, data = 0, 0, b''
        while shown + missed < many:
            lines = (data + slow.recv(1 << 20)).split(b'\n')
            data = lines.pop()
            shown += sum(b'"event": "ended"' in line for line in lines)
            missed += sum(int(count) for count in re.findall(br'"dropped", "count": (\d+)', b''.join(lines)))
        assert missed > 0 and shown + missed == many
