"""ps, kill, tail and top, as commands, of real processes: one, and two in one view."""
from __future__ import absolute_import, division, print_function

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import termios

import gevent
import gevent.socket
import pytest
from helpers import PATIENCE, listening, read_all, read_until
from processes import CHECKOUT, GEPROXY, Client, answering, folder, get, own, process, read, run, running, unprivileged, wait_until, write

from geproxy import adminclient, watch

ADMIN = '[admin]\nlisten = unix:%s/{pid}.sock\n'


@contextlib.contextmanager
def two():
    """Two processes under one ini file's [admin]: [the processes], the arguments that lead to both."""
    with folder() as here:
        with running(ADMIN % here) as one, running(ADMIN % here) as other:
            wait_until(lambda: len(os.listdir(here)) == 2, 'two sockets')
            yield [one, other], ['-c', one.path]


def command(*arguments, **options):
    """Run geproxy with these -> (exit code, output, errors)."""
    done = run(GEPROXY + list(arguments), **options)
    return done.popen.returncode, done.out.decode('ascii'), done.err.decode('ascii')


def test_connections_of_all_processes_are_shown():
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


def test_a_connection_of_any_process_is_killed():
    with two() as (proxies, where), listening(read_all) as origin, Client(proxies[1].address) as client:
        client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
        read_until(client.socket, b'\r\n\r\n')
        name = '%d-1' % proxies[1].pid
        assert command('kill', name, *where) == (0, name + ': killed\n', '')
        assert client.rest() == b''
        proxies[1].wait_for(br' killed: ended by whoever runs the proxy \[', 'out')
        assert command('kill', name, '1-1', *where) == (
            1, '%s: no connection has that id\n1-1: no connection has that id\n' % name, '')
        assert command('kill', 'a b', *where)[0] == 2


def test_exchanges_of_all_processes_are_shown_as_they_end_and_filtered():
    with two() as (proxies, where), listening(answering()) as origin:
        with process(GEPROXY + ['tail', 'status:200', '/shown'] + where, more_env={'PYTHONUNBUFFERED': '1'}) as shown:
            with Client(proxies[0].address) as one, Client(proxies[1].address) as other:
                # Until it watches both; nobody tells when.
                for proxy, client in zip(proxies, (one, other)):
                    path = b'/shown/first/%d' % proxy.pid
                    wait_until(lambda: client.ask(get(origin, path)) and path in shown.out, 'the tail')
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
            for proxy in proxies:
                proxy.tell(signal.SIGTERM)
            assert shown.wait() == 1
            assert shown.err == b'geproxy: the last process has ended\n'


def test_whoever_reads_a_tail_may_have_seen_enough():
    with two() as (proxies, where), listening(answering()) as origin, Client(proxies[0].address) as client:
        with process(['sh', '-c', 'exec 3>&2; { "$@" 2>&3; echo "code $?" >&3; } | head -n 1', 'sh'] + GEPROXY +
                     ['tail'] + where) as shown:
            wait_until(lambda: client.ask(get(origin, b'/a')) and b'code' in shown.err, 'the pipe to break')
            shown.wait()
            assert shown.err == b'code 1\n' and shown.out.count(b'\n') == 1


def on_a_terminal(columns, arguments, until=None, send=b''):
    """Run geproxy on a terminal that wide; once `until` is there, type `send` -> (exit code, what it showed)."""
    shown = b''
    pid, terminal = pty.fork()
    if not pid:
        try:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 25, columns, 0, 0))
            os.chdir(CHECKOUT)
            os.environ.pop('NO_COLOR', None)
            os.execv(GEPROXY[0], GEPROXY + arguments)
        finally:
            os._exit(99)
    try:
        with gevent.Timeout(PATIENCE, AssertionError('no end')):
            while True:
                gevent.socket.wait_read(terminal)
                try:
                    data = os.read(terminal, 65536)
                except OSError:         # so Linux says that there is nobody any more
                    data = b''
                shown += data
                if not data:
                    break
                if until and until in shown:
                    os.write(terminal, send)
                    until = None
        return os.waitpid(pid, 0)[1], shown
    finally:
        os.close(terminal)


@pytest.mark.parametrize('name,until', [('tail', b'\x1b[2m'), ('top', b'REQUESTS')])
def test_control_c_ends_it_in_silence(name, until):
    with two() as (proxies, where), Client(proxies[0].address) as client:
        asking = gevent.spawn(lambda: [client.ask(own()) and gevent.sleep(0.05) for _ in range(1000)])
        code, shown = on_a_terminal(80, [name] + (['--for', '200ms'] if name == 'top' else []) + where, until, b'\x03')
        asking.kill()
        assert (code & 127, shown.rpartition(b'^C')[2].strip()) == (signal.SIGINT, b'')
        assert b'Traceback' not in shown and b'KeyboardInterrupt' not in shown


