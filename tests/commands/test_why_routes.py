"""What ``geproxy why`` says about routes agrees with what a client gets. Real sockets, and a real process for states."""
from __future__ import absolute_import, division, print_function

import json
import re
import socket

import pytest
from helpers import Names, ask, listening, proxying, read_until
from processes import Client, answering, get, running

from geproxy import errors
from geproxy.commands import why
from geproxy.net.address import IP
from geproxy.policy import rules
from geproxy.settings import loading

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'


def replying(answer=OK, seen=None):
    """Return a handler of a parent that answers each request so. `seen`: a list that gets the first lines."""
    def handle(sock):
        while True:
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            if seen is not None:
                seen.append(head.partition(b'\r\n')[0])
            sock.sendall(answer)
    return handle


@pytest.fixture
def nobody():
    """The URL of a parent that is not there."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))         # and does not listen
    yield 'http://127.0.0.1:%d' % sock.getsockname()[1]
    sock.close()


@pytest.fixture
def asked(tmpdir, capsys):
    """Return a function of the rows of routes, more lines of the ini file and words for why -> (exit code, output)."""
    def run(rows, *words, **more):
        path = tmpdir.join('proxy.ini')
        lines = ['[access]', 'http_ports = any', 'connect_ports = any'] + list(more.get('access', ())) + [
            '[upstream]', 'routes ='] + ['  ' + row for row in rows] + list(more.get('lines', ()))
        path.write_binary('\n'.join(lines).encode('ascii'))
        code = why.main(['why', '-c', str(path)] + list(words))
        return code, re.sub(r'\d+ ms', 'N ms', capsys.readouterr()[0])
    return run


def url(address):
    """The URL of the parent that listens there."""
    return 'http://%s:%d' % address


UNASKED = 'its state is not known: no process can be asked, as the ini file has no [admin] listen'


def test_each_route_is_tried_in_order(asked, nobody):
    with listening(replying()) as good:
        code, said = asked(['.corp direct', 'any %s, %s' % (nobody, url(good))], 'http://origin.test/x')
    lines = said.splitlines()
    assert code == 0 and lines[0] == 'GET origin.test port 80, from 127.0.0.1'
    assert lines[1] == '  routes: proxy.ini:7: any %s, %s' % (nobody, url(good))
    assert lines[2].startswith('  %s: %s' % (nobody, UNASKED))
    assert lines[3:5] == ['    the parent looks the name up',
                          '    failed: 127.0.0.1 port %s: connection refused' % nobody.rpartition(':')[2]]
    assert lines[5].startswith('  %s: ' % url(good))
    assert lines[6:] == ['    the parent looks the name up', '    connected to 127.0.0.1 port %d in N ms' % good[1],
                         '    parent 127.0.0.1:%d answered 200 OK to HEAD http://origin.test:80/, in N ms' % good[1],
                         'allowed']


def test_a_tunnel_is_asked_for(asked):
    seen = []
    with listening(replying(b'HTTP/1.1 200 OK\r\n\r\n', seen)) as parent:
        code, said = asked(['any ' + url(parent)], 'https://origin.test')
    assert code == 0 and said.endswith('    it opened a tunnel to origin.test:443 in N ms\nallowed\n')
    assert seen == [b'CONNECT origin.test:443 HTTP/1.1']


@pytest.mark.parametrize('row,rest', [('.corp http://p:1', 'no row matches, so the way is direct'),
                                      ('127.0.0.1 direct', 'proxy.ini:6: 127.0.0.1 direct')])
def test_the_direct_way_is_shown_as_without_routes(asked, row, rest):
    with listening(replying()) as origin:
        code, said = asked([row], url(origin))
    assert code == 0 and said.splitlines()[1:] == [
        '  127.0.0.1: may be dialled', '  connected directly to 127.0.0.1 in N ms', '  routes: ' + rest, '  direct', 'allowed']


def test_the_direct_way_after_a_parent_is_timed_too(asked, nobody):
    with listening(replying()) as origin:
        code, said = asked(['any %s, direct' % nobody], url(origin))
    assert code == 0 and said.endswith('  direct\n    connected to 127.0.0.1 in N ms\nallowed\n')


def test_a_source_address_that_this_host_does_not_have_is_the_error_of_the_client(asked):
    with listening(replying()) as parent:
        code, said = asked(['any %s source=192.0.2.77' % url(parent)], 'http://origin.test/')
    assert code == 3 and '\n    reason: source_address_missing\n' in said


@pytest.mark.parametrize('row', ['.corp direct', '# no other row'])
def test_that_variables_are_those_of_this_shell_is_told(asked, monkeypatch, row):
    here = ' (environment: read from the variables of this shell, which may differ from those of the running process)'
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with listening(replying()) as parent:
        none = 'no row matches, so the way is direct' if row == '.corp direct' else 'none'
        assert '\n  routes: %s%s\n' % (none, here) in asked([row, 'environment'], url(parent))[1]
        monkeypatch.setenv('http_proxy', url(parent))
        assert '\n  routes: proxy.ini:7 http_proxy: http://any %s%s\n' % (url(parent), here) in asked(
            [row, 'environment'], 'http://origin.test/')[1]


@pytest.mark.parametrize('access,row,reason', [
    (['private = deny'], 'any PARENT', '[access] private = deny'),
    (['deny_addresses = 192.0.2.0/24'], 'any PARENT', '[access] deny_addresses is set'),
    ([], 'any PARENT resolve=here', 'the row has resolve=here'),
    (['rules =', '  deny any 192.0.2.0/24', '  allow any any'], 'any PARENT',
     'a rule depends on its address: proxy.ini:5: deny any 192.0.2.0/24'),
])
def test_why_a_name_is_looked_up_is_told_and_a_name_without_address_is_refused(asked, access, row, reason):
    with listening(replying()) as parent:
        code, said = asked([row.replace('PARENT', url(parent))], 'http://no-such-name.invalid/', access=access)
    assert code == 3
    assert '    the name is looked up here, because %s\n    failed: ' % reason in said
    assert '\n    reason: address_unknown\n' in said


def test_a_socks5_parent_is_asked_for_an_address():
    seen = []

    def socks(sock):
        assert sock.recv(10) == b'\x05\x01\x00'
        sock.sendall(b'\x05\x00')
        seen.append(sock.recv(100))
        sock.sendall(b'\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00')
    question = rules.Question(IP(4, 0x7f000001), None, frozenset(), b'CONNECT', b'origin.test', 443)
    with listening(socks) as parent:
        for scheme, told in (('socks5', 'the name is looked up here, because socks5:// means that (socks5h:// lets the '
                              'parent do it)'), ('socks5h', 'the parent looks the name up')):
            settings = loading.load('test.ini', ['[upstream]', 'routes = any %s://%s:%d' % ((scheme,) + parent)])
            way, = why.find(settings, question, True, Names('10.9.8.7')).routing.ways
            assert way.error is None and way.steps[0] == told
    assert seen == [b'\x05\x01\x00\x01\x0a\x09\x08\x07\x01\xbb', b'\x05\x01\x00\x03\x0borigin.test\x01\xbb']


@pytest.mark.parametrize('scheme,method,denied', [
    ('http', b'GET', True), ('http', b'CONNECT', True), ('socks5', b'CONNECT', False)])
def test_a_parent_that_gets_the_name_may_choose_any_address_so_all_must_be_allowed(scheme, method, denied):
    def refuse(sock):
        sock.recv(100)
        sock.sendall(b'\x05\xff' if scheme == 'socks5' else LOG_IN)
    question = rules.Question(IP(4, 0x7f000001), None, frozenset(), method, b'origin.test', 443)
    with listening(refuse) as parent:
        found = why.find(loading.load('test.ini', [
            '[access]', 'rules =', '  deny any 10.9.0.0/16', '  allow any any:any', 'http_ports = any', '[upstream]',
            'routes = any %s://%s:%d' % ((scheme,) + parent)]), question, True, Names('10.8.8.8', '10.9.8.7'))
    assert type(found.error) is (errors.Denied if denied else errors.ParentLoginFailed)


@pytest.mark.parametrize('words', [['http://127.0.0.1:9/'], ['http://169.254.169.254/']])
def test_a_literal_address_is_judged_before_the_parent_is_asked(asked, words):
    seen = []
    with listening(replying(OK, seen)) as parent:
        code, said = asked(['any ' + url(parent)], *(words + ['--from', '10.0.0.1']))
        with proxying('[upstream]\nroutes = any %s\n' % url(parent)) as (address, proxy):
            shown = ask(address, b'GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n')
            assert shown.startswith(b'HTTP/1.1 403 ') and proxy.wait()[0].route == ''
    assert code == 1 and 'refused. The client gets:\n    HTTP/1.1 403 ' in said and seen == []


REFUSAL = b'HTTP/1.1 403 No way\r\nContent-Length: 0\r\n\r\n'
LOG_IN = b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n'


@pytest.mark.parametrize('answer,reason', [(REFUSAL, 'parent_refused'), (LOG_IN, 'parent_login_failed')])
def test_what_a_parent_refuses_is_what_a_client_gets(asked, answer, reason):
    with listening(replying(answer)) as parent, listening(replying()) as other:
        rows = ['any %s, %s' % (url(parent), url(other))]
        code, said = asked(rows, 'https://origin.test')
        with proxying('[upstream]\nroutes = %s\n' % rows[0]) as (address, proxy):
            shown = ask(address, b'CONNECT origin.test:443 HTTP/1.1\r\nHost: x\r\n\r\n')
            assert proxy.wait()[0].reason == reason
    status = re.search(r'The client gets:\n    HTTP/1.1 (\d+)', said).group(1)
    assert code == 3 and 'reason: %s\n' % reason in said and shown.startswith(b'HTTP/1.1 %s ' % status.encode('ascii'))


def test_no_route_works(asked, nobody):
    code, said = asked(['any %s, direct' % nobody], 'http://no-such-name.invalid/')
    assert code == 3 and 'reason: parent_failed' in said and 'no way to no-such-name.invalid:80: %s: ' % nobody in said


def test_without_the_net_nothing_is_tried(asked, nobody):
    code, said = asked(['any %s, direct' % nobody], 'http://origin.test/', '--no-net')
    assert (code, said) == (0, (
        'GET origin.test port 80, from 127.0.0.1\n  routes: proxy.ini:6: any {0}, direct\n'
        '  {0}: its state is not known: no process was asked\n  direct\nallowed\n').format(nobody))


def test_programs_get_the_same(asked, nobody):
    with listening(replying()) as parent:
        found = json.loads(asked(['any %s, %s' % (nobody, url(parent))], 'http://origin.test/', '-o', 'json')[1])
    assert found['route'] == url(parent) and found['verdict'] == 'allowed'
    assert found['routing']['row'] == 'proxy.ini:6: any %s, %s' % (nobody, url(parent))
    assert [(way['route'], way['reason'], len(way['steps'])) for way in found['routing']['ways']] == [
        (nobody, 'connection_refused', 1), (url(parent), None, 3)]


def test_the_running_process_tells_the_states_of_parents(nobody, capsys):
    with listening(answering()) as parent:
        rows = '[upstream]\nroutes = any %s, %s\n' % (nobody, url(parent))
        with running('[admin]\nlisten = unix:FOLDER/{pid}.sock\n' + rows) as proxy, Client(proxy.address) as client:
            client.ask(get(('origin.test', 80)))
            why.main(['why', '-c', proxy.path, 'http://origin.test/'])
            said = capsys.readouterr()[0]
    assert re.search(r'left out for the last \S+, tried again (?:in \S+|as soon as .+): 127\.0\.0\.1 port \d+: connection refused \(process %d\)\n' % proxy.pid, said)
    assert '\n  %s: no failure so far (process %d)\n' % (url(parent), proxy.pid) in said


def test_without_a_process_that_answers_the_states_are_not_known(asked, nobody, tmpdir):
    code, said = asked(['any ' + nobody], 'http://origin.test/', lines=['[admin]', 'listen = unix:%s/{pid}.sock' % tmpdir])
    assert code == 3 and '\n  %s: its state is not known: no geproxy answers: ' % nobody in said
