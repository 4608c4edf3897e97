"""``geproxy why``: what it says is what a client gets."""
from __future__ import absolute_import, division, print_function

import json

import pytest
from helpers import ask, listening, proxying, read_until

from geproxy import why

INI = '[proxy]\nlisten = *:9000\n[access]\nhttp_ports = any\nrules =\n'
AUTH = '[auth]\nusers = users\ngroups = groups\nexempt = any\n'
RULES = '  deny any bad.test # CHG-1: malware\n  allow 10.0.0.0/8 .test\n  allow user:bob http://any\n  deny any 127.0.0.2\n' \
        '  allow loopback GET,CONNECT 127.0.0.1,[::1],localhost:any\n'


def write_users(folder):
    """Files of users, bob, who is in ops, and eve."""
    folder.join('users').write_binary(b'bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\neve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n')
    folder.join('groups').write_binary(b'ops: bob\n')


@pytest.fixture
def asked(tmpdir, capsys):
    """A function of words, without -c -> (exit code, what it printed, what it said on standard error)."""
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + RULES + AUTH).encode('ascii'))
    write_users(tmpdir)

    def run(*words):
        code = why.main(['why'] + list(words) + ['-c', str(path)])
        return (code,) + tuple(capsys.readouterr())
    return run


def nothing(sock):
    """An origin that is only connected to."""
    sock.recv(1)


def test_what_is_allowed_is_tried_and_timed(asked):
    with listening(nothing) as origin:
        code, said, _ = asked('http://127.0.0.1:%d/x' % origin[1])
    lines = said.split('\n')
    assert (code, lines[0]) == (0, 'GET 127.0.0.1 port %d, from 127.0.0.1' % origin[1])
    assert lines[1:6] == [
        '  proxy.ini:6: deny any bad.test (CHG-1: malware): no, by its host',
        '  proxy.ini:7: allow 10.0.0.0/8 .test: no, by its client',
        '  proxy.ini:8: allow user:bob http://any: no, by its client',
        '  proxy.ini:9: deny any 127.0.0.2: no, by its address',
        '  proxy.ini:10: allow loopback GET,CONNECT 127.0.0.1,[::1],localhost:any: decides']
    assert lines[6] == '  127.0.0.1: may be dialled' and lines[7].startswith('  connected, directly, to 127.0.0.1 in ')
    assert lines[8:] == ['allowed', '']


@pytest.mark.parametrize('words, code, expected', [
    (['http://bad.test/'], 1, 'HTTP/1.1 403 denied by proxy.ini:6: deny any bad.test (CHG-1: malware)'),
    (['https://BAD.test.'], 1, 'HTTP/1.1 403 denied by proxy.ini:6: deny any bad.test (CHG-1: malware)'),
    (['http://a.test/', '--method', 'PUT'], 1, 'HTTP/1.1 403 no rule allows it'),
    (['http://a.test/'], 4, 'it depends on the address'),
    (['http://127.0.0.2/'], 1, 'HTTP/1.1 403 denied by proxy.ini:9: deny any 127.0.0.2'),
    (['http://127.0.0.1/', '--method', 'PUT'], 1, 'HTTP/1.1 403 no rule allows it'),
    (['127.0.0.1:22'], 1, 'HTTP/1.1 403 port 22 is not among [access] connect_ports (80 443 563 8443)'),
    (['http://a.test/', '--from', '9.9.9.9'], 1, 'HTTP/1.1 403 client 9.9.9.9 is not among [access] clients'),
    (['http://169.254.169.254/', '--user', 'bob'], 1, 'HTTP/1.1 403 169.254.169.254 is a metadata address'),
    (['http://127.0.0.1:9000/'], 1, 'HTTP/1.1 403 127.0.0.1 port 9000 is this proxy itself'),
    (['http://a.test/', '--from', '10.0.0.1'], 0, 'allowed'),
    (['https://a.test/path', '--from', '::ffff:10.0.0.1'], 0, 'CONNECT a.test port 443, from 10.0.0.1'),
    (['a.test:443', '--from', '10.0.0.1', '--user', 'eve'], 0, 'CONNECT a.test port 443, from 10.0.0.1 as eve'),
])
def test_what_is_refused_is_shown_as_the_client_gets_it(asked, words, code, expected):
    found, said, _ = asked('--no-net', *words)
    assert found == code and any(line.strip().startswith(expected) for line in said.split('\n')), said