def test_rows_fit_on_the_terminal_and_are_whole_in_a_pipe():
    with two() as (proxies, where), listening(read_all) as origin, Client(proxies[0].address) as client:
        client.send(get(origin, b'/' + b'x' * 300))
        wait_until(lambda: 'waiting' in command('ps', *where)[1], 'the request')
        code, shown = on_a_terminal(70, ['ps'] + where)
        lines = shown.decode('ascii').splitlines()
        assert code == 0 and max(map(len, lines)) == 70
        assert [line[-3:] for line in lines if ' waiting ' in line] == ['...']
        assert 'x' * 300 + ' to 127.0.0.1 [' in command('ps', *where)[1]


def test_a_process_that_stands_still_is_told_and_the_others_are_shown(monkeypatch):
    monkeypatch.setattr(adminclient, 'WAIT', adminclient.WAIT._replace(seconds=0.3))
    with two() as (proxies, where):
        proxies[0].tell(signal.SIGSTOP)
        stopped = 'unix:%s' % os.path.join(os.path.dirname(adminclient.places([], where[1])[0][5:]), '%d.sock' % proxies[0].pid)
        answers, silent = adminclient.ask(adminclient.places([], where[1]), b'GET', b'/-/healthy')
        assert [lines for _place, _status, lines in answers] == [['healthy']]
        assert silent == [stopped + ': no answer within 0 s']
        proxies[0].tell(signal.SIGCONT)


def test_a_file_that_is_bad_by_now_keeps_nobody_from_looking():
    with two() as (proxies, where):
        write(where[1], read(where[1]) + b'[limits]\nconnectoins = 3\n[nonsense]\n')
        code, out, err = command('ps', *where)
        assert (code, err) == (0, '') and out.endswith('\n0 connections in 2 processes\n')


def test_who_may_not_ask_or_look_for_whom_is_told_as_whom_to():
    with running('[admin]\nlisten = unix:FOLDER/sockets/{pid}.sock\n', make='sockets') as proxy:
        proxy.wait_for(br'admin: ')
        here = os.path.join(proxy.folder, 'sockets')
        for path in (os.path.join(here, '%d.sock' % proxy.pid), here):
            os.chmod(path, 0)
            code, out, err = command('ps', '--admin', 'unix:%s/{pid}.sock' % here, preexec_fn=unprivileged)
            assert (code, out) == (1, '') and path + ': permission denied; be root, or the user that runs' in err


def test_who_uses_the_most_is_first():
    with two() as (proxies, where), listening(answering(b'x' * 20000)) as origin:
        with process(GEPROXY + ['top', '--once', '--by', 'host', '--for', '2s'] + where) as shown:
            with Client(proxies[0].address) as one, Client(proxies[1].address) as other:
                while shown.popen.poll() is None:
                    one.ask(get(origin))
                    other.ask(own(b'http://small.test/'))
            assert shown.wait() == 0 and shown.err == b''
            lines = shown.out.decode('ascii').splitlines()
            assert lines[0].split() == ['NOW', 'REQUESTS', 'OCTETS', 'HOST']
            assert [line.split()[-1] for line in lines[1:]] == ['127.0.0.1', 'small.test']
            assert int(lines[1].split()[1]) > 0


def test_without_an_admin_listener_it_is_told_what_to_put_where():
    with running() as proxy:
        for name in ('ps', 'tail', 'top'):
            code, out, err = command(name, '-c', proxy.path)
            assert (code, out) == (1, '')
            assert 'proxy.ini has no admin listener to ask. Put this into it' in err
            assert '\n[admin]\nlisten = unix:/run/geproxy/{pid}.sock\n' in err


@pytest.mark.parametrize('arguments,code,what', [
    (['ps'], 2, 'it takes -c FILE, whose [admin] listen says where to ask, or --admin'),
    (['ps', '-c', '/nowhere.ini'], 2, '/nowhere.ini: No such file or directory'),
    (['ps', '--admin', 'x'], 2, "'x' is no place to ask"),
    (['ps', '--admin', '127.0.0.1:1'], 1, 'no geproxy answers: 127.0.0.1:1: connection refused'),
    (['tail', '--admin', 'unix:/nowhere/*.sock'], 1, 'no geproxy answers: there are no sockets'),
    (['tail', 'hots:a', '--admin', '127.0.0.1:1'], 2, 'did you mean host?')])
def test_what_is_wrong_is_told(arguments, code, what):
    found, out, err = command(*arguments)
    assert (found, out) == (code, '') and what in err and 'Traceback' not in err


@pytest.mark.parametrize('value,text', [
    (None, '-'), (u'a\x1b[31m\n\u20ac', 'a?[31m?\\xe2\\x82\\xac'), ('plain', 'plain'), (3, '3')])
def test_nothing_steers_the_terminal(value, text):
    assert watch.plain(value) == text


def test_a_tally_of_users():
    tally = watch.Tally('user')
    event = {'user.name': 'joe', 'http.request.bytes': 100, 'http.response.bytes': 2000}
    tally.ended(event)
    tally.ended(event)
    tally.ended({})
    rows = [{'request': 'x', 'user': 'jane', 'url': None, 'received': 1, 'sent': 2},
            {'request': None, 'user': None, 'url': None, 'received': 0, 'sent': 0}]
    assert [line.split() for line in tally.view(rows)[1:]] == [
        ['0', '2', '4.1K', 'joe'], ['1', '0', '3', 'jane'], ['0', '1', '0', '-']]
