"""``geproxy doctor``: each test makes a real trouble, and reads what is said about it."""
from __future__ import absolute_import, division, print_function

import os
import resource
import socket

import pytest
from encrypted import pem
from processes import CHECKOUT, GEPROXY, folder, process, read, run, unprivileged, write

from geproxy.commands import doctor
from geproxy.net import unix_sockets
from geproxy.settings import loading, option_types


def settings(*lines):
    """Return the Settings of an ini file with these lines."""
    return loading.load('test.ini', lines)


def severities(found):
    """Return the severities of Findings."""
    return [finding.severity for finding in found]


def test_a_host_without_trouble_gets_ok(tmpdir, capsys):
    path = tmpdir.join('debug.ini')     # with another port: that one may be in use
    path.write_binary(read(os.path.join(CHECKOUT, 'conf', 'debug.ini')).replace(b'127.0.0.1:9000', b'127.0.0.1:0'))
    code = doctor.main(['doctor', '-c', str(path), '--supervisord', os.path.join(CHECKOUT, 'conf', 'supervisord.conf')])
    said = capsys.readouterr()[0]
    assert code in (0, 1) and 'ok      python: Python ' in said and 'ok      supervisord: program:geproxy\n' in said
    assert 'ok      names: localhost is ' in said


def test_a_bad_ini_file_is_reported_with_its_line(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'[limits]\nfields = x\n')
    assert doctor.main(['doctor', '-c', str(path)]) == 2
    assert ":2: [limits] fields: invalid number 'x': expected a whole number" in capsys.readouterr()[1]


def test_the_process_that_has_the_port_is_named():
    holder = socket.socket()
    try:
        holder.bind(('127.0.0.1', 0))
        holder.listen(1)
        found, = doctor.listening(option_types.Listener('127.0.0.1', holder.getsockname()[1], None))
        assert found.severity in (doctor.NOTE, doctor.ERROR) and 'the port is in use by process %d' % os.getpid() in found.what
        assert 'stop that' not in found.what            # it may be the right process
    finally:
        holder.close()


@pytest.mark.parametrize('fd,said', [(3, 'fd:3'), (option_types.SYSTEMD, 'systemd')])
def test_an_inherited_socket_is_not_checked(fd, said):
    found, = doctor.listening(option_types.Listener('', 0, fd))
    assert (found.severity, found.what) == (doctor.OK, said + ' is inherited at the start, and was not checked')


def test_syslog_is_not_checked_as_a_file():
    told = doctor.examine(settings('[log]', 'access = syslog', 'errors = syslog:local3'))
    assert 'log' not in [title for title, _found in told]


def test_a_low_limit_of_descriptors_is_a_warning():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    found, = doctor.descriptors(settings('[limits]', 'connections = %d' % (hard if hard > 0 else 10 ** 8)))
    assert found.severity == (doctor.WARNING if hard > 0 else doctor.OK)

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    ended = run(GEPROXY + ['doctor'], preexec_fn=limit)
    assert ended.wait() in (1, 2) and b'WARNING descriptors: 100, can be raised to 100, too few for 512 connections\n' in ended.out


@pytest.mark.parametrize('lines, severity', [
    (['[proxy]', 'listen = 127.0.0.1:9000', '[access]', 'clients = loopback'], doctor.OK),
    (['[proxy]', 'listen = 127.0.0.1:9000'], doctor.WARNING),           # private clients may use it, and cannot reach it
    ([], doctor.OK),
    (['[access]', 'clients = any'], doctor.WARNING),
    (['[access]', 'clients = 8.0.0.0/8'], doctor.WARNING),
    (['[proxy]', 'listen = 127.0.0.1:9000', '[access]', 'clients = any'], doctor.WARNING),
    (['[access]', 'clients ='], doctor.WARNING),
])
def test_allowed_clients_are_compared_with_the_listeners(lines, severity):
    assert severities(doctor.clients(settings(*lines))) == [severity]


def test_an_open_proxy_with_log_ins_is_only_a_note(tmpdir):
    tmpdir.join('users').write_binary(b'')
    found, = doctor.clients(settings('[access]', 'clients = any', '[auth]', 'users = %s' % tmpdir.join('users')))
    assert found.severity == doctor.NOTE


@pytest.mark.parametrize('certificates, severity', [('accepted', doctor.WARNING), ('required', doctor.NOTE)])
def test_a_proxy_for_everybody_needs_a_log_in(certificates, severity):
    found, = doctor.clients(settings(
        '[access]', 'clients = any', '[auth]', 'certificates = ' + certificates, '[tls]',
        'certificate = ' + pem('proxy.test.pem'), 'key = ' + pem('proxy.test.key'), 'clients = ' + pem('ca.pem')))
    assert found.severity == severity and 'every address on the internet' in found.what