def test_what_is_out_of_reach_has_an_exit_code_of_its_own(asked):
    code, said, _ = asked('localhost:1')
    assert code == 3 and "HTTP/1.1 502 'localhost' port 1: " in said
    code, said, _ = asked('http://no-such-name.test/', '--from', '10.0.0.1')
    assert code == 3 and "HTTP/1.1 50" in said and "'no-such-name.test'" in said


@pytest.mark.parametrize('words, what', [
    (['http://u:secret@a.test/'], 'user and password in an authority'),
    (['ftp://a/'], 'ftp:// needs CONNECT'),
    (['a.test'], 'CONNECT needs a port'),
    (['http://a b/'], 'is not a request line'),
    (['http://a/', '--from', 'nowhere'], "'nowhere' is not an IP address"),
])
def test_what_is_no_question_is_told(asked, words, what):
    code, said, error = asked(*words)
    assert (code, said) == (2, '') and what in error and 'secret' not in error


def test_a_bad_file_is_told(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'[access]\nrules = alow any any\n')
    assert why.main(['why', 'http://a/', '-c', str(path)]) == 2
    assert ':2: [access] rules: ' in capsys.readouterr()[1]


def test_machines_get_json(asked):
    code, said, _ = asked('http://bad.test/', '-o', 'json', '--no-net')
    found = json.loads(said)
    assert code == 1 and found['rules'] == [
        {'place': 'proxy.ini:6', 'rule': 'deny any bad.test', 'comment': 'CHG-1: malware', 'passed': None}]
    assert (found['verdict'], found['rule'], found['status'], found['reason'], found['connected']) == (
        'refused', 'proxy.ini:6', 403, 'http_request_denied', None)


def test_a_report_says_what_would_be_refused(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + RULES + 'policy = report\n' + AUTH).encode('ascii'))
    write_users(tmpdir)
    assert why.main(['why', 'http://bad.test/', '--no-net', '-c', str(path)]) == 0
    assert 'allowed, though it would be refused: denied by proxy.ini:6: ' in capsys.readouterr()[0]


def test_of_many_rules_the_last_are_shown(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + '  deny any a.test\n' * 50 + '  allow any any\n').encode('ascii'))
    assert why.main(['why', 'http://b.test/', '--no-net', '-c', str(path)]) == 0
    lines = capsys.readouterr()[0].split('\n')
    assert lines[1] == '  31 rules before these do not fit' and len(lines) == 24


def test_who_must_log_in_is_told_and_groups_count(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary(('[access]\nrules = allow group:ops any\n' + AUTH.replace('exempt = any', '')).encode('ascii'))
    write_users(tmpdir)
    for words, code, said in (
            ([], 1, 'HTTP/1.1 407 this proxy asks for a name and a password'),
            (['--user', 'bob'], 0, 'allow group:ops any: decides'),
            (['--user', 'eve'], 1, 'HTTP/1.1 403 no rule allows it')):
        assert why.main(['why', 'http://a.test/', '--no-net', '-c', str(path)] + words) == code
        assert said in capsys.readouterr()[0]
    assert why.main(['why', 'http://a.test/', '-c', str(path), '--user', 'nobody']) == 2
    assert capsys.readouterr()[1] == "geproxy: [auth] users knows no 'nobody'\n"


def test_it_says_what_a_client_gets():
    def fine(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 204 No Content\r\n\r\n')
    with listening(fine) as origin, proxying('[access]\nrules =\n' + RULES.replace('user:bob', 'any')) as (address, proxy):
        for url in ('http://bad.test/', 'http://a.test/', 'http://127.0.0.2/', 'http://127.0.0.1:%d/' % origin[1],
                    'https://127.0.0.1:%d' % origin[1], 'bad.test:443'):
            head = why.request_head(url, 'GET')
            answer = ask(address, head)
            request = why.message.parse_request(head)
            question = why.rules.Question(why.address.parse_ip('127.0.0.1'), None, frozenset(), request.method,
                                          request.host(), request.port())
            error = why.find(proxy.server.proxy.settings, question, True).error
            status = answer.split(b'\r\n')[0].partition(b' ')[2].decode('ascii')
            assert status.startswith('20' if error is None else '%d %s' % (error.status, str(error)[:100])), url
