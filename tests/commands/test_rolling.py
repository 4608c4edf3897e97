"""reload and restart, as commands. (restart with a real supervisord: test_supervisord.)"""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import signal
import sys

import pytest
from helpers import ask, listening
from processes import Client, answering, folder, get, read, running, write
from test_admin_commands import command, two
from test_listener import question, with_admin

from geproxy.commands import rolling

PLAIN = '[admin]\nlisten = unix:FOLDER/{pid}.sock\n'


def pids_of(proxies):
    """As the command says them, in the order of the names of their sockets."""
    return ', '.join(sorted(str(proxy.pid) for proxy in proxies))


def change(proxy, old, new):
    """Change its ini file."""
    write(proxy.path, read(proxy.path).replace(old, new))


# --- reload ----------------------------------------------------------------------------------------------------------

def test_a_dry_run_shows_what_each_would_change_and_does_nothing():
    with two() as (proxies, where), listening(answering()) as origin:
        for proxy in proxies:
            change(proxy, b'http_ports = any', b'http_ports = 80')
        code, out, err = command('reload', '--dry-run', *where)
        assert (code, out, err) == (0, '%s: would change\n  [access] http_ports: any -> 80\n' % pids_of(proxies), '')
        for proxy in proxies:
            with Client(proxy.address) as client:
                assert client.ask(get(origin)).startswith(b'HTTP/1.1 200 ')
            assert b'reload' not in proxy.err


def test_a_reload_shows_what_has_changed_in_each():
    with two() as (proxies, where), listening(answering()) as origin:
        change(proxies[0], b'http_ports = any', b'http_ports = 80')
        code, out, err = command('reload', *where)
        assert (code, err) == (0, '')
        assert '%d: %s read\n  [access] http_ports: any -> 80\n' % (proxies[0].pid, proxies[0].path) in out
        assert '%d: %s read\n' % (proxies[1].pid, proxies[1].path) in out and out.count('\n') == 3
        with Client(proxies[0].address) as client:
            assert client.ask(get(origin)).startswith(b'HTTP/1.1 403 ')
        proxies[0].wait_for(br' reload: \[access\] http_ports: any -> 80\n')
        assert command('reload', '--dry-run', *where)[1].count(': no changes\n') == 1


def test_if_one_process_refuses_none_reloads():
    with two() as (proxies, where):
        change(proxies[0], b'http_ports = any', b'http_ports = 80')
        change(proxies[1], b'http_ports = any', b'http_ports = x')
        for more in ([], ['--dry-run']):
            code, out, err = command('reload', *(where + more))
            assert code == 1
            assert out == '%d: would change\n  [access] http_ports: any -> 80\n' % proxies[0].pid
            assert err.startswith('geproxy: %d: nothing changed, because of mistakes in the file:\n%s:' % (
                proxies[1].pid, proxies[1].path)) and '[access] http_ports' in err
        assert b'reload: ' not in proxies[0].err + proxies[1].err


def test_a_bad_file_is_reported_with_its_line():
    with running(PLAIN) as proxy:
        change(proxy, b'http_ports = any', b'http_port = any')
        code, out, err = command('reload', '-c', proxy.path)
        assert (code, out) == (1, '')
        assert re.match(r'geproxy: %d: nothing changed, because of mistakes in the file:\n%s:\d+: \[access\] http_port: ' %
                        (proxy.pid, re.escape(proxy.path)), err)
        change(proxy, b'unix:', b'unox:')
        code, out, err = command('reload', '-c', proxy.path)
        assert (code, out) == (1, '')
        assert re.match(r'geproxy: nothing changed, because of mistakes in the file:\n%s:\d+: \[admin\] listen: ' %
                        re.escape(proxy.path), err)


def test_without_an_admin_listener_reload_names_the_signal():
    with running() as proxy:
        code, out, err = command('reload', '-c', proxy.path)
        assert (code, out) == (1, '')
        assert 'has no admin listener to ask. Put this into it' in err and 'kill -HUP PID' in err