def test_a_name_that_does_not_resolve_is_an_error():
    assert severities(doctor.names(settings(), 'localhost')) <= [doctor.NOTE]
    found, = doctor.names(settings(), 'no such name')
    assert found.severity == doctor.ERROR and "'no such name' does not resolve" in found.what


def test_a_clock_before_2026_is_an_error():
    assert severities(doctor.clock(0)) == [doctor.ERROR]
    assert severities(doctor.clock(doctor.SURE_PAST + 1)) == [doctor.OK]


def test_a_log_that_cannot_be_written_is_an_error(tmpdir, monkeypatch):
    assert doctor.disk(str(tmpdir.join('log'))).severity in (doctor.OK, doctor.WARNING)
    assert doctor.disk(str(tmpdir.join('none', 'log'))).severity == doctor.ERROR
    monkeypatch.setattr(doctor, 'LITTLE_SPACE', 2)      # no disk has that much
    assert doctor.disk(str(tmpdir.join('log'))).severity == doctor.WARNING


def test_sockets_of_the_admin_listener_are_checked():
    with folder() as here:
        pattern = os.path.join(here, '{pid}.sock')
        for path in ('1.sock', '2.sock', '3.sock'):
            sock = unix_sockets.open_listener(os.path.join(here, path))
            if path == '1.sock':
                living = sock
            else:
                sock.close()
        found = doctor.admin_socket(pattern)
        assert (found.severity, found.what) == (
            doctor.OK, pattern + ': 1 process answering; 2 sockets of ended ones, which the next start removes')
        told = dict(doctor.examine(settings('[admin]', 'listen = unix:%s/none/{pid}.sock 127.0.0.1:1' % here)))
        assert [(each.severity, each.what) for each in told['admin']] == [
            (doctor.WARNING, 'there is no folder %s/none' % here)]
        living.close()
        path, sockets = os.path.join(here, 'proxy.ini'), os.path.join(here, 'sockets')
        write(path, '[admin]\nlisten = unix:%s/{pid}.sock\n' % sockets)
        os.mkdir(sockets, 0o500)
        ended = run(GEPROXY + ['doctor', '-c', path], preexec_fn=unprivileged)
        assert ended.wait() == 2 and b'ERROR   admin: this user cannot make a socket in %s\n' % sockets.encode('ascii') in ended.out


SUPERVISED = """
[program:other]
command=/bin/true
[%s]
command=/usr/bin/python3 -m geproxy -c x
%s
"""


@pytest.mark.parametrize('section, lines, listen, what', [
    ('program:geproxy', 'stopwaitsecs=15', '*:9000', ''),
    ('fcgi-program:geproxy', 'stopwaitsecs=15', 'fd:0', ''),
    ('program:geproxy', '', '*:9000', ''),                              # 10, by default, and drain is 8
    ('program:geproxy', 'stopwaitsecs=8', '*:9000', '[program:geproxy] kills geproxy after stopwaitsecs = 8'),
    ('program:geproxy', 'stopsignal=QUIT', '*:9000', 'stops geproxy with the signal QUIT'),
    ('program:geproxy', 'autorestart=false', '*:9000', 'does not restart geproxy'),
    ('fcgi-program:geproxy', '', '*:9000', 'hands a socket to geproxy, but [proxy] listen does not use it'),
    ('program:geproxy', '', 'fd:0', 'hands no socket to geproxy'),
    ('program:geproxy', '[supervisord]\nminfds=1000000000', '*:9000', 'supervisord will not start'),
])
def test_supervisord_is_compared_with_the_ini_file(tmpdir, section, lines, listen, what):
    path = tmpdir.join('supervisord.conf')
    path.write_binary((SUPERVISED % (section, lines)).encode('ascii'))
    found = doctor.supervisor(str(path), settings('[proxy]', 'listen = ' + listen))
    if 'minfds' in lines and resource.getrlimit(resource.RLIMIT_NOFILE)[1] == resource.RLIM_INFINITY:
        pytest.skip('this host has no limit of descriptors')
    assert (what in found[0].what and found[0].severity >= doctor.WARNING) if what else severities(found) == [doctor.OK]


def test_a_supervisord_without_geproxy_is_a_warning(tmpdir):
    tmpdir.join('a').write_binary(b'[program:other]\ncommand=/bin/true\n')
    assert severities(doctor.supervisor(str(tmpdir.join('a')), settings())) == [doctor.WARNING]
    assert severities(doctor.supervisor(str(tmpdir.join('none')), settings())) == [doctor.ERROR]


def test_without_patching_the_remedy_is_how_to_start_it():
    with process(GEPROXY[:-2] + ['-c', 'from geproxy.commands import doctor; print(doctor.python()[0].what)']) as started:
        assert started.wait() == 0 and b', not patched' in started.out
