"""``geproxy why``: its output agrees with what a client gets."""
from __future__ import absolute_import, division, print_function

import base64
import json
import re
import socket

import pytest
from encrypted import pem
from helpers import ask, listening, proxying, read_until

from geproxy.commands import why
from geproxy.upstream.resolver import Resolver

INI = '[proxy]\nlisten = *:9000\n[access]\nhttp_ports = any\nrules =\n'
AUTH = '[auth]\nusers = users\ngroups = groups\nexempt = any\n'
RULES = '  deny any bad.test # CHG-1: malware\n  allow 10.0.0.0/8 .test\n  allow user:bob http://any\n  deny any 127.0.0.2\n' \
        '  allow loopback GET,CONNECT 127.0.0.1,[::1],localhost:any\n'


def write_users(folder):
    """Write the files of users and groups: bob, who is in the group ops, and eve."""
    folder.join('users').write_binary(b'bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\neve:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n')
    folder.join('groups').write_binary(b'ops: bob\n')


@pytest.fixture
def asked(tmpdir, capsys):
    """Return a function that runs why with these words, and -c -> (exit code, standard output, standard error)."""
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + RULES + AUTH).encode('ascii'))
    write_users(tmpdir)

    def run(*words):
        code = why.main(['why'] + list(words) + ['-c', str(path)])
        return (code,) + tuple(capsys.readouterr())
    return run


def nothing(sock):
    """An origin that only accepts a connection."""
    sock.recv(1)


def test_an_allowed_request_is_tried_and_timed(asked):
    with listening(nothing) as origin:
        code, said, _ = asked('http://127.0.0.1:%d/x' % origin[1])
    lines = said.split('\n')
    assert (code, lines[0]) == (0, 'GET 127.0.0.1 port %d, from 127.0.0.1' % origin[1])
    assert lines[1:6] == [
        '  proxy.ini:6: deny any bad.test (CHG-1: malware): no match (host)',
        '  proxy.ini:7: allow 10.0.0.0/8 .test: no match (client)',
        '  proxy.ini:8: allow user:bob http://any: no match (client)',
        '  proxy.ini:9: deny any 127.0.0.2: no match (address)',
        '  proxy.ini:10: allow loopback GET,CONNECT 127.0.0.1,[::1],localhost:any: decides']
    assert lines[6] == '  127.0.0.1: may be dialled' and lines[7].startswith('  connected directly to 127.0.0.1 in ')
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
def test_a_refusal_is_shown_as_the_client_gets_it(asked, words, code, expected):
    found, said, _ = asked('--no-net', *words)
    assert found == code and any(line.strip().startswith(expected) for line in said.split('\n')), said
    assert not re.search(r'(\S+): \1 ', said), 'an address stands twice'


def test_a_host_out_of_reach_has_its_own_exit_code(asked):
    code, said, _ = asked('localhost:1')
    assert code == 3 and "HTTP/1.1 502 localhost" in said
    code, said, _ = asked('http://no-such-name.test/', '--from', '10.0.0.1')
    assert code == 3 and "HTTP/1.1 50" in said and "'no-such-name.test'" in said


@pytest.mark.parametrize('words, what', [
    (['http://u@secret@a.test/'], 'user and password in an authority'),
    (['ftp://a/'], 'an HTTP proxy cannot fetch ftp://'),
    (['a.test:x'], "'a.test:x' is not host[:port]"),
    (['https://u@secret@a.test/'], 'user and password in an authority'),
    (['https:///path'], "'' is not host[:port]"),
    (['http://a b/'], 'invalid request line'),
    (['http://a/', '--from', 'nowhere'], "'nowhere' is not an IP address"),
])
def test_wrong_usage_is_explained_without_secrets(asked, words, what):
    code, said, error = asked(*words)
    assert (code, said) == (2, '') and what in error and 'secret' not in error


def test_user_and_password_of_a_url_are_ignored_and_not_shown(asked):
    for scheme in ('http', 'https'):
        for output in ('text', 'json'):
            code, said, error = asked(scheme + '://good.test:secret@bad.test/x', '--no-net', '-o', output)
            assert code == 1 and 'CHG-1: malware' in said and 'secret' not in said + error


def test_a_bad_file_is_reported_with_its_line(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'[access]\nrules = alow any any\n')
    assert why.main(['why', 'http://a/', '-c', str(path)]) == 2
    assert ':2: [access] rules: ' in capsys.readouterr()[1]


