"""Log lines: their formats, no secrets and no forged lines in them; writing never waits, and dropped lines are counted."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import signal
import socket
import tty

import gevent
import pytest
from helpers import PATIENCE, Asked, connect, listening, proxying, read_all, read_until
from processes import CHECKOUT, Client, answering, folder, get, own, read, running, wait_until, write

from geproxy.compat import monotonic
from geproxy.net import supervise
from geproxy.observe import log
from geproxy.observe.formats import FIELDS
from geproxy.observe.record import Record
from geproxy.settings import loading

SOON = 3            # seconds
SECRET = b'open-sesame'


@pytest.fixture(scope='module')
def console():
    """A geproxy process with all defaults, whose standard output is read."""
    with running() as proxy:
        yield proxy


def shown(proxy, octets):
    """Send `octets` on a new connection, and return (the response, the line that was logged)."""
    seen = len(proxy.out)
    with Client(proxy.address) as client:
        client.send(octets)
        client.socket.shutdown(socket.SHUT_WR)
        answer = client.rest()
    wait_until(lambda: proxy.out[seen:].endswith(b'\n'), 'the line')
    return answer, proxy.out[seen:]


def logged(path, count):
    """Wait for that many lines in a file, and return them as native text."""
    wait_until(lambda: read(path).count(b'\n') >= count, '%d lines in %s' % (count, path))
    return read(path).decode('ascii').split('\n')[:-1]


# --- console ---------------------------------------------------------------------------------------------------------

def test_the_console_shows_time_client_method_url_status_octets_and_duration(console):
    with listening(answering()) as place:
        answer, line = shown(console, get(place, b'/a?b=c'))
    assert re.match(br'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 127\.0\.0\.1 GET http://127\.0\.0\.1:%d/a\?b=c 200 %d \d+ms\n\Z' % (
        place[1], len(answer)), line)


def test_the_console_says_why_an_exchange_failed_with_the_id_that_the_client_got(console):
    answer, line = shown(console, b'GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n\r\n')
    found = re.search(br" 502 [0-9.]+K? \d+ms connection_refused: 127\.0\.0\.1 port 9: connection refused "
                      br'\[([0-9a-f]{6}-\d+)\]\n\Z', line)
    assert found and b'\r\nrequest id: ' not in line
    assert b'\nrequest id: %s\n' % found.group(1) in answer


def test_the_console_shows_tunnels_when_they_open_and_when_they_end(console):
    def echo(sock):
        sock.sendall(sock.recv(65536))
    with listening(echo) as place, Client(console.address) as client:
        where = b'127.0.0.1:%d' % place[1]
        seen = len(console.out)
        client.send(b'CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (where, where))
        read_until(client.socket, b'\r\n\r\n')
        wait_until(lambda: console.out[seen:].endswith(b'\n'), 'the opening')
        opened = console.out[seen:]
        assert re.match(br'\S+ \S+ 127\.0\.0\.1 CONNECT %s open, to 127\.0\.0\.1\n\Z' % where, opened)
        client.send(b'12345')
        assert client.rest() == b'12345'
    seen += len(opened)
    wait_until(lambda: console.out[seen:].endswith(b'\n'), 'the end')
    assert re.match(br'\S+ \S+ 127\.0\.0\.1 CONNECT %s 200 \d+ \d+ms \(\d+ up\)\n\Z' % where, console.out[seen:])


@pytest.mark.parametrize('query, expected', [('off', b'?'), ('on', b'?token=open-sesame'), ('auto', b'?token=open-sesame')])
def test_the_opening_of_an_upgraded_connection_shows_as_much_as_its_end(query, expected, tmpdir):
    path = str(tmpdir.join('log'))

    def switch(sock):
        if read_until(sock, b'\r\n\r\n'):
            sock.sendall(b'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')
    with listening(switch) as place:
        with running('[log]\naccess = %s\nformat = console\nquery = %s\n' % (path, query)) as proxy:
            with Client(proxy.address) as client:
                client.send(get(place, b'/a?token=open-sesame', b'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
                assert read_until(client.socket, b'\r\n\r\n').startswith(b'HTTP/1.1 101 ')
            lines = logged(path, 2)
    assert [re.search(r'/a(\?\S*) (open|101)', line).groups() for line in lines] == [
        (expected.decode('ascii'), 'open'), (expected.decode('ascii'), '101')]


@contextlib.contextmanager
def terminal():
    """A pseudo-terminal: (the descriptor for a program, a function that returns what was written to it)."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    fcntl.fcntl(master, fcntl.F_SETFL, fcntl.fcntl(master, fcntl.F_GETFL) | os.O_NONBLOCK)
    seen = []

    def show():
        try:
            seen.append(os.read(master, 65536))
        except OSError:
            pass                        # nothing yet
        return b''.join(seen)
    try:
        yield slave, show
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.parametrize('more_env,colours', [({}, True), ({'NO_COLOR': '1'}, False), ({'NO_COLOR': ''}, True)])
def test_a_terminal_gets_colours_unless_NO_COLOR_says_no(more_env, colours):
    with terminal() as (slave, show), running(stdout=slave, more_env=more_env) as proxy:
        with Client(proxy.address) as client:
            client.ask(own())
        wait_until(lambda: show().endswith(b'\n'), 'the line on the terminal')
        assert (b'\x1b[' in show()) is colours
        # The day is known to who sits there.
        assert re.match(br'\d\d:\d\d:\d\d 127\.0\.0\.1 OPTIONS \S+ 200 \d+ \d+ms\n', re.sub(br'\x1b\[\d+m', b'', show()))


