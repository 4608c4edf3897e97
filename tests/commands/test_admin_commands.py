"""What all commands about running processes have in common. Drives real processes: one, or two in one view."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import signal

import pytest
from helpers import listening, read_all, read_until
from processes import (GEPROXY, Client, folder, own, process, read, run, running, unprivileged, wait_until, write)

from geproxy.admin import client
from geproxy.commands import admin_commands
from geproxy.compat import monotonic

ADMIN = '[admin]\nlisten = unix:%s/{pid}.sock\n'


@contextlib.contextmanager
def two():
    """Run two processes whose sockets are in one folder: ([the processes], the arguments for asking both)."""
    with folder() as here:
        with running(ADMIN % here) as one, running(ADMIN % here) as other:
            wait_until(lambda: len(os.listdir(here)) == 2, 'two sockets')
            yield [one, other], ['-c', one.path]


def command(*arguments, **options):
    """Run geproxy with these arguments. Return (exit code, output, errors)."""
    done = run(GEPROXY + list(arguments), **options)
    return done.popen.returncode, done.out.decode('ascii'), done.err.decode('ascii')


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


def test_the_port_for_clients_is_not_taken_for_an_admin_listener():
    with running() as proxy:
        began = monotonic()
        for name in ('ps', 'tail', 'top', 'reload'):
            code, out, err = command(name, '--admin', '127.0.0.1:%d' % proxy.address[1])
            assert (code, out) == (1, '')
            assert ': this is no admin listener (it answers 502): use the address in [admin] listen, not the port' in err
        assert monotonic() < began + 2 * client.WAIT.seconds


def test_a_stopped_process_is_reported_and_the_others_are_shown(monkeypatch):
    monkeypatch.setattr(client, 'WAIT', client.WAIT._replace(seconds=0.3))
    with two() as (proxies, where):
        proxies[0].tell(signal.SIGSTOP)
        stopped = 'unix:%s' % os.path.join(os.path.dirname(client.addresses([], where[1])[0][5:]), '%d.sock' % proxies[0].pid)
        answers, silent = client.ask(client.addresses([], where[1]), b'GET', b'/-/healthy')
        assert [lines for _place, _status, lines in answers] == [['healthy']]
        assert silent == [stopped + ': no answer within 0 s']
        proxies[0].tell(signal.SIGCONT)


def test_ps_works_although_the_ini_file_has_become_bad():
    with two() as (proxies, where):
        write(where[1], read(where[1]) + b'[limits]\nconnectoins = 3\n[nonsense]\n')
        code, out, err = command('ps', *where)
        assert (code, err) == (0, '') and out.endswith('\n0 connections in 2 processes\n')


def test_a_user_without_permission_is_told_which_user_to_be():
    with running('[admin]\nlisten = unix:FOLDER/sockets/{pid}.sock\n', make='sockets') as proxy:
        proxy.wait_for(br'admin: ')
        here = os.path.join(proxy.folder, 'sockets')
        for path in (os.path.join(here, '%d.sock' % proxy.pid), here):
            os.chmod(path, 0)
            code, out, err = command('ps', '--admin', 'unix:%s/{pid}.sock' % here, preexec_fn=unprivileged)
            assert (code, out) == (1, '') and path + ': permission denied; be root, or the user that runs' in err


def test_without_an_admin_listener_the_message_shows_the_lines_to_add():
    with running() as proxy:
        for name in ('ps', 'tail', 'top'):
            code, out, err = command(name, '-c', proxy.path)
            assert (code, out) == (1, '')
            assert 'proxy.ini has no admin listener to ask. Put this into it' in err
            assert '\n[admin]\nlisten = unix:/run/geproxy/{pid}.sock\n' in err


@pytest.mark.parametrize('arguments,code,what', [
    (['ps'], 2, 'no admin address: give -c FILE, an ini file with [admin] listen, or --admin'),
    (['ps', '-c', '/nowhere.ini'], 2, '/nowhere.ini: No such file or directory'),
    (['ps', '--admin', 'x'], 2, "invalid admin address 'x'"),
    (['ps', '--admin', '127.0.0.1:1'], 1, 'no geproxy answers: 127.0.0.1:1: connection refused'),
    (['tail', '--admin', 'unix:/nowhere/*.sock'], 1, 'no geproxy answers: there is no socket at the address of [admin] listen'),
    (['tail', 'hots:a', '--admin', '127.0.0.1:1'], 2, 'did you mean host?')])
def test_wrong_usage_is_explained(arguments, code, what):
    found, out, err = command(*arguments)
    assert (found, out) == (code, '') and what in err and 'Traceback' not in err


@pytest.mark.parametrize('value,text', [
    (None, '-'), (u'a\x1b[31m\n\u20ac', 'a?[31m?\\xe2\\x82\\xac'), ('plain', 'plain'), (3, '3')])
def test_text_from_elsewhere_cannot_steer_the_terminal(value, text):
    assert admin_commands.plain(value) == text
