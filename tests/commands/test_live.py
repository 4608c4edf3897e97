"""ps, kill and tail, as commands, of real processes: one, and two in one view."""
from __future__ import absolute_import, division, print_function

import json
import re
import signal
import socket

import pytest
from encrypted import pem
from helpers import listening, read_all, read_until
from processes import (GEPROXY, Client, Process, answering, folder, get, own, process, running, scraped, wait_until)
from test_admin_commands import ADMIN, command, two

from geproxy.commands import live

NOT_FOUND = 'not found: no connection and no request has this ID now'


def test_ps_shows_the_connections_of_all_processes():
    with two() as (proxies, where), listening(read_all) as origin:
        with Client(proxies[0].address) as tunnel, Client(proxies[1].address) as idle:
            tunnel.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
            read_until(tunnel.socket, b'\r\n\r\n')
            idle.ask(own())
            code, out, err = command('ps', *where)
            assert (code, err) == (0, '')
            lines = out.splitlines()
            assert lines[0].split() == ['ID', 'PHASE', 'CLIENT', 'AGE', 'IDLE', 'UP', 'DOWN', 'REQUEST']
            assert lines[-1] == '2 connections in 2 processes, 1 idle, 1 tunnel'
            line, = [line for line in lines if ' tunnel ' in line and 'CONNECT' in line]
            assert line.startswith('%d-1 ' % proxies[0].pid)
            assert ' CONNECT 127.0.0.1:%d to 127.0.0.1 [' % origin[1] in line
            rows = [json.loads(row) for row in command('ps', '-o', 'json', *where)[1].splitlines()]
            assert sorted(row['phase'] for row in rows) == ['idle', 'tunnel']


def test_kill_ends_a_connection_of_any_process():
    with two() as (proxies, where), listening(read_all) as origin, Client(proxies[1].address) as client:
        client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
        read_until(client.socket, b'\r\n\r\n')
        name = '%d-1' % proxies[1].pid
        assert command('kill', name, *where) == (0, name + ': killed\n', '')
        assert client.rest() == b''
        proxies[1].wait_for(br' killed: ended by the operator of the proxy \[', 'out')
        assert command('kill', name, '1-1', *where) == (
            1, '%s: %s\n1-1: %s\n' % (name, NOT_FOUND, NOT_FOUND), '')
        assert command('kill', 'a b', *where)[0] == 2


def test_tail_shows_exchanges_of_all_processes_when_they_end_and_filters_them():
    with two() as (proxies, where), listening(answering()) as origin:
        with process(GEPROXY + ['tail', 'status:200', '/shown'] + where, more_env={'PYTHONUNBUFFERED': '1'}) as shown:
            with Client(proxies[0].address) as one, Client(proxies[1].address) as other:
                # Until it watches both; nobody tells when.
                for proxy, asking in zip(proxies, (one, other)):
                    path = b'/shown/first/%d' % proxy.pid
                    wait_until(lambda: asking.ask(get(origin, path)) and path in shown.out, 'the tail')
                one.ask(get(origin, b'/hidden'))
                other.ask(get(('no-such-name.invalid', 80), b'/shown/but/502'))
                for number in range(20):
                    (one, other)[number % 2].ask(get(origin, b'/shown/%d' % number))
                wait_until(lambda: re.findall(br'/shown/(\d+) 200', shown.out) and shown.out.count(b'\n') and len(
                    re.findall(br'/shown/(\d+) 200', shown.out)) >= 20, 'all')
            assert sorted(map(int, re.findall(br'/shown/(\d+) 200', shown.out))) == list(range(20))
            assert b'hidden' not in shown.out and b'502' not in shown.out
            assert re.search(br'(?m)^\d\d:\d\d:\d\d 127\.0\.0\.1 GET http://127\.0\.0\.1:%d/shown/7 200 \d+ \d+ms$' %
                             origin[1], shown.out)
            assert shown.err == b''