def test_nothing_but_a_terminal_gets_colours(console):
    assert b'\x1b' not in shown(console, own())[1]


# --- files -----------------------------------------------------------------------------------------------------------

SQUID = re.compile(
    r'(?P<time>\d{10}\.\d{3}) +(?P<ms>\d+) (?P<client>\S+) (?P<result>[A-Z_]+)/(?P<status>\d{3}) (?P<size>\d+) '
    r'(?P<method>\S+) (?P<url>\S+) (?P<user>\S+) (?P<way>[A-Z_]+)/(?P<address>\S+) (?P<type>\S+)\Z')
COMMON = re.compile(
    r'(?P<client>\S+) - - \[\d\d/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] '
    r'"(?P<method>\S+) (?P<url>\S+) (?P<version>\S+)" (?P<status>\d{3}) (?P<size>\d+)\Z')


def typed(sock):
    """An origin with a Content-Type."""
    read_until(sock, b'\r\n\r\n')
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 4\r\n\r\nfine')


def three_exchanges(place, address):
    """Send a request that succeeds, one that is denied, and a tunnel; return the response to the first."""
    with Client(address) as client:
        answer = client.ask(get(place, b'/a?token=' + SECRET))
    with Client(address) as client:
        assert client.ask(b'GET http://169.254.169.254/?x=1 HTTP/1.1\r\nHost: x\r\n\r\n').startswith(b'HTTP/1.1 403 ')
    with Client(address) as client:
        client.send(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % place[1])
        read_until(client.socket, b'\r\n\r\n')
        client.send(b'GET / HTTP/1.1\r\n\r\n')
        assert client.rest().endswith(b'fine')
    return answer


@pytest.fixture(scope='module')
def exchanges(tmpdir_factory):
    """What three exchanges leave in files: {format: lines}, with 'errors'; `origin`: host:port; `answer`: octets."""
    with listening(typed) as place, writing(tmpdir_factory.mktemp('log'), 'squid', 'common', 'json') as (paths, address):
        answer = three_exchanges(place, address)
        found = dict((path.rpartition('/')[2], logged(path, 3)) for path in paths[::2])
    found.update(errors=read(paths[1]).decode('ascii'), origin='127.0.0.1:%d' % place[1], answer=answer)
    return found


def test_a_file_gets_squids_native_format_without_query_strings(exchanges):
    found = [SQUID.match(line) for line in exchanges['squid']]
    assert all(found), exchanges['squid']
    got, denied, tunnel = [match.groupdict() for match in found]
    del got['time'], got['ms']
    assert got == dict(client='127.0.0.1', result='TCP_MISS', status='200', size=str(len(exchanges['answer'])),
                       method='GET', url='http://%s/a?' % exchanges['origin'], user='-', way='HIER_DIRECT',
                       address='127.0.0.1', type='text/html')
    assert (denied['result'], denied['status'], denied['way'], denied['address'], denied['url']) == (
        'TCP_DENIED', '403', 'HIER_NONE', '-', 'http://169.254.169.254/?')
    assert (tunnel['result'], tunnel['method'], tunnel['url']) == ('TCP_TUNNEL', 'CONNECT', exchanges['origin'])
    # Why it was denied stands in the other file, as there is no room for it in these.
    assert re.search(r'(?m)\[[0-9a-f]{6}-\d+\] 127\.0\.0\.1 GET http://169\.254\.169\.254/\? 403 '
                     r'destination_ip_prohibited: .* metadata address$', exchanges['errors'])
    assert 'open-sesame' not in exchanges['errors']