def test_json_is_for_programs(asked):
    code, said, _ = asked('http://bad.test/', '-o', 'json', '--no-net')
    found = json.loads(said)
    assert code == 1 and found['rules'] == [
        {'place': 'proxy.ini:6', 'rule': 'deny any bad.test', 'comment': 'CHG-1: malware', 'passed': None}]
    assert (found['verdict'], found['rule'], found['status'], found['reason'], found['connected']) == (
        'refused', 'proxy.ini:6', 403, 'http_request_denied', None)


def test_with_policy_report_the_refusal_is_shown_too(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + RULES + 'policy = report\n' + AUTH).encode('ascii'))
    write_users(tmpdir)
    assert why.main(['why', 'http://bad.test/', '--no-net', '-c', str(path)]) == 0
    assert 'allowed, but only because of policy = report; otherwise refused: denied by proxy.ini:6: ' in capsys.readouterr()[0]


def test_of_many_rules_only_the_last_are_shown(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write_binary((INI + '  deny any a.test\n' * 50 + '  allow any any\n').encode('ascii'))
    assert why.main(['why', 'http://b.test/', '--no-net', '-c', str(path)]) == 0
    lines = capsys.readouterr()[0].split('\n')
    assert lines[1] == '  (31 rules before these do not match)' and len(lines) == 24


def test_a_missing_login_is_reported_and_groups_count(tmpdir, capsys):
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
    assert capsys.readouterr()[1] == "geproxy: no user 'nobody' in the file of [auth] users\n"


def test_a_missing_certificate_is_reported_and_any_user_may_have_one(tmpdir, capsys):
    path = tmpdir.join('proxy.ini')
    path.write('[tls]\ncertificate = %s\nkey = %s\nclients = %s\n[access]\nrules = allow user:joe any\n'
               '[auth]\ncertificates = required\nexempt = 10.0.0.1\n' % (pem('proxy.test.pem'), pem('proxy.test.key'), pem('ca.pem')))
    for words, code, said in (
            ([], 1, 'HTTP/1.1 403 this proxy asks for a certificate of the client'),
            (['--user', 'joe'], 0, 'allow user:joe any: decides'),
            (['--user', 'eve'], 1, 'HTTP/1.1 403 no rule allows it'),
            (['--from', '10.0.0.1'], 1, 'HTTP/1.1 403 no rule allows it')):
        assert why.main(['why', 'http://a.test/', '--no-net', '-c', str(path)] + words) == code
        assert said in capsys.readouterr()[0]


@pytest.mark.parametrize('url, line', [
    ('http://a.test/b?c#d', b'GET http://a.test/b?c'), ('http://a.test#d', b'GET http://a.test'),
    ('HTTP://a.test:81?c', b'GET HTTP://a.test:81?c'),
    ('https://a.test', b'CONNECT a.test:443'), ('https://a.test:8443/b', b'CONNECT a.test:8443'),
    ('HTTPS://a.test?b', b'CONNECT a.test:443'), ('Https://a.test#b', b'CONNECT a.test:443'),
    ('https://a.test:/', b'CONNECT a.test:443'), ('https://[::1]/', b'CONNECT [::1]:443'),
    ('https://[::1]:8443?u=http://b', b'CONNECT [::1]:8443'),
    ('a.test', b'CONNECT a.test:443'), ('a.test/b?u=http://c', b'CONNECT a.test:443'), ('a.test:22', b'CONNECT a.test:22'),
    ('a.test:8443/b', b'CONNECT a.test:8443'), ('::1', b'CONNECT [::1]:443'), ('[::1]', b'CONNECT [::1]:443'),
    ('127.0.0.1', b'CONNECT 127.0.0.1:443')])
def test_a_url_becomes_the_request_that_a_client_sends(url, line):
    assert why.request_head(url, 'GET').split(b'\r\n')[0] == line + b' HTTP/1.1'


def test_a_method_that_a_proxy_never_sees_is_ignored_with_a_message(asked):
    code, said, error = asked('https://bad.test/', '--method', 'POST', '--no-net')
    assert (code, said.split('\n')[0]) == (1, 'CONNECT bad.test port 443, from 127.0.0.1')
    assert error == 'geproxy: --method POST is ignored: for https:// a proxy only sees the method CONNECT\n'
    assert asked('https://bad.test/', '--no-net')[2] == asked('http://bad.test/', '--method', 'PUT', '--no-net')[2] == ''


def test_a_refused_head_has_no_body(asked):
    said = asked('http://bad.test/', '--method', 'HEAD', '--no-net')[1]
    assert 'HTTP/1.1 403 denied by proxy.ini:6' in said and 'geproxy: denied by' not in said


@pytest.fixture
def run(tmpdir, capsys):
    """Return a function that runs why with the text of an ini file and words -> (exit code, standard output)."""
    def run_it(text, *words):
        path = tmpdir.join('proxy.ini')
        path.write_binary(text.encode('ascii'))
        code = why.main(['why'] + list(words) + ['-c', str(path)])
        return code, capsys.readouterr()[0]
    return run_it


def test_a_listener_with_a_name_is_looked_up_unless_there_is_no_net(run):
    text = '[proxy]\nlisten = localhost:9000\n[access]\nhttp_ports = any\n'
    assert run(text, 'http://127.0.0.1:9000/')[0] == 1
    code, said = run(text, 'http://127.0.0.1:9000/', '--no-net')
    assert code == 0 and said.endswith(
        "\nallowed\n  not checked: whether the request leads back to this proxy. The addresses of listen = localhost are not "
        "known here\n")
    code, said = run(text.replace('localhost', 'no-such-name.test'), 'http://127.0.0.1:1/')
    assert code == 3
    with listening(nothing) as origin:
        code, said = run(text.replace('localhost', 'no-such-name.test'), 'http://127.0.0.1:%d/' % origin[1])
    assert code == 0 and "The addresses of listen = no-such-name.test are not known here" in said


@pytest.mark.parametrize('listen, what', [('fd:0', 'fd:0'), ('systemd', 'systemd')])
def test_the_address_of_an_inherited_socket_is_not_known(run, listen, what):
    text = '[proxy]\nlisten = %s 127.0.0.1:9000\n[access]\nhttp_ports = any\n' % listen
    code, said = run(text, 'http://127.0.0.1:9001/', '--no-net')
    assert code == 0 and said.endswith(
        '\nallowed\n  not checked: whether the request leads back to this proxy. Only the running process knows the address of '
        'listen = %s\n' % what)
    assert run(text, 'http://127.0.0.1:9000/', '--no-net')[0] == 1
    found = json.loads(run(text, 'http://127.0.0.1:9001/', '--no-net', '-o', 'json')[1])
    assert [each.partition(' of ')[2] for each in found['unknown']] == ['listen = %s' % what]


def test_the_admin_listener_counts_as_the_proxy_itself(run):
    text = '[admin]\nlisten = 127.0.0.1:9001 unix:/run/geproxy/{pid}.sock\n'
    code, said = run(text, 'http://127.0.0.1:9001/', '--no-net')
    assert code == 1 and 'HTTP/1.1 403 127.0.0.1 port 9001 is this proxy itself' in said


def test_limits_are_reported_as_not_checked(run):
    text = '[limits]\n%s\n[access]\nrules =\n  deny any bad.test\n  allow any any\n'
    allowed = ('http://a.test/', '--no-net')
    assert run(text % 'burst = 3', *allowed)[1].endswith('\nallowed\n')
    assert run(text % 'requests = 2\nper_client = 3', *allowed)[1].endswith(
        '\nallowed\n  not checked: [limits] per_client, requests. A client over a limit gets 429 or is slowed down\n')
    assert 'not checked: [limits] rate, quota.' in run(text % 'rate = 1m\nquota = 1g\nquota_file = q', *allowed)[1]
    assert 'not checked' not in run(text % 'requests = 2', 'http://bad.test/', '--no-net')[1]


# --- the same as a client gets

def fine(sock):
    """An origin that answers each connection once."""
    read_until(sock, b'\r\n\r\n')
    sock.sendall(b'HTTP/1.1 204 No Content\r\n\r\n')


def several(host):
    """Look a host up, in place of resolver.look_up: some names have several addresses, the others have none."""
    known = {'one.test': ['127.0.0.2', '127.0.0.1', '169.254.169.254'], 'none.test': ['127.0.0.2', '169.254.169.254'],
             'other.test': ['169.254.169.254', '127.0.0.2']}
    if host not in known:
        raise socket.gaierror(-2, 'Name or service not known')
    return known[host]


def compare(ini, url, user=None):
    """Ask a real proxy and `find` about the same URL, compare, and return (the Finding, the Record).

    `ini`: the text of the ini file; `url`: native text, in which {origin} is the port of a real origin; `user`: octets.
    """
    with listening(fine) as origin, proxying(ini) as (address, proxy):
        proxy.server.proxy.upstream.dialling.resolver = Resolver(ask=several)
        head = why.request_head(url.replace('{origin}', '%d' % origin[1]), 'GET')
        login = b'Proxy-Authorization: Basic %s\r\n\r\n' % base64.b64encode(user + b':') if user else b'\r\n'
        answer = ask(address, head[:-2] + login)
        settings, request = proxy.server.proxy.settings, why.reading.parse_request(head)
        groups = settings.users.groups.get(user, frozenset()) if settings.users else frozenset()
        question = why.rules.Question(why.address.parse_ip('127.0.0.1'), user, groups, request.method, request.host,
                                      request.port)
        finding = why.find(settings, question, True, Resolver(ask=several))
        record = proxy.wait()[0]
    error = finding.error
    status = answer.split(b'\r\n')[0].partition(b' ')[2].decode('ascii')
    assert status.startswith('20' if error is None else '%d %s' % (error.status, str(error)[:100]))
    assert (record.reason, record.message) == ((error.token, str(error)) if error else ('', ''))
    assert error or (record.would, record.rule) == (finding.would, decisive(finding))
    assert record.address == (finding.connected[0] if finding.connected else '')
    return finding, record


def decisive(finding):
    """Return where the rule that decides stands (file:line), or ''."""
    return ([rule.source for rule, missed in finding.passed if not missed] or [''])[0]


@pytest.mark.parametrize('url', [
    'http://bad.test/', 'http://a.test/', 'http://127.0.0.2/', 'http://127.0.0.1:{origin}/', 'https://127.0.0.1:{origin}', 'bad.test:443'])
def test_its_output_agrees_with_what_a_client_gets(url):
    compare('[access]\nrules =\n' + RULES.replace('user:bob', 'any').replace(' .test', ' .a.test'), url)


@pytest.mark.parametrize('user, url, rule', [
    (None, 'http://127.0.0.1:{origin}/', None),
    (b'bob', 'http://127.0.0.1:{origin}/', 'allow user:bob http://any'),
    (b'bob', '127.0.0.1:{origin}', 'allow group:ops 127.0.0.1'),
    (b'eve', 'http://127.0.0.1:{origin}/', None),
    (b'eve', '127.0.0.1:{origin}', None),
])
def test_it_agrees_for_users_and_groups(tmpdir, user, url, rule):
    write_users(tmpdir)
    finding, record = compare(
        '[access]\nrules =\n  allow user:bob http://any\n  allow group:ops 127.0.0.1\n[auth]\nusers = %s\ngroups = %s\n' % (
            tmpdir.join('users'), tmpdir.join('groups')), url, user)
    assert [each.text for each, missed in finding.passed if not missed] == ([rule] if rule else [])
    assert decisive(finding) == record.rule and (finding.error is None) is (rule is not None)


@pytest.mark.parametrize('url', [
    'http://127.0.0.1:{origin}/', '127.0.0.1:{origin}', 'http://one.test:{origin}/', 'http://none.test/', 'http://169.254.169.254/'])
@pytest.mark.parametrize('rule', [
    'deny any any', 'deny any one.test,127.0.0.1', 'deny any 127.0.0.0/8', 'allow any 127.0.0.1', 'allow any other.test'])
def test_it_agrees_with_policy_report(url, rule):
    finding, _record = compare('[access]\npolicy = report\nrules =\n  deny any 127.0.0.9\n  %s\n' % rule, url)
    assert finding.error is None or finding.error.token in ('destination_ip_prohibited', 'connection_refused')


@pytest.mark.parametrize('url', ['http://127.0.0.1:{origin}/', '127.0.0.1:{origin}', 'http://a.test/', 'a.test:443'])
@pytest.mark.parametrize('ini', ['http_ports = 443', 'connect_ports = 443', 'http_ports = 443\npolicy = report',
                                 'http_ports = 80\nconnect_ports = 1\nrules = allow any 127.0.0.1,a.test',
                                 'http_ports = 80\nconnect_ports = 1\nrules = allow any 127.0.0.1:any,a.test:443'])
def test_it_agrees_for_ports(ini, url):
    compare('[access]\n%s\n' % ini, url)


@pytest.mark.parametrize('host, rule', [
    ('one.test', 'allow any 127.0.0.1'),                # the first that may be dialled, and not the first of all
    ('none.test', 'deny any 169.254.0.0/16'),           # the last, as all are refused
    ('other.test', 'deny any 127.0.0.2')])
def test_of_several_addresses_the_one_that_decides_is_explained(host, rule):
    ini = '[access]\nrules =\n  deny any 127.0.0.2\n  deny any 169.254.0.0/16\n  allow any 127.0.0.1\n'
    ini += 'allow_addresses = 169.254.0.0/16\n'
    finding, _record = compare(ini, 'http://%s:{origin}/' % host)
    assert [each.text for each, missed in finding.passed if not missed] == [rule]
    assert finding.error is None or finding.error.rule == decisive(finding)
