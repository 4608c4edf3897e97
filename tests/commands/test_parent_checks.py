"""What ``--check`` and ``doctor`` say about routes and parents: each test makes a real trouble."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import re
import socket

import gevent
import pytest
from helpers import listening, proxying, read_until
from test_parent_trials import answering

from geproxy import cli, errors
from geproxy.commands import doctor, parent_checks
from geproxy.commands.findings import ERROR, OK, WARNING
from geproxy.settings import loading

REFUSAL = b'HTTP/1.1 503 No such name\r\nContent-Length: 0\r\n\r\n'
LOG_IN = b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n'


def settings(*rows, **more):
    """Return the Settings of an ini file with these rows of routes, and `more` lines."""
    return loading.load('test.ini', ['[upstream]', 'routes ='] + ['  ' + row for row in rows] + list(more.get('lines', ())))


def examined(*rows, **more):
    """Return what doctor finds: [(severity, what, remedy)], with N for each number of milliseconds."""
    return [(finding.severity, re.sub(r'\d+ ms', 'N ms', finding.what), finding.remedy)
            for finding in parent_checks.examine(None, settings(*rows, **more))]


def test_without_routes_there_is_nothing_to_say():
    assert parent_checks.unused(None, loading.load(None)) == parent_checks.unresolved(loading.load(None)) == []
    assert parent_checks.examine(None, loading.load(None)) == []


@pytest.mark.parametrize('answer,words', [(REFUSAL, 'it answered 503 "No such name" to {1}, a name that leads nowhere'),
                                          (REFUSAL.replace(b'503 No such name', b'403 '), 'it answered 403 to {1}, a name that leads nowhere (if '
                                           'it refuses all requests, too, it may want another log-in or certificate)'),
                                          (b'HTTP/1.1 200 OK\r\n\r\n', 'it opened a tunnel to {2} in N ms')])
def test_a_parent_that_answers_is_fine(answer, words):
    asked = []
    with listening(answering(answer, asked)) as parent:
        place = '127.0.0.1:%d' % parent[1]
        found = examined('any http://%s, direct' % place)
    nowhere = 'geproxy-doctor.invalid:443'
    assert found == [(OK, 'http://%s: connected to 127.0.0.1 port %d in N ms; %s' % (
        place, parent[1], words.format(place, 'CONNECT ' + nowhere, nowhere)), '')]
    assert asked[0].startswith(b'CONNECT geproxy-doctor.invalid:443 HTTP/1.1\r\n')


@pytest.mark.parametrize('status', [b'400', b'404', b'405', b'501'])
def test_an_answer_of_a_server_that_is_no_proxy_is_a_warning(status):
    with listening(answering(REFUSAL.replace(b'503 No such name', status + b' all is fine to CONNECT '), [])) as parent:
        (severity, what, remedy), = examined('any http://127.0.0.1:%d' % parent[1])
    assert severity == WARNING and remedy == 'is this a proxy, and is its scheme in [upstream] routes right?'
    assert ' it answered %s "all is fine to CONNECT" to CONNECT geproxy-doctor' % status.decode('ascii') in what


def test_a_parent_is_tried_from_the_source_of_its_rows():
    seen = []

    def handle(sock):
        seen.append(sock.getpeername()[0])
        answering(REFUSAL, [])(sock)
    with listening(handle) as parent:
        url = 'http://127.0.0.1:%d' % parent[1]
        found = examined('a.test %s source=127.0.0.3' % url, 'any ' + url, lines=['source = 127.0.0.2'])
        (severity, what, remedy), = examined('any %s source=192.0.2.77' % url)
    assert seen == ['127.0.0.2', '127.0.0.3']
    assert [each[1].partition(':127')[0].partition(': ')[0] for each in found] == [url + ' from ' + each for each in seen]
    assert severity == ERROR and what.startswith(url + ' from 192.0.2.77; ') and remedy.startswith('correct [upstream] source, ')


def test_a_log_in_that_is_wrong_is_an_error():
    with listening(answering(LOG_IN, [])) as parent:
        (severity, what, remedy), = examined('any http://127.0.0.1:%d, direct' % parent[1])
    assert severity == ERROR and 'answered 407 Who to CONNECT geproxy-doctor.invalid:443: it wants a log-in' in what


@pytest.mark.parametrize('row,severity', [('any %s, direct', WARNING), ('any %s', ERROR)])
def test_a_parent_that_is_not_there_is_an_error_if_it_is_the_only_way(row, severity):
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))         # and does not listen
    url = 'http://127.0.0.1:%d' % sock.getsockname()[1]
    assert examined(row % url) == [(severity, '%s; 127.0.0.1 port %d: connection refused' % (url, sock.getsockname()[1]),
                                    'see if the parent runs, and if a firewall lets this host connect to it')]
    sock.close()


def test_a_parent_that_is_no_proxy_is_told():
    def other(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'220 mail.example ESMTP\r\n')
    with listening(other) as parent:
        (severity, what, remedy), = examined('any http://127.0.0.1:%d' % parent[1])
    assert severity == ERROR and ' gave no valid answer to CONNECT geproxy-doctor.invalid:443: ' in what


def test_a_parent_that_leads_back_is_an_error():
    # The same name as the proxy of doctor has, so it is the same proxy.
    with proxying('[proxy]\nname = here\n[access]\nrules = allow any any\n') as (address, _proxy):
        (severity, what, remedy), = examined('any http://127.0.0.1:%d' % address[1], lines=['[proxy]', 'name = here'])
    assert severity == ERROR and ' answered 508 ' in what and remedy.startswith('it leads back to this proxy')


def test_log_ins_that_no_row_can_use_are_told(tmpdir):
    path = tmpdir.join('parents')
    path.write_binary(b'[http://a.test:1]\nuser = joe\npassword = x\n[socks5h://[2001:db8::1]:1080]\nuser = joe\npassword = x\n')
    path.chmod(0o600)
    loaded = settings('any http://a.test:1', lines=['parents = %s' % path])
    said = '%s: [socks5h://[2001:db8::1]:1080]: no row of [upstream] routes has this parent' % path
    assert parent_checks.unused('test.ini', loaded) == [said]
    assert [finding[:2] for finding in parent_checks.examine('test.ini', loaded)][0] == (WARNING, said)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root may give a file away')
def test_a_check_tells_that_the_user_cannot_read_the_file_of_parents(tmpdir, capsys):
    parents, path = tmpdir.join('parents'), tmpdir.join('proxy.ini')
    parents.write_binary(b'')
    parents.chmod(0o600)
    path.write_binary(b'[proxy]\nlisten = 127.0.0.1:0\nuser = nobody\n[upstream]\nparents = parents\n')
    for owner, said in (0, ['%s: user nobody cannot read it, so a reload will fail: chown nobody %s' % (parents, parents)]), (
            pwd.getpwnam('nobody').pw_uid, []):
        os.chown(str(parents), owner, -1)
        assert cli.main(['--check', str(path)]) == 0
        assert capsys.readouterr()[0].splitlines() == ['%s: fine' % path] + said


class Hanging(object):
    """A resolver whose name servers do not answer."""

    def __init__(self):
        self.asked = []

    def resolve(self, host, limit, client):
        """Wait in vain."""
        self.asked.append(host)
        gevent.sleep(limit.seconds)
        raise errors.DnsTimeout('too late')


def test_names_of_parents_that_do_not_resolve_are_told_and_slow_name_servers_do_not_hold_it_up():
    loaded = settings('.corp direct', 'any http://no-such-parent.invalid:3128, http://localhost:1, http://127.0.0.1:2')
    found, = parent_checks.unresolved(loaded)
    assert found.startswith("test.ini:4: parent http://no-such-parent.invalid:3128: 'no-such-parent.invalid' does not resolve: ")
    hanging = Hanging()
    assert parent_checks.unresolved(loaded, hanging, 0.01) == [
        'test.ini:4: parent http://no-such-parent.invalid:3128: the name servers did not answer within 0.01 s',
        'the names of the other parents were not looked up: the name servers take too long']
    assert hanging.asked == [b'no-such-parent.invalid']


def test_a_check_tells_that_no_variable_is_set(tmpdir, capsys, monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    path = tmpdir.join('env.ini')
    path.write_binary(b'[proxy]\nlisten = 127.0.0.1:0\n[upstream]\nroutes =\n  .corp direct\n  environment    # ours\n')
    monkeypatch.setenv('no_proxy', 'a.test')
    assert cli.main(['--check', str(path)]) == 0
    assert capsys.readouterr()[0].splitlines() == [
        '%s: fine' % path, 'env.ini:6: environment: none of http_proxy, https_proxy, all_proxy is set here, so this row is empty']
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:1')
    assert cli.main(['--check', str(path)]) == 0
    assert capsys.readouterr()[0].splitlines() == ['%s: fine' % path]


def test_a_check_and_doctor_tell_it(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'[proxy]\nlisten = 127.0.0.1:0\n[upstream]\nroutes =\n  any direct\n  .corp http://no-such-parent.invalid:1\n')
    assert cli.main(['--check', str(path)]) == 0
    lines = capsys.readouterr()[0].splitlines()
    assert lines[:2] == ['%s: fine' % path, 'proxy.ini:6: .corp http://no-such-parent.invalid:1 can never be used, because an '
                         'earlier row takes all of its requests: proxy.ini:5: any direct']
    assert lines[2].startswith('proxy.ini:6: parent http://no-such-parent.invalid:1: ')
    assert doctor.main(['doctor', '-c', str(path)]) == 2
    assert '\nERROR   parents: http://no-such-parent.invalid:1; ' in capsys.readouterr()[0]
