"""The admin listener: who may ask, what it answers, and that it stays until the end. Real sockets, real processes."""
from __future__ import absolute_import, division, print_function

import contextlib
import json
import os
import re
import signal
import socket
import stat

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client, answering, folder, get, own, run, running, write
from test_metrics import read as parsed

from geproxy.admin import listener, status
from geproxy.compat import monotonic
from geproxy.observe import subscribers

TCP = '[admin]\nlisten = 127.0.0.1:0\n'


@contextlib.contextmanager
def watched(more=''):
    """A proxy with an admin port: (address, Recorder, address of the admin port)."""
    with proxying(TCP + more) as (address, proxy):
        place = proxy.server.admin.places[0].rpartition(':')
        yield address, proxy, (place[0], int(place[2]))


def question(path, method=b'GET', more=b'Host: 127.0.0.1\r\n', version=b'1.1'):
    """A request of those that it takes."""
    return b'%s %s HTTP/%s\r\n%s\r\n' % (method, path, version, more)


def asked(place, *arguments, **options):
    """Ask -> (status, body)."""
    sock = unix(place) if isinstance(place, str) else connect(place)
    try:
        sock.sendall(question(*arguments, **options))
        return split(read_all(sock))
    finally:
        sock.close()


def unix(path):
    """A socket that is connected to that path."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return sock


def split(shown):
    """A whole response -> (status, body)."""
    head, _, body = shown.partition(b'\r\n\r\n')
    if b'chunked' in head:
        assert body.endswith(b'0\r\n\r\n')
        body = unchunked(body)
    return int(head.split(b' ')[1]), body


def unchunked(body):
    """The content of chunks, the last one or not."""
    content = b''
    while body:
        size, _, body = body.partition(b'\r\n')
        content, body = content + body[:int(size, 16)], body[int(size, 16) + 2:]
    return content


def rows(place):
    """The connections it shows."""
    return [json.loads(line) for line in asked(place, b'/-/connections')[1].decode('ascii').splitlines()][1:]


# --- pages -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('path,body', [
    (b'/-/healthy', b'healthy\n'), (b'/healthz', b'healthy\n'), (b'/-/ready', b'ready\n'), (b'/readyz', b'ready\n')])
def test_health(path, body):
    with watched() as (_address, _proxy, place):
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
def test_what_is_no_good_is_told(octets, status):
    with watched() as (_address, proxy, place):
        shown = ask(place, octets)
        assert shown.startswith(b'HTTP/1.1 %d ' % status)
        assert (b'\r\nAllow: ' in shown) == (status == 405)
        assert asked(place, b'/-/healthy')[0] == 200
        assert proxy.said == []


def test_who_leaves_in_the_middle_disturbs_nobody():
    with watched() as (_address, proxy, place):
        assert ask(place, b'GET /-/hea') == ask(place, b'') == b''
        assert asked(place, b'/-/healthy')[0] == 200 and proxy.said == []


def test_head_and_http_1_0_without_host_are_for_load_balancers():
    with watched() as (_address, _proxy, place):
        assert ask(place, question(b'/-/ready', more=b'', version=b'1.0')).endswith(b'\r\n\r\nready\n')
        assert ask(place, question(b'/-/ready', b'HEAD')).endswith(b'\r\n\r\n')
        assert ask(place, question(b'/-/connections', more=b'', version=b'1.0')).count(b'\n{') == 1


def test_metrics_are_read_by_prometheus_own_parser():
    with listening(answering()) as origin, watched() as (address, _proxy, place), Client(address) as client:
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
def test_promtool_has_nothing_to_say_about_the_metrics():
    more = '[limits]\nper_client = 3\n[access]\nrules =\n  deny any denied.test\n  allow any any\n'
    with listening(answering()) as origin, watched(more) as (address, proxy, place):
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
    with listening(handle) as origin, watched() as (address, proxy, place), Client(address) as client:
        assert octets(place) == [0, 0, 0, 0]
        for number in (1, 2):
            client.ask(get(origin))
            received, sent, connections, idle = octets(place)
            assert (received, connections, idle) == (1041 * number, 1, 1) and sent > 60 * number
        proxy.server._upstream.close_idle()
        assert octets(place) == [received, sent, 0, 0]


def test_who_is_turned_away_is_counted():
    with watched('[limits]\nconnections = 1\n') as (address, proxy, place), Client(address) as client:
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


def test_octets_of_a_tunnel_are_counted_while_it_lasts_and_once():
    def echo(sock):
        while True:
            data = sock.recv(1000)
            if not data:
                return
            sock.sendall(data)
    names = [('geproxy_bytes_total', (('direction', way), ('side', 'client'))) for way in ('in', 'out')]
    with listening(echo) as origin, watched() as (address, proxy, place), Client(address) as client:
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
    with listening(read_all) as origin, watched() as (address, proxy, place):
        with Client(address) as one, Client(address) as two:
            one.send(get(origin, b'/x?secret'))
            two.send(b'GET')
            proxy.wait_until(lambda: status.phases(proxy.server.live) == {'head': 1, 'waiting': 1})
            waiting, head = sorted(rows(place), key=lambda row: row['phase'], reverse=True)
            assert waiting['url'] == 'http://127.0.0.1:%d/x?secret' % origin[1]
            assert (head['phase'], head['url']) == ('head', None)


def test_query_strings_are_hidden_if_the_log_hides_them():
    with listening(read_all) as origin, watched('[log]\nquery = off\n') as (
            address, proxy, place), Client(address) as client:
        client.send(get(origin, b'/x?secret'))
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
        assert rows(place)[0]['url'].endswith('/x?')


# --- who may ask -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('more,status', [
    (b'Host: 127.0.0.1:9001\r\n', 200), (b'Host: localhost\r\n', 200), (b'Host: LOCALHOST:1\r\n', 200),
    (b'Host: [::1]:9001\r\n', 200), (b'Host: 10.0.0.7\r\n', 200),
    (b'Host: evil.example\r\n', 403), (b'Host: localhost.evil.example\r\n', 403), (b'Host: 0x7f.1\r\n', 403),
    (b'Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n', 403), (b'Host: 127.0.0.1\r\nOrigin: null\r\n', 403)])
def test_a_browser_cannot_be_sent_here(more, status):
    with watched() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy', more=more)[0] == status


@pytest.mark.parametrize('more, status', [
    (b'Sec-Fetch-Site: none\r\n', 200), (b'Sec-Fetch-Site: same-origin\r\n', 200),      # typed, or from here
    (b'Sec-Fetch-Site: cross-site\r\n', 403), (b'Sec-Fetch-Site: same-site\r\n', 403),
    (b'Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n', 403)])
def test_a_page_of_others_reads_nothing_here_even_if_it_says_no_origin(more, status):
    with watched() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy', more=b'Host: 127.0.0.1\r\n' + more)[0] == status


@pytest.mark.parametrize('octets', [question(b'/-/healthy'), question(b'/-/connections'), question(b'/nothing'), b'x\r\n\r\n'])
def test_no_answer_can_be_framed_or_taken_for_a_page(octets):
    with watched() as (_address, _proxy, place):
        head = ask(place, octets).partition(b'\r\n\r\n')[0] + b'\r\n'
        for line in (b'X-Content-Type-Options: nosniff', b'X-Frame-Options: DENY',
                     b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
                     b'Cross-Origin-Resource-Policy: same-origin'):
            assert b'\r\n' + line + b'\r\n' in head


HOST = b'Host: 127.0.0.1\r\n'


@pytest.mark.parametrize('octets', [
    b'CONNECT 127.0.0.1:9001 HTTP/1.1\r\n' + HOST + b'\r\n', b'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n',
    b'OPTIONS * HTTP/1.1\r\n' + HOST + b'\r\n', b'GET * HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://127.0.0.1/-/healthy HTTP/1.1\r\n' + HOST + b'\r\n', b'GET ftp://127.0.0.1/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET /-/healthy\r\n\r\n', b'GET /-/healthy HTTP/0.9\r\n\r\n', b'GET /-/healthy HTTP/2.0\r\n' + HOST + b'\r\n',
    b'GET /-/healthy HTTP/1.1\r\n\r\n', b'CONNECT 127.0.0.1:1 HTTP/1.0\r\n\r\n', b'OPTIONS * HTTP/1.0\r\n\r\n',
    b'TRACE /-/healthy HTTP/1.1\r\n' + HOST + b'\r\n', b'\r\n\r\n\r\nx\r\n\r\n', b'\x00\x01\r\n\r\n',
    question(b'/-/healthy', more=HOST + b'Content-Length: 1\r\n') + b'x',
    question(b'/-/healthy', more=HOST + b'Transfer-Encoding: chunked\r\n') + b'0\r\n\r\n',
    question(b'/-/healthy', more=HOST + b'Transfer-Encoding: what\r\n'),
    question(b'/-/healthy', more=HOST + b'Content-Length: x\r\n'),
    question(b'/-/kill?id=1-1', b'POST', HOST + b'Content-Length: 1000000000\r\n'),
    question(b'/-/healthy', more=HOST + b'Upgrade: websocket\r\nConnection: upgrade\r\nExpect: x\r\n'),
    question(b'/-/healthy', more=b'Host: [::1\r\n'), question(b'/' + b'x' * listener.HEAD_SIZE),
    question(b'/-/healthy', more=HOST + b'X: ' + b'x' * listener.HEAD_SIZE + b'\r\n'),
])
def test_what_is_no_plain_request_for_a_page_is_refused_in_words(octets):
    with watched() as (_address, proxy, place):
        shown = ask(place, octets)
        assert shown[:10] == b'HTTP/1.1 4' and split(shown)[1].endswith(b'\n') or b'Expect: x' in octets
        assert [text for text in proxy.said if 'bug' in text] == []


def test_a_body_of_no_octets_is_none():
    with watched() as (_address, _proxy, place):
        assert asked(place, b'/-/reload?dry-run', b'POST', HOST + b'Content-Length: 0\r\n')[0] == 409     # it has no file


def test_others_than_the_clients_of_the_section_are_refused():
    with watched('clients = 192.0.2.0/24\n') as (_address, _proxy, place):
        assert asked(place, b'/metrics') == (403, b'client 127.0.0.1 is not among [admin] clients\n')
    with watched('clients = 127.0.0.1\n') as (_address, _proxy, place):
        assert asked(place, b'/-/healthy')[0] == 200


def test_it_is_never_reached_by_way_of_the_proxy():
    with watched() as (address, proxy, place):
        for host in ('127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '0.0.0.0'):
            shown = ask(address, get((host, place[1]), b'/metrics'))
            assert shown.startswith(b'HTTP/1.1 403 ') and b'geproxy_' not in shown
        tunnel = b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % place[1]
        assert ask(address, tunnel).startswith(b'HTTP/1.1 403 ')
        assert set(record.reason for record in proxy.wait(5)) == {'destination_ip_prohibited'}


# --- kill ------------------------------------------------------------------------------------------------------------

def test_a_tunnel_is_killed_and_its_record_says_so():
    with listening(read_all) as origin, watched() as (address, proxy, place):
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


def test_a_response_that_is_killed_does_not_look_whole():
    def endless(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nsome')
        read_all(sock)
    with listening(endless) as origin, watched() as (address, proxy, place), Client(address) as client:
        client.send(get(origin).replace(b'HTTP/1.1', b'HTTP/1.0'))      # to the end of the connection
        read_until(client.socket, b'some')
        assert asked(place, b'/-/kill?id=' + proxy.server.live.copy().popitem()[0].record.id.encode('ascii'),
                     b'POST')[0] == 200
        with pytest.raises(socket.error):
            client.socket.recv(1000)


def test_an_idle_connection_is_killed_in_silence():
    with watched() as (address, proxy, place), Client(address) as client:
        client.ask(own())
        row, = rows(place)
        assert row['phase'] == 'idle'
        assert asked(place, b'/-/kill?id=' + row['id'].encode('ascii'), b'POST')[0] == 200
        assert client.rest() == b'' and len(proxy.records) == 1


def test_a_kill_that_comes_too_late_hits_no_other_client():
    # Its connection ends between the kill's question and its act, and the same greenlet serves the next one.
    with watched() as (address, proxy, _place):
        with Client(address) as client:
            client.ask(own())
            handler, greenlet = list(proxy.server.live.items())[0]
        gevent.get_hub().loop.run_callback(greenlet.switch, handler.client)     # as its end would wake it
        proxy.server.admin._kill(b'id=' + status.connection_id(handler).encode('ascii'), None)
        assert handler not in proxy.server.live and not greenlet.dead
        with Client(address) as client:
            assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            assert greenlet in proxy.server.live.values()


@pytest.mark.parametrize('cut, phase', [(4, 'head'), (-3, 'body'), (None, 'waiting')])
def test_a_client_that_waits_for_its_response_is_told_that_it_is_killed(cut, phase):
    with listening(read_all) as origin, watched() as (address, proxy, place), Client(address) as client:
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
    with listening(read_all) as origin, watched() as (address, proxy, place), Client(address) as client:
        client.send(get(origin))
        proxy.wait_until(lambda: status.phases(proxy.server.live) == {'waiting': 1})
        assert asked(place, b'/-/kill?id=' + rows(place)[0]['id'].encode('ascii'), b'POST')[0] == 200
        assert not proxy.server.live
        assert client.response().startswith(b'HTTP/1.1 503 ')


# --- tail ------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def tailing(place):
    """Watch -> a socket, whose response has begun."""
    sock = unix(place) if isinstance(place, str) else connect(place)
    sock.sendall(question(b'/-/tail'))
    assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
    try:
        yield sock
    finally:
        sock.close()


def events(sock, count):
    """That many events, or all that come."""
    data, found = b'', []
    while len(found) < count:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
        found = [json.loads(line) for line in re.findall(br'\{[^\n]*\}(?=\n)', data)]
    return [(str(event['event']), str(event.get('url.original')).rpartition('/')[2]) for event in found]


def test_each_exchange_is_shown_to_each_watcher_exactly_once():
    with listening(answering()) as origin, watched() as (address, proxy, place), Client(address) as client:
        client.ask(get(origin, b'/before'))
        with tailing(place) as one, tailing(place) as two:
            paths = ['%d' % number for number in range(250)]
            for path in paths:
                client.ask(get(origin, b'/' + path.encode('ascii')))
            wanted = [('ended', path) for path in paths]
            assert events(one, 250) == events(two, 250) == wanted
            assert len(proxy.records) == 251
        proxy.wait_until(lambda: not proxy.server.admin.observer._watchers)


def test_tunnels_are_shown_when_they_open_and_when_they_end():
    with listening(read_all) as origin, watched() as (address, _proxy, place), tailing(place) as watcher:
        name = '127.0.0.1:%d' % origin[1]
        with Client(address) as client:
            client.send(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % name.encode('ascii'))
            assert events(watcher, 1) == [('opened', name)]
        assert events(watcher, 1) == [('ended', name)]


def test_a_slow_watcher_slows_nobody_and_learns_what_it_missed():
    many = 4 * subscribers.QUEUE
    with watched() as (address, proxy, place), tailing(place) as slow, Client(address) as client:
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


@contextlib.contextmanager
def crowd(count, place, client=None):
    """That many connections that say nothing."""
    socks = [connect(place, client) for _ in range(count)]
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


def test_silent_connections_of_those_who_may_ask_keep_nobody_from_asking():
    with watched() as (_address, proxy, place), crowd(3 * listener.MOST, place) as socks:
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        assert read_all(socks[0]) == b''        # the oldest had to go
        proxy.wait_until(lambda: len(proxy.server.admin._greenlets) <= listener.QUICK)


def test_silent_connections_of_strangers_keep_nobody_from_asking():
    with watched('clients = 127.0.0.1\n') as (_address, proxy, place), crowd(3 * listener.MOST, place, '127.0.0.2'):
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        assert len(proxy.server.admin._greenlets) <= 1      # the one that has just asked
        proxy.wait_until(lambda: sum(proxy.server.admin.strangers.counts.values()) == 3 * listener.MOST)


def test_watchers_have_places_of_their_own(monkeypatch):
    monkeypatch.setattr(listener, 'WATCHERS', 2)
    with watched() as (_address, proxy, place), tailing(place) as one, tailing(place), crowd(2 * listener.QUICK, place):
        assert asked(place, b'/-/tail') == (503, b'2 watch already\n')
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        one.close()
        proxy.wait_until(lambda: proxy.server.admin._watchers == 1)
        with tailing(place):
            pass                                # it has its response


# --- a process -------------------------------------------------------------------------------------------------------

UNIX = '[admin]\nlisten = unix:FOLDER/admin.sock\n'


def test_a_process_that_drains_is_not_ready_and_answers_to_its_end():
    go, came = Event(), Event()

    def slow(sock):
        read_until(sock, b'\r\n\r\n')
        came.set()
        go.wait(PATIENCE)
        sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine')
    with listening(slow) as origin, running(UNIX) as proxy, Client(proxy.address) as client:
        path = os.path.join(proxy.folder, 'admin.sock')
        proxy.wait_for(br'admin: unix:' + path.encode('ascii'))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert asked(path, b'/-/ready', more=b'Host: anything.test\r\n') == (200, b'ready\n')
        client.send(get(origin, b'/last'))
        assert came.wait(PATIENCE)
        with tailing(path) as watcher:
            proxy.tell(signal.SIGTERM)
            proxy.wait_for(br'stopping: 1 connection')
            assert asked(path, b'/-/ready') == (503, b'draining\n')
            assert asked(path, b'/-/healthy') == (200, b'healthy\n')
            assert asked(path, b'/metrics')[1].startswith(b'# HELP geproxy_build_info ')
            assert [row['phase'] for row in rows(path)] == ['waiting']
            go.set()
            assert client.response().endswith(b'fine')
            client.socket.close()
            assert events(watcher, 2) == [('ended', 'last')]        # and the stream has its end
        assert proxy.wait() == 0
        assert not os.path.exists(path)
        assert b'Traceback' not in proxy.err


def test_a_stop_waits_for_answers_and_not_for_who_has_given_them(monkeypatch):
    monkeypatch.setattr(listener, 'BRIEFLY', 2 * PATIENCE)
    began = monotonic()
    with watched() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
    assert monotonic() - began < PATIENCE


def test_a_full_process_is_not_ready():
    with watched('[limits]\nconnections = 1\n') as (address, _proxy, place), Client(address) as client:
        client.ask(own())
        assert asked(place, b'/-/ready') == (503, b'all 1 connections are taken\n')


def test_what_is_killed_leaves_a_socket_that_the_next_one_replaces():
    with folder() as here:
        text = '[admin]\nlisten = unix:%s/admin.sock\n' % here
        with running(text) as proxy:
            proxy.tell(signal.SIGKILL)
            proxy.popen.wait()
        assert os.listdir(here) == ['admin.sock']
        with running(text) as proxy:
            assert asked(here + '/admin.sock', b'/-/healthy')[0] == 200
            with pytest.raises(AssertionError) as raised:
                with running(text):
                    pass
            assert 'another process listens there; with several, write {pid} into the path' in str(raised.value)
            assert asked(here + '/admin.sock', b'/-/healthy')[0] == 200


def test_a_port_in_use_is_told_with_its_option():
    with listening(read_all) as place, pytest.raises(AssertionError) as raised:
        with running('[admin]\nlisten = 127.0.0.1:%d\n' % place[1]):
            pass
    assert 'choose another port in [admin] listen' in str(raised.value)


def test_without_the_section_nothing_listens_and_nothing_observes():
    with proxying() as (_address, proxy):
        assert proxy.server.admin is None
        assert proxy.server.proxy.log is proxy
