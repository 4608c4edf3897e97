"""From root to another user: for real where root runs the tests; and the messages where it is impossible."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import pwd
import re
import signal
import socket

import pytest
from helpers import listening
from processes import GEPROXY, Client, answering, folder, own, process, read, run, running, wait_until, write

from geproxy.service import privileges
from geproxy.service.startup import BAD_FILE

USER = 'nobody'
INI = '''
[proxy]
listen = 127.0.0.1:%d
user = %s
group = %s
[access]
http_ports = any
[log]
access = %s/logs/access.log
'''
IMPORT = 'import os, sys; os.setuid(%d); import gevent.core, geproxy.settings.loading'
START = IMPORT + '; os.execv(sys.executable, [sys.executable, "-c", ""])'
as_root = pytest.mark.skipif(os.getuid() != 0, reason='only root can switch to another user')


def become():
    """For preexec_fn: become USER for good."""
    privileges.drop(USER, '', ())


def can(python, what):
    """Return True if that works for USER, in a Python that root has started."""
    return run(python + ['-c', what % pwd.getpwnam(USER).pw_uid]).popen.returncode == 0


def readable():
    """Return a command that runs geproxy with a Python that USER can read: this one, or that of the distribution."""
    for python in (GEPROXY[:-2], ['/usr/bin/python3']):
        if os.path.exists(python[0]):
            if can(python, START):
                return python + ['-m', 'geproxy']
    pytest.skip('no Python here whose gevent and geproxy %s can read' % USER)


def low_port():
    """Return a free port below 1024."""
    for port in range(1023, 600, -1):
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(('127.0.0.1', port))
            return port
        except socket.error:
            pass
        finally:
            sock.close()
    raise AssertionError('all ports are taken')


@contextlib.contextmanager
def dropped(command, user=USER, group='', logs=True, ini=INI, fill=lambda here: None):
    """Give a geproxy that root has started with `user` and `group`, a Process. `logs`: true: the user can write logs.
    `fill`: called with the folder of the ini file before the start."""
    with folder() as here:
        os.chmod(here, 0o755)
        os.mkdir(os.path.join(here, 'logs'), 0o755)
        if logs:
            os.chown(os.path.join(here, 'logs'), pwd.getpwnam(USER).pw_uid, -1)
        path, port = os.path.join(here, 'proxy.ini'), low_port()
        fill(here)
        write(path, ini % (port, user, group, here))
        with process(command + ['-c', path]) as started:
            started.folder, started.path, started.address = here, path, ('127.0.0.1', port)
            yield started


def ids(pid, name):
    """Return the four numbers of Uid or Gid of a process, or all of Groups."""
    return [int(word) for word in re.search(r'(?m)^%s:(.*)$' % name, read('/proc/%d/status' % pid).decode('ascii')).group(1).split()]


# --- for real --------------------------------------------------------------------------------------------------------

@as_root
def test_root_opens_a_low_port_and_becomes_the_user_for_good():
    entry = pwd.getpwnam(USER)
    with dropped(readable()) as proxy:
        proxy.wait_for(br' listening on 127\.0\.0\.1:%d ' % proxy.address[1])
        assert ids(proxy.pid, 'Uid') == [entry.pw_uid] * 4
        assert ids(proxy.pid, 'Gid') == [entry.pw_gid] * 4
        assert 0 not in ids(proxy.pid, 'Groups')
        assert re.search(br'(?m)^CapEff:\t0+$', read('/proc/%d/status' % proxy.pid))
        with listening(answering()) as (_host, port), Client(proxy.address) as client:
            # By a name, because the modules that look names up are imported only now.
            assert client.ask(b'GET http://localhost:%d/ HTTP/1.1\r\nHost: x\r\n\r\n' % port).endswith(b'fine')


@as_root
def test_that_user_can_reopen_the_logs_and_reload_the_file():
    with dropped(readable()) as proxy:
        proxy.wait_for(br' listening on ')
        path = os.path.join(proxy.folder, 'logs', 'access.log')
        assert os.stat(path).st_uid == pwd.getpwnam(USER).pw_uid
        os.rename(path, path + '.1')
        proxy.tell(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(path), 'the log to be opened anew')
        with Client(proxy.address) as client:
            client.ask(own())
        wait_until(lambda: b'OPTIONS' in read(path), 'a line in it')
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br' SIGHUP: \S+ read\n')


@as_root
def test_the_group_can_be_another_than_that_of_the_user():
    with dropped(readable(), group='daemon') as proxy:
        proxy.wait_for(br' listening on ')
        gid = pwd.getpwnam('daemon').pw_gid
        assert ids(proxy.pid, 'Gid') == [gid] * 4 and gid in ids(proxy.pid, 'Groups')


@as_root
def test_files_that_the_user_cannot_read_are_reported_at_the_start():
    command = readable()
    with dropped(command, ini=INI) as first:
        first.wait_for(br' listening on ')
        os.chmod(first.path, 0o600)
        first.tell(signal.SIGTERM)
        first.wait()
        write(first.path, read(first.path).decode('ascii') + '[upstream]\nparents = parents\n')
        write(os.path.join(first.folder, 'parents'), '')
        os.chmod(os.path.join(first.folder, 'parents'), 0o600)
        with process(command + ['-c', first.path]) as second:
            for name in (b'proxy\\.ini', b'parents'):
                second.wait_for(b'/%s: user nobody cannot read it, so a reload will fail; until the next start the settings hold\n' % name)
            second.wait_for(br' listening on ')


@as_root
def test_on_this_python_too_there_is_no_way_back():
    asked = run(GEPROXY[:-2] + ['-c', 'import os; from geproxy.service import privileges; privileges.drop("nobody", "daemon", ["/"]); '
                                'print(sorted(set(os.getresuid())), os.getgroups()); os.setuid(0)'])
    entry, gid = pwd.getpwnam(USER), pwd.getpwnam('daemon').pw_gid
    assert re.sub(br'[^0-9]+', b' ', asked.out).split() == [b'%d' % entry.pw_uid, b'%d' % gid]
    assert asked.popen.returncode == 1 and b'not permitted' in asked.err


# --- what cannot be --------------------------------------------------------------------------------------------------

def refused(command, code=BAD_FILE, **options):
    """Return the one line that geproxy writes when it does not start."""
    with dropped(command, **options) as proxy:
        assert proxy.wait() == code
        assert proxy.err.count(b'\n') == 1 and proxy.out == b''
        return proxy.err.decode('ascii')


@as_root
def test_a_log_that_the_user_cannot_write_ends_it_at_the_start():
    said = refused(readable(), 1, logs=False)
    assert re.match(r"geproxy: cannot open the log '\S+/access\.log': Permission denied: geproxy must be able to write there; .*\n\Z", said)


@as_root
@pytest.mark.parametrize('user,group,said', [
    ('no-such-user', '', "[proxy] user: there is no user 'no-such-user'; make it: useradd --system no-such-user\n"),
    ('nobody', 'no-such-group', "[proxy] group: there is no group 'no-such-group'; make it: groupadd --system no-such-group\n"),
    ('root', '', "[proxy] user: 'root' is root itself; name a user with fewer rights\n"),
    ('', 'daemon', '[proxy] group needs [proxy] user\n'),
])
def test_a_user_that_it_cannot_switch_to_is_reported_in_one_line(user, group, said):
    assert refused(GEPROXY, user=user, group=group) == 'geproxy: ' + said


@as_root
def test_a_python_that_the_user_cannot_read_is_reported():
    if can(GEPROXY[:-2], IMPORT):
        pytest.skip('%s can read this one' % USER)
    assert re.match(r'geproxy: \[proxy\] user = nobody: this user cannot read /\S+, and must: chmod it, or ', refused(GEPROXY))


@as_root
def test_only_root_can_switch_to_another_user():
    command = readable()
    with folder() as here:
        os.chmod(here, 0o755)
        path = os.path.join(here, 'proxy.ini')
        write(path, '[proxy]\nlisten = 127.0.0.1:0\nuser = daemon\n')
        asked = run(command + ['-c', path], preexec_fn=become)
        assert asked.popen.returncode == BAD_FILE
        assert asked.err == (b'geproxy: [proxy] user = daemon: only root can switch to another user, and geproxy was started by '
                             b'nobody; leave user empty, or start geproxy as root\n')


@as_root
def test_a_process_of_that_user_already_starts():
    command = readable()
    with folder() as here:
        os.chmod(here, 0o755)
        path = os.path.join(here, 'proxy.ini')
        write(path, '[proxy]\nlisten = 127.0.0.1:0\nuser = nobody\n')
        with process(command + ['-c', path], preexec_fn=become) as started:
            started.wait_for(br' listening on ')


def test_without_a_user_nothing_changes():
    before = os.getresuid(), os.getresgid(), os.getgroups()
    privileges.drop('', '', ['/no/such/folder'])
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


def test_a_change_of_the_user_needs_a_restart():
    with running() as proxy:
        write(proxy.path, '[proxy]\nlisten = 127.0.0.1:0\nuser = nobody\n')
        proxy.tell(signal.SIGHUP)
        proxy.wait_for(br'SIGHUP: \[proxy\] user: nothing -> nobody \(needs a restart\)\n')