def test_tail_waits_for_a_new_process_after_the_last_has_ended():
    with folder() as here, listening(answering()) as origin:
        with running(ADMIN % here) as one:
            shown = Process(GEPROXY + ['tail', '-c', one.path], more_env={'PYTHONUNBUFFERED': '1'})
            with Client(one.address) as client:
                wait_until(lambda: client.ask(own()) and shown.out, 'the tail')
            one.tell(signal.SIGTERM)
            shown.wait_for(br'the last process has ended; waiting for a new one \(Control-C ends this\)\n')
        try:
            with running(ADMIN % here) as other, Client(other.address) as client:
                shown.wait_for(b'a new process answers\n')
                client.ask(get(origin, b'/anew', b'X-Long: %s\r\n' % (b'x' * 5000)))
                shown.wait_for(br'/anew 200 \d+ \d+ms \(\d\.\d+K up\)\n', 'out')
        finally:
            shown.end()


def test_tail_ends_quietly_when_its_reader_ends():
    with two() as (proxies, where), listening(answering()) as origin, Client(proxies[0].address) as asking:
        with process(['sh', '-c', 'exec 3>&2; { "$@" 2>&3; echo "code $?" >&3; } | head -n 1', 'sh'] + GEPROXY +
                     ['tail'] + where) as shown:
            wait_until(lambda: asking.ask(get(origin, b'/a')) and b'code' in shown.err, 'the pipe to break')
            shown.wait()
            assert shown.err == b'code 1\n' and shown.out.count(b'\n') == 1


def test_columns_of_numbers_are_aligned_on_the_right():
    rows = [live.HEADINGS, ('7-1', 'tunnel', '10.0.0.5', '2m03s', '14ms', '48K', '3.1M', 'CONNECT a:443'),
            ('7-10', 'idle', '::1', '1s', '-', '0', '0', '-')]
    assert list(live._table(rows)) == [
        'ID    PHASE   CLIENT      AGE  IDLE   UP  DOWN  REQUEST',
        '7-1   tunnel  10.0.0.5  2m03s  14ms  48K  3.1M  CONNECT a:443',
        '7-10  idle    ::1          1s     -    0     0  -']


SOCKET = '[admin]\nlisten = unix:FOLDER/admin.sock\n'


def test_status_shows_processes_and_the_states_of_their_parents():
    gone = socket.socket()
    gone.bind(('127.0.0.1', 0))         # and does not listen
    with listening(answering()) as parent:
        urls = ['http://127.0.0.1:%d' % port for port in (gone.getsockname()[1], parent[1])]
        ini = SOCKET + '[upstream]\nroutes = any %s, %s\n' % tuple(urls)
        with running(ini) as proxy, Client(proxy.address) as client:
            code, out, err = command('status', '-c', proxy.path)
            assert (code, err) == (0, '') and out.splitlines()[1:] == ['  parent %s: no failure so far' % url for url in urls]
            assert client.ask(get(('origin.test', 80))).endswith(b'fine')
            code, out, err = command('status', '-c', proxy.path)
            lines = out.splitlines()
            assert (code, err, len(lines)) == (1, '', 3)
            assert re.match(r'%d: geproxy \S+ as \S+, started \S+ ago, [01] of \d+ connections\Z' % proxy.pid, lines[0])
            assert re.match(r'  parent %s: left out for the last \S+, tried again (?:in \S+|as soon as .+): 127\.0\.0\.1 port \d+: connection refused\Z' % urls[0], lines[1])
            assert lines[2] == '  parent %s: no failure so far' % urls[1]
            row = json.loads(command('status', '-o', 'json', '-c', proxy.path)[1])
            assert [(each['up'], each['failures']) for each in row['parents']] == [(False, 1), (True, 0)]
            assert 0 <= row['parents'][0]['again'] <= 30 and row['parents'][1]['again'] is None
            shown = scraped(proxy)
            for line in ('geproxy_parent_up{parent="%s"} 0' % urls[0], 'geproxy_parent_up{parent="%s"} 1' % urls[1],
                         'geproxy_parent_failures_total{parent="%s"} 1' % urls[0]):
                assert '\n%s\n' % line in shown
            proxy.tell(signal.SIGUSR2)
            proxy.wait_for(b'parent %s: left out for ' % urls[0].encode('ascii'))
    gone.close()


