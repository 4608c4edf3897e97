"""ps, kill and tail, as commands, of real processes: one, and two in one view."""
from __future__ import absolute_import, division, print_function

import json
import re
import signal

from helpers import listening, read_all, read_until
from processes import (GEPROXY, Client, Process, answering, folder, get, own, process, running, wait_until)
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
