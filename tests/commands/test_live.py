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
from processes import (CHECKOUT, GEPROXY, Client, Process, answering, folder, get, own, process, read, run, running,
                       unprivileged, wait_until, write)

from geproxy.admin import client
from geproxy.commands import live
from geproxy.compat import monotonic

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
        proxies[1].wait_for(br' killed: ended by the operator of the proxy \[', 'out')
        assert command('kill', name, '1-1', *where) == (
            1, '%s: no connection has that id\n1-1: no connection has that id\n' % name, '')
        assert command('kill', 'a b', *where)[0] == 2


def test_exchanges_of_all_processes_are_shown_as_they_end_and_filtered():
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


def test_a_tail_waits_for_the_process_that_is_started_anew():
    with folder() as here, listening(answering()) as origin:
        with running(ADMIN % here) as one:
            shown = Process(GEPROXY + ['tail', '-c', one.path], more_env={'PYTHONUNBUFFERED': '1'})
            with Client(one.address) as client:
                wait_until(lambda: client.ask(own()) and shown.out, 'the tail')
            one.tell(signal.SIGTERM)
            shown.wait_for(b'the last process has ended; waiting for the next one\n')
        try:
            with running(ADMIN % here) as other, Client(other.address) as client:
                shown.wait_for(b'a process is there again\n')
                client.ask(get(origin, b'/anew', b'X-Long: %s\r\n' % (b'x' * 5000)))
                shown.wait_for(br'/anew 200 \d+ \d+ms \(\d\.\d+K up\)\n', 'out')
        finally:
            shown.end()


def test_a_process_at_two_addresses_is_one():
    with running('[admin]\nlisten = 127.0.0.1:0 unix:FOLDER/{pid}.sock\n') as proxy, listening(read_all) as origin:
        port = proxy.wait_for(br'admin: \S+ 127\.0\.0\.1:(\d+)').group(1).decode('ascii')
        places = ['--admin', '127.0.0.1:' + port, '--admin', 'unix:' + proxy.folder]
        with Client(proxy.address) as tunnel:
            tunnel.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % origin[1])
            read_until(tunnel.socket, b'\r\n\r\n')
            assert command('ps', *places)[1].endswith('\n1 connection in 1 process, 1 tunnel\n')
            assert command('reload', *places)[1] == '%d: %s read\n' % (proxy.pid, proxy.path)
            proxy.wait_for(b' read\n')
            with process(GEPROXY + ['tail'] + places, more_env={'PYTHONUNBUFFERED': '1'}) as shown:
                with Client(proxy.address) as client:
                    wait_until(lambda: client.ask(own()) and shown.out, 'the tail')
                    client.ask(own(b'http://once.test/'))
                    client.ask(own(b'http://last.test/'))
                    shown.wait_for(b'last', 'out')
                assert shown.out.count(b'once') == proxy.err.count(b' read\n') == 1
            assert command('kill', '%d-1' % proxy.pid, *places)[:2] == (0, '%d-1: killed\n' % proxy.pid)


def test_the_port_that_clients_use_is_told_from_an_admin_listener():
    with running() as proxy:
        began = monotonic()
        for name in ('ps', 'tail', 'top', 'reload'):
            code, out, err = command(name, '--admin', '127.0.0.1:%d' % proxy.address[1])
            assert (code, out) == (1, '')
            assert ': this is no admin listener (it answers 502): use the address in [admin] listen, not the port' in err
        assert monotonic() < began + 2 * client.WAIT.seconds


def test_whoever_reads_a_tail_may_have_seen_enough():
    with two() as (proxies, where), listening(answering()) as origin, Client(proxies[0].address) as asking:
        with process(['sh', '-c', 'exec 3>&2; { "$@" 2>&3; echo "code $?" >&3; } | head -n 1', 'sh'] + GEPROXY +
                     ['tail'] + where) as shown:
            wait_until(lambda: asking.ask(get(origin, b'/a')) and b'code' in shown.err, 'the pipe to break')
            shown.wait()
            assert shown.err == b'code 1\n' and shown.out.count(b'\n') == 1