def test_status_shows_certificates():
    certificate = pem('proxy.test.pem')
    with running(SOCKET + '[tls]\ncertificate = %s\nkey = %s\n' % (certificate, pem('proxy.test.key'))) as proxy:
        code, out, err = command('status', '-c', proxy.path)
        assert (code, err) == (0, '')
        assert re.match(r'  certificate %s: proxy\.test \S.*, \d+ days left\Z' % re.escape(certificate), out.splitlines()[1])


def test_status_tells_that_changed_certificates_cannot_be_used_and_that_one_has_expired(tmpdir):
    certificate, key = tmpdir.join('a.pem'), tmpdir.join('a.key')
    certificate.write(open(pem('expired.test.pem')).read())
    key.write(open(pem('expired.test.pem')).read())
    with running(SOCKET + '[tls]\ncertificate = %s\nkey = %s\n' % (certificate, key)) as proxy:
        code, out, _err = command('status', '-c', proxy.path)
        assert (code, len(out.splitlines())) == (0, 2)
        assert re.match(r'  certificate %s: \S.*, expired 20\d\d-\d\d-\d\d\Z' % re.escape(str(certificate)), out.splitlines()[1])
        key.write(open(pem('other.test.key')).read())
        proxy.wait_for(b'the certificates stay as they were')
        code, out, err = command('status', '-c', proxy.path)
        assert (code, err) == (1, '') and out.splitlines()[2].startswith('  certificates: the files of [tls] have changed ')
        assert json.loads(command('status', '-o', 'json', '-c', proxy.path)[1])['certificates_failing'] is True
        proxy.tell(signal.SIGUSR2)
        proxy.wait_for(br'certificate: [^\n]*, expired 20\d\d-\d\d-\d\d\n[^\n]*certificates: the files of \[tls\] have changed')


def test_without_parents_status_and_metrics_have_none():
    with running(SOCKET) as proxy:
        code, out, err = command('status', '-c', proxy.path)
        assert (code, err) == (0, '') and re.match(r'%d: geproxy [^\n]*\n\Z' % proxy.pid, out)
        assert 'geproxy_parent' not in scraped(proxy)


def test_a_tunnel_through_a_parent_is_shown_with_it():
    def tunnel(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        read_all(sock)
    with listening(tunnel) as parent:
        url = 'http://127.0.0.1:%d' % parent[1]
        with running(SOCKET + '[upstream]\nroutes = any %s\n' % url) as proxy, Client(proxy.address) as client:
            client.send(b'CONNECT origin.test:443 HTTP/1.1\r\nHost: x\r\n\r\n')
            read_until(client.socket, b'\r\n\r\n')
            assert ' CONNECT origin.test:443 through %s [' % url in command('ps', '-c', proxy.path)[1]


EVENT = {'event': 'ended', 'client.ip': '10.0.0.5', 'http.request.method': 'CONNECT', 'url.original': 'a.test:443',
         'http.response.status_code': 200, 'http.response.bytes': 5, 'event.duration': 1000000, 'destination.ip': '192.0.2.7'}


@pytest.mark.parametrize('route,opened,ended', [
    (None, 'open, to 192.0.2.7', '200 5 1ms'), ('direct', 'open, to 192.0.2.7', '200 5 1ms'),
    ('http://proxy-a.corp:3128', 'open, through http://proxy-a.corp:3128', '200 5 1ms through http://proxy-a.corp:3128')])
def test_an_event_shows_its_parent(route, opened, ended):
    event = dict(EVENT, route=route)
    assert live._line(dict(event, event='opened')) == '10.0.0.5 CONNECT a.test:443 ' + opened
    assert live._line(event) == '10.0.0.5 CONNECT a.test:443 ' + ended