def test_a_process_that_has_ended_is_left_out_of_a_reload():
    with two() as (proxies, where):
        proxies[0].tell(signal.SIGKILL)
        proxies[0].popen.wait()
        code, out, err = command('reload', *where)
        assert (code, err) == (0, '') and out.startswith('%d: ' % proxies[1].pid)


def test_a_web_page_cannot_cause_a_reload():
    with with_admin() as (_address, proxy, place):
        for octets, status in (
                (question(b'/-/reload'), 405), (question(b'/-/reload?x', b'POST'), 400),
                (question(b'/-/reload', b'POST', b'Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n'), 403),
                (question(b'/-/reload', b'POST'), 409)):
            assert ask(place, octets).startswith(b'HTTP/1.1 %d ' % status)
        assert proxy.said == ['reload: nothing changed: this process was started without an ini file (-c)']


def test_a_process_that_is_stopping_does_not_reload():
    with with_admin() as (_address, proxy, place):
        proxy.server.draining = True
        found = json.loads(ask(place, question(b'/-/reload', b'POST')).partition(b'\r\n\r\n')[2].decode('ascii'))
        assert found['lines'] == ['nothing changed: this process is stopping'] and not found['good']
        assert proxy.said == []
        proxy.server.draining = False


# --- restart ---------------------------------------------------------------------------------------------------------

FAKE = """#!%s
import os, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
open(here + '/calls', 'a').write(' '.join(sys.argv[1:]) + '\\n')
said = open(here + '/' + sys.argv[1]).read().splitlines()
print(open(here + '/restarted').read() if sys.argv[1] == 'status' and os.path.exists(here + '/done') else '\\n'.join(said))
if sys.argv[1] == 'restart':
    open(here + '/done', 'w')
"""
STATUS = '''geproxy:geproxy_0                RUNNING   pid 11, uptime 1 day, 0:00:01
geproxy:geproxy_1                RUNNING   pid 12, uptime 0:00:01
other                            RUNNING   pid 13, uptime 0:00:01
'''


def restarted(here, ini='', *more, **said):
    """Run restart with a supervisorctl that says what it is told -> (exit code, output, errors, how it was called).
    `said`: by the word that it is asked, and `restarted`: its status from the first restart on."""
    path, program = os.path.join(here, 'proxy.ini'), os.path.join(here, 'supervisorctl')
    write(path, ini)
    write(program, FAKE % sys.executable)
    os.chmod(program, 0o755)
    for word, text in said.items():
        write(os.path.join(here, word), text)
    found = command('restart', '-c', path, '--supervisorctl', program, *more)
    return found + (read(os.path.join(here, 'calls')).decode('ascii').splitlines(),)


def test_after_one_that_does_not_come_up_none_is_touched():
    with folder() as here:
        code, out, err, calls = restarted(
            here, status=STATUS, restart='geproxy:geproxy_0: stopped\ngeproxy:geproxy_0: ERROR (spawn error)\n',
            restarted=STATUS.replace('RUNNING   pid 11, uptime 1 day, 0:00:01', 'FATAL     Exited too quickly'))
        assert (code, out) == (3, '')
        assert ('geproxy:geproxy_0 did not come up: geproxy:geproxy_0: ERROR (spawn error) '
                '(see: supervisorctl tail geproxy:geproxy_0)\nnot touched: geproxy:geproxy_1\n') in err
        assert calls == ['status', 'restart geproxy:geproxy_0', 'status']


def test_a_single_process_is_restarted_with_a_warning():
    with folder() as here:
        code, out, err, calls = restarted(
            here, status='geproxy    RUNNING   pid 11, uptime 0:00:09\n', restart='geproxy: started\n',
            restarted='geproxy    RUNNING   pid 21, uptime 0:00:05\n')
        assert code == 0 and re.match(r'geproxy: 11 -> 21, up after \d+ms\n\Z', out)
        assert 'there is only one process: ' in err and 'without [admin] listen, a process cannot be asked whether it is ready' in err
        assert calls == ['status', 'restart geproxy', 'status']