def test_the_common_format(exchanges):
    found = [COMMON.match(line).groupdict() for line in exchanges['common']]
    assert found[0] == dict(client='127.0.0.1', method='GET', url='http://%s/a?' % exchanges['origin'],
                            version='HTTP/1.1', status='200', size=str(len(exchanges['answer'])))
    assert [each['status'] for each in found] == ['200', '403', '200']


def test_the_json_format_has_the_fields_of_the_table(exchanges):
    got, denied, tunnel = [json.loads(line) for line in exchanges['json']]
    names = [field.name for field in FIELDS]
    for each in (got, denied, tunnel):
        assert set(each) <= set(names)
    assert not set(got) & set(['reason', 'message', 'user.name', 'rule', 'would_refuse'])
    assert got['url.original'] == 'http://%s/a?' % exchanges['origin']
    assert (got['http.request.method'], got['http.response.status_code'], got['http.response.bytes']) == (
        'GET', 200, len(exchanges['answer']))
    assert (got['client.ip'], got['destination.ip'], got['kept'], got['result']) == (
        '127.0.0.1', '127.0.0.1', False, 'TCP_MISS')
    assert re.match(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z', got['@timestamp'])
    assert got['event.duration'] >= 1e6 * got['first_ms'] >= 1e6 * got['connect_ms'] >= 0
    assert (denied['reason'], denied['http.response.status_code']) == ('destination_ip_prohibited', 403)
    assert tunnel['url.original'] == exchanges['origin']


def test_query_strings_are_logged_with_query_on():
    with listening(typed) as place, running('[log]\naccess = FOLDER/access.log\nquery = on\n') as proxy:
        three_exchanges(place, proxy.address)
        line = logged(proxy.folder + '/access.log', 3)[0]
        assert SQUID.match(line).group('url') == 'http://127.0.0.1:%d/a?token=open-sesame' % place[1]


def test_a_log_that_is_off_writes_nothing():
    with running('[log]\naccess = off\n') as proxy, Client(proxy.address) as client:
        client.ask(own())
        proxy.tell(signal.SIGTERM)
        proxy.wait()
        assert proxy.out == b''


# --- nothing secret, nothing forged ----------------------------------------------------------------------------------

HOST = b'Host: a.test\r\n'
WITH_CREDENTIALS = [
    b'GET http://127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'Proxy-Authorization: Basic %c\r\n\r\n',
    b'GET http://127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'Authorization: Basic %c\r\nCookie: id=%c\r\n\r\n',
    b'CONNECT 127.0.0.1:9 HTTP/1.1\r\nProxy-Authorization: Basic %c\r\n\r\n',
    # malformed field lines
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization : Basic %c\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization Basic %c\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization=%c\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization:\r\n Basic %c\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization: Basic\r\n\t%c\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization: Basic\r\n%c\r\n\r\n',        # as base64(1) breaks its lines
    b'GET / HTTP/1.1\r\n' + HOST + b'Authorization: Basic %c\x00\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Proxy-Authorization\xa0: Basic %c\r\n\r\n',
    # a field line where a request line should be: the client and we do not agree where a request ended
    b'Proxy-Authorization: Basic %c\r\n\r\n',
    b'Authorization: Basic %c\r\nHost: a.test\r\n\r\n',
    b'GET / HTTP/1.1\r\n' + HOST + b'Host: %c\r\n\r\n',
]
WITH_PASSWORDS = [      # in a target, where they must not be, but are
    b'GET http://ali-baba:%s@a.test/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%s@169.254.169.254/x#y HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%s@a@b/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%s\\@a/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%0d%s@a/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://a.test/#%s HTTP/1.1\r\n' + HOST + b'\r\n',
    b'TRACE http://ali-baba:%s@a.test/ HTTP/1.1\r\nMax-Forwards: 0\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:%s@127.0.0.1:9/ HTTP/1.1 \r\n' + HOST + b'\r\n',
    b'GET http://ali-baba:40 %s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET https://ali-baba:%s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET ali-baba:%s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http:/ali-baba:%s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'CONNECT ali-baba:%s@127.0.0.1:9 HTTP/1.1\r\n' + HOST + b'\r\n',
    b'CONNECT http://ali-baba:%s@127.0.0.1:9/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET / HTTP/1.1\r\nHost: ali-baba:%s@127.0.0.1:9\r\n\r\n',
]
WITH_TOKENS = [
    b'GET http://127.0.0.1:9/?token=%s HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://a.test/?token=%s HTTP/1.1 x\r\n\r\n',
    b'GET http://a.test/?token=%s\r\n\r\n',
    b'GET http://a.test:0/?token=%s HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET http://a.test:x?token=%s HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET ftp://a.test/?token=%s HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET http:a.test?token=%s HTTP/1.1\r\nHost: x\r\n\r\n',
    b'GET /?token=%s HTTP/1.1\r\n\r\n',
    b'CONNECT a.test?token=%s HTTP/1.1\r\nHost: x\r\n\r\n',
]


@contextlib.contextmanager
def writing(folder_, *formats):
    """A proxy in this process, with a real log in each of `formats` -> (the paths of all files, address)."""
    logs, paths = [], []
    for name in formats:
        paths += [str(folder_.join(name)), str(folder_.join(name + '.errors'))]
        logs.append(log.Log(settings('format = ' + name, 'access = ' + paths[-2], 'errors = ' + paths[-1], 'query = auto')))
    try:
        with proxying() as (address, proxy):
            for each in logs:
                proxy.server.observers.add(each)
            yield paths, address
    finally:
        for each in logs:
            each.close()


def settings(*lines):
    """The section [log] of these lines."""
    return loading.load('test.ini', ['[log]'] + list(lines)).log


def ask_all(address, requests):
    """Send each request on a connection of its own -> how many responses came to each."""
    def ask_once(octets):
        sock = connect(address)
        try:
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            # Each of our own answers has one of these; a body of theirs may quote anything else.
            return max(1, read_all(sock).count(b'\r\nProxy-Status: '))
        except socket.error:
            return 1                    # refused before all of it was sent
        finally:
            sock.close()
    clients = [gevent.spawn(ask_once, octets) for octets in requests]
    gevent.joinall(clients, timeout=PATIENCE)
    return [client.get(block=False) for client in clients]


def leaks(tmpdir, formats, requests):
    """Return those of `requests`, each with a secret in place of %s, whose secret is in the files of these formats."""
    secrets = [b'%03d-%s' % (number, SECRET) for number in range(len(requests))]
    encoded = [base64.b64encode(b'%03d-ali-baba:%s' % (number, SECRET)) for number in range(len(requests))]
    texts = [text.replace(b'%s', secret).replace(b'%c', code) for text, secret, code in zip(requests, secrets, encoded)]
    with writing(tmpdir, *formats) as (paths, address):
        ask_all(address, texts)
        for path in paths[::2]:
            wait_until(lambda: read(path).count(b'\n') >= len(texts), 'a line for each')
    # Closed by now, so that all that is to be said is there. A part of a secret, too, is none of a log's business.
    written = b''.join(read(path) for path in paths)
    return [text for text, secret, code in zip(texts, secrets, encoded)
            if secret in written or secret[:8] in written or code[:8] in written]


def test_no_credentials_are_in_any_log(tmpdir):
    shown_ = leaks(tmpdir, ('console', 'squid', 'json'), WITH_CREDENTIALS)
    assert shown_ == []


def test_no_passwords_of_targets_are_in_any_log(tmpdir):
    shown_ = leaks(tmpdir, ('console', 'squid', 'json'), WITH_PASSWORDS)
    assert shown_ == []


def test_query_strings_of_requests_that_fail_are_in_no_file_either(tmpdir):
    shown_ = leaks(tmpdir, ('squid', 'common', 'json'), WITH_TOKENS)
    assert shown_ == []


# What those who would forge a line send, in all places where something from elsewhere might reach a log.
FORGED = b'127.0.0.1 GET http://forged.test/ 200 1 1ms'
WEIRD = [b'\r\n' + FORGED, b'\n' + FORGED, b'\r' + FORGED, b'\x0b' + FORGED, b'\x0c', b'\x00', b'\x1b[31m', b'\x85' + FORGED,
         b'\xe2\x80\xa8' + FORGED, b'"', b"'", b'\\', b'" 200 1 "', b'\xff\xfe', b'\x7f', b'%0A', b'\t', b' ', b'[x-1]']


def weird_requests():
    for octets in WEIRD:
        yield b'GET http://a.test:9' + octets + b'/ HTTP/1.1\r\nHost: x\r\n\r\n'
        yield b'GET http://127.0.0.1:9/' + octets + b' HTTP/1.1\r\nHost: x\r\n\r\n'
        yield b'GET http://a' + octets + b'.test:9/ HTTP/1.1\r\nHost: x\r\n\r\n'
        yield b'CONNECT a' + octets + b'.test:9 HTTP/1.1\r\nHost: x\r\n\r\n'
        yield b'GE' + octets + b'T http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n\r\n'
        yield b'GET / HTTP/1.1\r\nHost: a' + octets + b'.test\r\n\r\n'
        yield b'GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n' + octets + b': y\r\n\r\n'
        yield b'GET http://127.0.0.1:9/ HTTP/1.1' + octets + b'\r\nHost: x\r\n\r\n'
        yield b'GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\nExpect: ' + octets + b'z\r\n\r\n'
        yield b'GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\nContent-Length: ' + octets + b'z\r\n\r\n'
        yield octets + b'GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: x\r\n\r\n'


def weird_responses():
    for octets in WEIRD:
        yield b'HTTP/1.1 200 ' + octets + b'\r\nContent-Length: 0\r\n\r\n'
        yield b'HTTP/1.1 200 OK\r\nContent-Type: text/' + octets + b'html\r\nContent-Length: 0\r\n\r\n'
        yield b'HTTP/1.1 2' + octets + b'00 OK\r\nContent-Length: 0\r\n\r\n'
        yield b'HTTP/1.1 200 OK\r\n' + octets + b': x\r\nContent-Length: 0\r\n\r\n'
        yield b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + octets + b'\r\n0\r\n\r\n'
        yield octets


STAMP = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d '
PATTERNS = {
    'console': re.compile(STAMP + r'127\.0\.0\.1 \S+ \S+ \d{3} [\d.]+K? \S+s(?: [a-z_0-9]+: .* \[[0-9a-f]{6}-\d+\])?\Z'),
    'squid': SQUID,
    'common': COMMON,
    'errors': re.compile(STAMP + r'geproxy\[(?P<pid>\d+)\] (?:stopped|stopping: waiting for \d+ connections?, at most 8 s|\d+ connections? cut off|'
                         r'\[[0-9a-f]{6}-\d+\] 127\.0\.0\.1 \S+ \S+ \d{3} [a-z_0-9]+: .*)\Z'),
}


def check_plain(path):
    """Check that all lines of a file are printable ASCII and of their format, and return them."""
    lines = read(path).split(b'\n')
    assert lines.pop() == b''
    pattern = PATTERNS.get(path.rpartition('.')[2].rpartition('/')[2])
    for line in lines:
        assert re.match(br'[\x20-\x7e]+\Z', line), line
        assert not line.startswith(FORGED)
        if pattern is None:
            json.loads(line.decode('ascii'))
        else:
            match = pattern.match(line.decode('ascii'))
            assert match and match.groupdict().get('pid') in (None, str(os.getpid())), line
    return lines


def test_no_request_forges_a_line(tmpdir):
    requests = list(weird_requests())
    with writing(tmpdir, 'console', 'squid', 'common', 'json') as (paths, address):
        # One for each, but for those that are two requests, the second of which begins with FORGED.
        expected = sum(ask_all(address, requests))
        for path in paths[::2]:
            wait_until(lambda: read(path).count(b'\n') >= expected, 'a line for each')
    assert set(len(check_plain(path)) for path in paths[::2]) == set([expected])
    for path in paths[1::2]:
        check_plain(path)


def test_no_response_forges_a_line(tmpdir):
    answers = list(weird_responses())

    def handle(sock):
        head = read_until(sock, b'\r\n\r\n')
        sock.sendall(answers[int(re.match(br'GET /(\d+)', head).group(1))])
    with listening(handle) as place, writing(tmpdir, 'console', 'squid', 'common', 'json') as (paths, address):
        ask_all(address, [get(place, b'/%d' % number) for number in range(len(answers))])
        for path in paths[::2]:
            wait_until(lambda: read(path).count(b'\n') >= len(answers), 'a line for each')
    assert [len(check_plain(path)) for path in paths[::2]] == [len(answers)] * 4
    for path in paths[1::2]:
        check_plain(path)


# --- nobody waits for a log, and no line is lost unsaid --------------------------------------------------------------

@contextlib.contextmanager
def fifo():
    """A named pipe, the reading end of which is open, but not read -> (path, the reading end)."""
    with folder() as here:
        path = os.path.join(here, 'pipe')
        os.mkfifo(path)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield path, fd
        finally:
            os.close(fd)


def drained(fd, over):
    """Read from a pipe until `over(octets)` -> the octets."""
    data = []

    def step():
        try:
            data.append(os.read(fd, 65536))
        except OSError:
            pass                        # nothing yet
        return over(b''.join(data))
    wait_until(step, 'the pipe to say it')
    return b''.join(data)


def test_writing_a_line_never_waits_and_dropped_lines_are_counted():
    many = log.QUEUE + 5000
    with fifo() as (path, fd):
        writer = log.Writer(path)
        began = monotonic()
        for number in range(many):
            writer.write('line %d' % number)
        assert monotonic() - began < SOON
        dropped = writer.dropped
        assert 0 < dropped <= 5000
        data = drained(fd, lambda data: len(re.findall(br'(?m)^line \d+$', data)) >= many - dropped)
        lines = [int(number) for number in re.findall(br'(?m)^line (\d+)$', data)]
        # In their order. Which ones were dropped depends on when the thread that writes has come to run.
        assert lines == sorted(set(lines)) and len(lines) == many - dropped
        assert lines[:log.QUEUE] == list(range(log.QUEUE))
        # And it goes on.
        writer.write('one more')
        drained(fd, lambda data: data.endswith(b'one more\n'))
        writer.close(SOON)
        assert writer.dropped == dropped


def test_closing_a_stuck_log_takes_no_longer_than_its_limit():
    with fifo() as (path, _fd):
        writer = log.Writer(path)
        for _ in range(5000):
            writer.write('x' * 100)
        began = monotonic()
        writer.close(0.2)
        assert 0.1 < monotonic() - began < SOON


def test_closing_a_log_writes_the_queued_lines(tmpdir):
    path = str(tmpdir.join('log'))
    writer = log.Writer(path)
    for number in range(3000):
        writer.write('line %d' % number)
    writer.close(PATIENCE)
    assert read(path) == b''.join(b'line %d\n' % number for number in range(3000))


def test_the_memory_of_a_stuck_log_is_bounded():
    with fifo() as (path, fd):
        writer = log.Writer(path)
        line = 'x' * 64000              # a URL may be that long
        for _ in range(log.QUEUE // 2):
            writer.write(line)
        queued = log.QUEUE // 2 - writer.dropped
        assert queued * len(line) < 64 * 1024 * 1024


def test_after_a_full_disk_the_log_says_how_many_lines_were_dropped(tmpdir):
    room = 4000
    said_pattern = br'(\d+) log lines? dropped: '

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    with running('[log]\naccess = FOLDER/access.log\nformat = json\n', preexec_fn=limit) as proxy:
        path = os.path.join(proxy.folder, 'access.log')
        asked = 60
        with Client(proxy.address) as client:
            for _ in range(asked):
                assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            proxy.wait_for(said_pattern + b'the disk is full, or nobody reads the pipe\n')
            os.rename(path, path + '.1')
            proxy.tell(signal.SIGUSR1)
            wait_until(lambda: os.path.exists(path), 'a log with room')
            for _ in range(3):
                client.ask(own())
        proxy.tell(signal.SIGTERM)
        assert proxy.wait() == 0
        whole = [line for each in (path + '.1', path) for line in read(each).split(b'\n')[:-1]]
        dropped = sum(int(number) for number in re.findall(said_pattern, proxy.err))
        assert len(read(path + '.1')) <= room
        assert sum(b'"@timestamp"' in line for line in whole) + dropped == asked + 3
        for line in whole:
            json.loads(line.decode('ascii'))


def test_a_pipe_without_a_reader_delays_no_response_and_dropped_lines_are_counted():
    reading, writing_ = os.pipe()
    try:
        with running(stdout=writing_) as proxy:
            os.close(writing_)
            writing_ = None
            asked = log.QUEUE + 4000
            began = monotonic()
            with Client(proxy.address) as client:
                sending = gevent.spawn(client.send, own() * asked)
                seen, tail, mark = 0, b'', b'HTTP/1.1 200 '
                while seen < asked:
                    piece = client.socket.recv(65536)
                    assert piece, 'no more after %d responses' % seen
                    seen += (tail + piece).count(mark)
                    tail = (tail + piece)[1 - len(mark):]
                sending.get()
            assert monotonic() - began < PATIENCE
            # Said at once on standard error; and whoever reads at last misses as many lines as that, and no more.
            fcntl.fcntl(reading, fcntl.F_SETFL, os.O_NONBLOCK)
            accounted = re.compile(br'(?m) (\d+) log lines? dropped: the disk is full, or nobody reads the pipe$')
            data = drained(reading, lambda data: data.endswith(b'\n') and data.count(b' OPTIONS ') + sum(
                int(number) for number in accounted.findall(proxy.err)) >= asked)
            dropped = sum(int(number) for number in accounted.findall(proxy.err))
            assert dropped and data.count(b' OPTIONS ') + dropped == asked
            proxy.tell(signal.SIGTERM)
            assert proxy.wait() == 0
    finally:
        os.close(reading)
        if writing_ is not None:
            os.close(writing_)


def test_a_stuck_standard_output_does_not_keep_the_process_from_stopping():
    reading, writing_ = os.pipe()
    try:
        with running(stdout=writing_) as proxy:
            with Client(proxy.address) as client:
                client.send(own() * 2000 + own().replace(b'\r\nMax', b'\r\nConnection: close\r\nMax'))
                assert client.rest().count(b'HTTP/1.1 200 ') == 2001
            proxy.tell(signal.SIGTERM)
            assert proxy.wait(SOON) == 0
    finally:
        os.close(reading)
        os.close(writing_)


def test_a_standard_output_without_a_reader_stops_nothing():
    reading, writing_ = os.pipe()
    try:
        with running(stdout=writing_) as proxy:
            os.close(reading)
            reading = None
            with Client(proxy.address) as client:
                for _ in range(3):
                    assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
                proxy.wait_for(br' [1-3] log lines? dropped: ')
                assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
            assert b'Traceback' not in proxy.err
    finally:
        os.close(writing_)
        if reading is not None:
            os.close(reading)


@pytest.mark.parametrize('closed', ['>&-', '<&- >&-'])
def test_a_closed_standard_output_is_not_replaced_by_another_file(closed):
    # Descriptor 1 would go to whatever is opened first, as a listener or the client of that moment, and get the lines.
    if not os.path.isdir('/proc/self/fd'):
        pytest.skip('no /proc/self/fd here: what descriptor 1 is cannot be seen')
    by = ['/bin/sh', '-c', 'exec "$@" ' + closed, 'sh']
    with listening(answering()) as place, running(by=by) as proxy, Client(proxy.address) as client:
        for _ in range(3):
            assert client.ask(get(place)).endswith(b'\r\n\r\nfine')
        path = '/proc/%d/fd/1' % proxy.pid
        assert not os.path.lexists(path) or os.readlink(path) == os.devnull
        proxy.tell(signal.SIGTERM)
        assert proxy.wait() == 0
        assert b'Traceback' not in proxy.err


def test_a_log_that_cannot_be_reopened_is_reported_and_its_lines_go_to_the_old_file():
    with running('[log]\naccess = FOLDER/logs/access.log\n', make='logs') as proxy, Client(proxy.address) as client:
        path = os.path.join(proxy.folder, 'logs', 'access.log')
        os.rename(path, path + '.1')
        os.mkdir(path)
        proxy.tell(signal.SIGUSR1)
        proxy.wait_for(br"cannot reopen the log '\S+/access\.log': Is a directory; its lines still go to the old file\n")
        client.ask(own())
        assert len(logged(path + '.1', 1)) == 1


# --- settings --------------------------------------------------------------------------------------------------------

def opened(path):
    """How many descriptors of this process are of that file."""
    found = 0
    for fd in os.listdir('/proc/self/fd'):
        try:
            found += os.readlink('/proc/self/fd/' + fd) == path
        except OSError:
            pass                        # that of the listing itself
    return found


def test_one_file_for_both_logs_is_opened_once(tmpdir):
    path = str(tmpdir.join('log'))
    both = log.Log(settings('access = ' + path, 'errors = ' + path))
    assert opened(path) == 1
    both.say('one')
    both.say('two\nthree')
    both.close()
    lines = read(path).decode('ascii').split('\n')
    assert [re.sub(r'\A\S+ \S+ geproxy\[\d+\] ', '', line) for line in lines] == ['one', 'two', 'three', '']


def test_a_log_that_cannot_be_opened_leaves_nothing_open(tmpdir):
    path = str(tmpdir.join('log'))
    with pytest.raises(EnvironmentError):
        log.Log(settings('access = ' + path, 'errors = /nowhere/at/all'))
    wait_until(lambda: not opened(path), 'the file to be closed')


def test_a_change_of_settings_keeps_files_that_are_still_used_and_closes_the_others(tmpdir):
    one, two = str(tmpdir.join('one')), str(tmpdir.join('two'))
    both = log.Log(settings('access = ' + one, 'errors = ' + one))
    both.say('a')
    both.change(settings('access = ' + one, 'errors = ' + two))
    both.say('b')
    assert (opened(one), opened(two)) == (1, 1)
    both.change(settings('access = off', 'errors = ' + one))
    both.say('c')
    both.close()
    wait_until(lambda: not opened(one) and not opened(two), 'both files to be closed')
    assert [line[-1:] for line in read(one).split(b'\n')] == [b'a', b'c', b'']
    assert [line[-1:] for line in read(two).split(b'\n')] == [b'b', b'']


def test_a_log_file_can_be_read_by_its_owner_and_group_only(tmpdir):
    path = str(tmpdir.join('log'))
    log.Writer(path).close(SOON)
    assert os.stat(path).st_mode & 0o777 & 0o027 == 0


def test_fail2ban_finds_the_address_of_a_client_that_guesses(tmpdir):
    manual = read(os.path.join(CHECKOUT, 'geproxy', 'manual', 'users.md')).decode('utf-8')
    pattern = re.search(r'(?m)^failregex = (.*)$', manual).group(1).rstrip().replace('<HOST>', r'(?P<host>\S+)')
    made = Record('192.0.2.7')
    made.request, made.status, made.reason = Asked(b'GET', b'http://a/', b'HTTP/1.1'), 407, 'login_failed'
    made.message = "log-in as 'bob 10.0.0.1 GET / 407 login_failed: x' failed"
    paths = str(tmpdir.join('access')), str(tmpdir.join('errors'))
    both = log.Log(settings('access = ' + paths[0], 'errors = ' + paths[1], 'format = squid'))
    both.ended(made)
    both.close()
    line = read(paths[1]).decode('ascii').partition(' ')[2].partition(' ')[2]       # fail2ban takes the time away
    assert re.search(pattern, line).group('host') == '192.0.2.7'
    line = 'myhost geproxy[5]: ' + line.partition('] ')[2]              # as it shows the journal, and syslog
    assert re.search(pattern, line).group('host') == '192.0.2.7'


def test_a_thread_that_failed_goes_on_and_counts_the_lost_lines(tmpdir, monkeypatch):
    monkeypatch.setattr(supervise, 'PAUSE', 0.001)
    path = str(tmpdir.join('one'))
    kept = log.Log(settings('access = off', 'errors = ' + path))
    writer, = kept._writers.values()
    writer._lines.append(7)                             # as any bug would be: this is no line
    kept.say('a')
    wait_until(lambda: kept.dropped(), 'the failure')
    kept.say('b')
    assert logged(path, 1)[-1].endswith(' b')
    assert [text.split('\n')[0] for text in kept.troubles()] == ['the log failed, and goes on; please report this:']
    kept.close()


def test_a_connect_that_opened_no_tunnel_is_logged_as_a_get_would_be(tmpdir):
    with listening(typed) as closed:
        pass
    with writing(tmpdir, 'squid') as (paths, address):
        for target in (b'169.254.169.254:443', b'127.0.0.1:%d' % closed[1]):
            with Client(address) as client:
                client.ask(b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % target)
        found = [SQUID.match(line).groupdict() for line in logged(paths[0], 2)]
    assert [(line['result'], line['status'], line['way']) for line in found] == [
        ('TCP_DENIED', '403', 'HIER_NONE'), ('NONE_NONE', '502', 'HIER_NONE')]


@pytest.mark.parametrize('journal', [True, False])
def test_lines_to_the_journal_have_no_time_and_process_of_their_own(journal, tmpdir, monkeypatch):
    path = str(tmpdir.join('journal'))
    write(path, b'')
    found, kept, out = os.stat(path), os.dup(2), os.dup(1)
    monkeypatch.setenv('JOURNAL_STREAM', '%d:%d' % (found.st_dev, found.st_ino + (not journal)))
    stream = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.dup2(stream, 2)
        os.dup2(stream, 1)
        both = log.Log(settings('access = -', 'errors = -'))
        both.say('a word')
        both.ended(Record('192.0.2.7'))
        both.close()
    finally:
        os.dup2(kept, 2)
        os.dup2(out, 1)
        for fd in (stream, kept, out):
            os.close(fd)
    lines = sorted(read(path).decode('ascii').splitlines())
    assert len(lines) == 2
    assert [bool(re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ', line)) for line in lines] == [not journal] * 2
    assert ('a word' in lines) == journal