def on_a_terminal(columns, arguments, *steps):
    """Run geproxy on a terminal that wide -> (exit code, what it showed). Each of `steps` is (octets to wait for behind
    those of the step before, what to type then: octets, or a function that is called)."""
    shown, seen, steps = b'', 0, list(steps)
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
                if steps and steps[0][0] in shown[seen:]:
                    seen, then = len(shown), steps.pop(0)[1]
                    if callable(then):
                        then()
                    else:
                        os.write(terminal, then)
        return os.waitpid(pid, 0)[1], shown
    finally:
        os.close(terminal)


@pytest.mark.parametrize('name,until', [('tail', b'\x1b[2m'), ('top', b'127.0.0.1')])
def test_control_c_ends_it_in_silence(name, until):
    with two() as (proxies, where), Client(proxies[0].address) as client:
        asking = gevent.spawn(lambda: [client.ask(own()) and gevent.sleep(0.05) for _ in range(1000)])
        often = ['--for', '200ms'] if name == 'top' else []
        code, shown = on_a_terminal(80, [name] + often + where, (until, b'\x03'))
        asking.kill()
        assert code & 127 == signal.SIGINT
        if name == 'tail':
            assert shown.rpartition(b'^C')[2].strip() == b''
        else:
            assert shown.endswith(b'127.0.0.1\r\n')        # the last view, and nothing behind it
        assert b'Traceback' not in shown and b'KeyboardInterrupt' not in shown


def test_top_ends_with_its_terminal():
    with two() as (_proxies, where):
        pid, terminal = pty.fork()
        if not pid:
            try:
                os.chdir(CHECKOUT)
                os.execv(GEPROXY[0], GEPROXY + ['top'] + where)
            finally:
                os._exit(99)
        shown = b''
        with gevent.Timeout(PATIENCE, AssertionError('no view')):
            while b'REQUESTS' not in shown:
                gevent.socket.wait_read(terminal)
                shown += os.read(terminal, 65536)
        os.close(terminal)
        with gevent.Timeout(PATIENCE, AssertionError('no end')):
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                gevent.sleep(0.02)


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
    monkeypatch.setattr(client, 'WAIT', client.WAIT._replace(seconds=0.3))
    with two() as (proxies, where):
        proxies[0].tell(signal.SIGSTOP)
        stopped = 'unix:%s' % os.path.join(os.path.dirname(client.addresses([], where[1])[0][5:]), '%d.sock' % proxies[0].pid)
        answers, silent = client.ask(client.addresses([], where[1]), b'GET', b'/-/healthy')
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
            assert lines[0].split() == ['NOW', 'REQUESTS', 'OCTETS', 'PER', 'SEC', 'HOST']
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
    (['ps'], 2, 'no admin address: give -c FILE, an ini file with [admin] listen, or --admin'),
    (['ps', '-c', '/nowhere.ini'], 2, '/nowhere.ini: No such file or directory'),
    (['ps', '--admin', 'x'], 2, "invalid admin address 'x': expected 127.0.0.1:9001"),
    (['ps', '--admin', '127.0.0.1:1'], 1, 'no geproxy answers: 127.0.0.1:1: connection refused'),
    (['tail', '--admin', 'unix:/nowhere/*.sock'], 1, 'no geproxy answers: there is no socket at'),
    (['tail', 'hots:a', '--admin', '127.0.0.1:1'], 2, 'did you mean host?')])
def test_what_is_wrong_is_told(arguments, code, what):
    found, out, err = command(*arguments)
    assert (found, out) == (code, '') and what in err and 'Traceback' not in err