def test_if_the_old_process_is_still_there_the_restart_has_failed():
    with folder() as here:
        code, out, err, _calls = restarted(here, status=STATUS, restart='error: <class> refused\n', restarted=STATUS)
        assert (code, out) == (3, '') and 'geproxy:geproxy_0 did not come up: error: <class> refused (' in err


def test_after_one_that_runs_but_is_not_ready_none_is_touched():
    with folder() as here:
        code, out, err, calls = restarted(
            here, '[admin]\nlisten = unix:%s/{pid}.sock\n' % here, '--wait', '200ms', status=STATUS, restart='ok\n',
            restarted=STATUS.replace('pid 11', 'pid 21'))
        assert (code, out) == (3, '')
        assert 'geproxy:geproxy_0 did not come up: no geproxy answers: unix:%s/21.sock: no such file' % here in err
        assert calls == ['status', 'restart geproxy:geproxy_0', 'status']


@pytest.mark.parametrize('word,code', [('status', 1), ('restart', 3)])
def test_a_supervisorctl_that_does_not_end_is_killed(word, code, monkeypatch, capsys):
    monkeypatch.setattr(rolling, 'SILENCE', 0.0)
    with folder() as here:
        path, program = os.path.join(here, 'proxy.ini'), os.path.join(here, 'supervisorctl')
        write(path, '[timeouts]\ndrain = 300ms\n')
        write(os.path.join(here, 'status'), STATUS)
        write(program, '#!/bin/sh\ncase $1 in %s) echo $$ > %s/pid; exec sleep 60;; esac\ncat %s/status\n' % (
            word, here, here))
        os.chmod(program, 0o755)
        assert rolling.restart(['restart', '-c', path, '--supervisorctl', program]) == code
        assert 'no answer from supervisorctl %s' % word in capsys.readouterr()[1]
        with pytest.raises(OSError):
            os.kill(int(read(os.path.join(here, 'pid'))), 0)      # it is not left behind


def test_processes_that_are_down_come_first_and_stopped_ones_are_left_alone():
    with folder() as here:
        status = STATUS + 'geproxy:geproxy_2   FATAL   Exited too quickly\ngeproxy:geproxy_3   STOPPED   Not started\n'
        code, out, err, calls = restarted(here, status=status, restart='x', restarted=status)
        assert code == 3 and calls == ['status', 'restart geproxy:geproxy_2', 'status']
        assert 'geproxy:geproxy_3 is stopped and stays stopped' in err


@pytest.mark.parametrize('ini,status,what', [
    ('[access]\nclient = any\n', STATUS, 'proxy.ini:2: [access] client: unknown option'),
    ('', 'unix:///run/x.sock no such file\n', 'supervisord has no program geproxy. supervisorctl says:\nunix:///run/x.sock no such'),
    ('', 'geproxyx   RUNNING   pid 1, uptime 0:00:01\n', 'supervisord has no program geproxy. '),
    ('', 'geproxy    STOPPED   Not started\n', 'geproxy is stopped. To start it: supervisorctl start geproxy')])
def test_nothing_is_touched_if_a_check_before_fails(ini, status, what):
    with folder() as here:
        code, out, err, calls = restarted(here, ini, status=status)
        assert (code, out) == (1, '') and 'nothing was touched' in err and what in err
        assert [call for call in calls if call != 'status'] == []


@pytest.mark.parametrize('arguments,code,what', [
    ([], 2, 'restart needs -c FILE: it checks that file before it restarts anything'),
    (['-c', '/nowhere.ini'], 1, "nothing was touched: /nowhere.ini: No such file or directory"),
    (['-c', 'conf/proxy.ini', '--supervisorctl', '/nowhere'], 1, 'cannot run /nowhere: no such file or directory')])
def test_wrong_usage_of_restart_is_explained(arguments, code, what):
    found, out, err = command('restart', *arguments)
    assert (found, out) == (code, '') and what in err and 'Traceback' not in err