@pytest.mark.parametrize('value,text', [
    (None, '-'), (u'a\x1b[31m\n\u20ac', 'a?[31m?\\xe2\\x82\\xac'), ('plain', 'plain'), (3, '3')])
def test_nothing_steers_the_terminal(value, text):
    assert live.plain(value) == text


def test_q_ends_top_and_leaves_the_terminal_as_it_was():
    with running('[admin]\nlisten = unix:FOLDER/{pid}.sock\n') as proxy:
        code, shown = on_a_terminal(60, ['top', '--for', '200ms', '-c', proxy.path], (b'q ends it', b'q'))
    assert code == 0
    title = shown.rpartition(b'\x1b[2J')[2].split(b'\r\n')[0]
    assert re.match(br'geproxy top \(q ends it\), \d\d:\d\d:\d\d: 1 process, 0 connect', title) and len(title) <= 60


def test_top_waits_for_the_process_that_is_started_anew():
    with folder() as here:
        with running(ADMIN % here) as one:
            other = running(ADMIN % here)
            try:
                code, _shown = on_a_terminal(
                    80, ['top', '--for', '200ms', '-c', one.path], (b': 1 process, ', lambda: one.tell(signal.SIGTERM)),
                    (b': no process answers, waiting for the next; ', other.__enter__), (b': 1 process, ', b'q'))
            finally:
                other.__exit__(None, None, None)
        assert code == 0


def test_q_ends_top_while_there_is_no_process():
    with running('[admin]\nlisten = unix:FOLDER/{pid}.sock\n') as proxy:
        code, _shown = on_a_terminal(
            80, ['top', '--for', '200ms', '-c', proxy.path], (b': 1 process, ', lambda: proxy.tell(signal.SIGTERM)),
            (b': no process answers', b'q'))
    assert code == 0


def tallied(tally):
    """What a Tally shows, without octets per second."""
    return [line.split()[:3] + line.split()[4:] for line in tally.view()[1:]]


def row(name, octets, user='joe'):
    """A connection with that exchange, or without one."""
    return {'request': name, 'user': user, 'client': '10.0.0.1', 'url': None, 'received': octets, 'sent': 0}


def ending(name, octets, user='joe', seconds=0):
    """The event of an exchange's end."""
    return {'id': name, 'user.name': user, 'http.request.bytes': octets, 'http.response.bytes': 0,
            'event.duration': seconds * 1e9}


def test_a_tally_counts_what_goes_through_from_now_on():
    tally = live.Tally('user')
    tally.under_way([row('old', 10 ** 6), row(None, 0, None)], first=True)
    assert tallied(tally) == [['1', '0', '0', 'joe']]
    tally.under_way([row('old', 10 ** 6 + 100), row('new', 30)])
    assert tallied(tally) == [['2', '0', '130', 'joe']]
    tally.ended(ending('new', 50))                          # 20 more since it was seen
    tally.ended(ending('quick', 7))                         # never seen under way
    tally.ended(ending('before', 10 ** 6, seconds=60))      # began before, and how much was before is not known
    tally.under_way([row('old', 10 ** 6 + 100)])
    assert tallied(tally) == [['1', '3', '157', 'joe']]
    tally.ended(ending('old', 10 ** 6 + 101, seconds=60))
    tally.under_way([])
    assert tallied(tally) == [['0', '4', '158', 'joe']]


def test_a_tally_forgets_exchanges_whose_end_it_was_not_told_of():
    tally = live.Tally('client')
    for number in range(5):
        tally.under_way([row('%d' % number, 10), row(None, 0)])
    assert len(tally._seen) == 2 and tallied(tally) == [['2', '0', '50', '10.0.0.1']]


def test_who_uses_the_most_just_now_is_first():
    tally = live.Tally('user')
    tally.ended(ending('a', 1000, 'early'))
    tally.view()
    tally.ended(ending('b', 10, 'now'))
    assert [line[-1] for line in tallied(tally)] == ['now', 'early']
