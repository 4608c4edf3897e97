"""Requests on their way to the origin: heads, bodies, kept connections, retries, limits. Real sockets."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import hashlib
import re
import socket
import struct

import gevent
import pytest
from gevent.event import Event

from geproxy.compat import monotonic
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import run
from test_conversation import get, nothing, saying, split, text_of

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


def answering(octets, seen=None, close=True):
    """An origin that answers the first request of each connection with `octets`."""
    def handle(sock):
        head = read_until(sock, b'\r\n\r\n')
        if seen is not None:
            seen.append(head)
        sock.sendall(octets)
        if not close:
            read_all(sock)
    return handle


ESTABLISHED = 1         # see tcp(7), TCP_INFO


def state_of(sock):
    """The state of a TCP connection, as Linux numbers them."""
    return struct.unpack('B', sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))[0]


def reset(sock):
    """Have the close of `sock` be a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))


# --- heads ---------------------------------------------------------------------------------------------------------

def test_fields_keep_order_case_duplicates_and_octets():
    seen = []
    with listening(answering(b'HTTP/1.1 200 Fine\r\nX-b: 1\r\nX-A: \xe9\r\nDate: now\r\nX-b: 2\r\n'
                             b'Content-Length: 0\r\n\r\n', seen)) as origin, proxying('[proxy]\nname = me') as (at, _):
        shown = ask(at, get(origin, more=b'x-B: one\r\nAccept:  a \xff\tb  \r\nX-b: two\r\nx-B: one\r\n'))
        assert seen[0] == (b'GET / HTTP/1.1\r\nHost: %s\r\nx-B: one\r\nAccept: a \xff\tb\r\nX-b: two\r\nx-B: one\r\n'
                           b'Via: 1.1 me\r\n\r\n' % text_of(origin))
        assert shown == (b'HTTP/1.1 200 Fine\r\nX-b: 1\r\nX-A: \xe9\r\nDate: now\r\nX-b: 2\r\nContent-Length: 0\r\n'
                         b'Via: 1.1 me\r\n\r\n')


def test_hop_by_hop_fields_are_not_passed_on():
    seen = []
    with listening(answering(b'HTTP/1.1 200 OK\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2\r\n'
                             b'Proxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok', seen)) as origin:
        with proxying() as (address, _proxy):
            _status, fields, _body = split(ask(address, get(origin, more=(
                b'Connection: X-Mine, Keep-Alive, content-length, host\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n'
                b'Proxy-Connection: x\r\nProxy-Authorization: Basic c2VjcmV0\r\nUpgrade: h2c\r\nX-Other: 1\r\n'))))
            sent = seen[0].lower()
            assert b'\r\nhost: ' in sent and b'\r\nx-other: 1\r\n' in sent
            for name in (b'connection', b'x-mine', b'keep-alive', b'te', b'proxy-authorization', b'upgrade'):
                assert b'\r\n' + name + b':' not in sent
            assert not set(fields) & set([b'x-hop', b'keep-alive', b'upgrade', b'proxy-authenticate', b'connection'])


def test_connection_cannot_remove_framing_fields():
    seen = []

    def handle(sock):
        seen.append(read_until(sock, b'hello'))
        sock.sendall(OK)
    with listening(handle) as origin, proxying() as (address, _proxy):
        ask(address, get(origin, method=b'POST', more=b'Connection: Content-Length\r\nContent-Length: 5\r\n') + b'hello')
        assert b'\r\nContent-Length: 5\r\n' in seen[0]


# --- framing of responses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize('more, passed', [
    ('', b'X-Forwarded-For: 1\r\nX-Secret: 2\r\nx-real-ip: 3\r\nX-Sum: 4\r\n'),
    ('[proxy]\nforwarded = add\n', b'X-Secret: 2\r\nx-real-ip: 3\r\nX-Sum: 4\r\n'),
    ('[proxy]\nforwarded = strip\n', b'X-Secret: 2\r\nX-Sum: 4\r\n'),
    ('[access]\nrules = allow any any strip X-Secret,X-Real-IP\n', b'X-Forwarded-For: 1\r\nX-Sum: 4\r\n'),
    ('[access]\nrules = allow any any set X-Secret=mine\n', b'X-Forwarded-For: 1\r\nx-real-ip: 3\r\nX-Sum: 4\r\n'),
])
def test_a_field_that_policy_removes_or_sets_does_not_come_as_a_trailer(more, passed):
    seen = []

    def handle(sock):
        seen.append(read_until(sock, b'X-Sum: 4\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    with listening(handle) as origin, proxying(more) as (address, _proxy):
        head = get(origin, more=b'Transfer-Encoding: chunked\r\n', method=b'POST')
        trailers = b'X-Forwarded-For: 1\r\nX-Secret: 2\r\nx-real-ip: 3\r\nX-Sum: 4\r\n'
        assert ask(address, head + b'1\r\na\r\n0\r\n' + trailers + b'\r\n')[9:12] == b'200'
        assert seen[0].endswith(b'1\r\na\r\n0\r\n' + passed + b'\r\n')


# --- origins that die ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('response, reason', [
    (b'', 'connection_terminated'),
    (b'HTTP/1.1 200 OK\r\nCont', 'http_response_incomplete'),
])
def test_an_origin_that_dies_before_its_head_is_502(response, reason):
    with listening(answering(response)) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin))[9:12] == b'502'
        assert proxy.wait()[0].reason == reason


@pytest.mark.parametrize('method', [b'GET', b'CONNECT'])
def test_no_connection_is_left_if_the_address_cannot_be_judged_once_it_is_connected(method):
    with listening(lambda sock: read_all(sock)) as origin, proxying('[access]\nrules =\n    allow any 127.0.0.1 rate 10m\n    allow any any\n') as (
            address, proxy):
        proxy.server.proxy._taken = None        # a bug: the pace that the rule asks for cannot be made
        octets = get(origin) if method == b'GET' else b'CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n' % text_of(origin)
        assert ask(address, octets.replace(b'127.0.0.1', b'localhost'))[9:12] == b'500'
        assert proxy.wait()[0].reason == 'proxy_internal_error'
        pool = proxy.server._upstream
        proxy.wait_until(lambda: not proxy.server.live)
        assert pool.connections == pool.kept == 0


# --- connections that are logged in --------------------------------------------------------------------------------

class Accounts(object):
    """An origin that logs in connections, as NTLM has it: the first message gets a challenge, the second is a name. It
    says who a connection's requests are from, and does not ask again."""

    def __init__(self, offers=(b'NTLM',)):
        self.offers = offers            # lines of WWW-Authenticate
        self.requests = []              # (number of the connection, method, path, as whom)
        self.connections = 0
        self.dying = 0                  # so many connections end when their next request is there

    def __call__(self, sock):
        self.connections += 1
        number, who, challenged, rest = self.connections, None, False, b''
        while True:
            head = rest + read_until(sock, b'\r\n\r\n')
            if not head:
                return
            if self.dying:
                self.dying -= 1
                return
            head, _end, rest = head.partition(b'\r\n\r\n')
            method, path = head.split(b' ')[:2]
            length = re.search(br'(?i)\r\ncontent-length: (\d+)', head)
            left = int(length.group(1)) if length else 0
            while left > len(rest):
                rest += sock.recv(left - len(rest))
            rest = rest[left:]
            said = re.search(br'(?i)\r\nauthorization: *(\S+) (\S+)', head)
            if said and said.group(2) != b'hello' and challenged:
                who = said.group(2)
            self.requests.append((number, method, path, who))
            if who:
                sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(who), who))
                continue
            challenged = said is not None and said.group(2) == b'hello'
            offers = [said.group(1) + b' challenge'] if challenged else self.offers
            sock.sendall(b'HTTP/1.1 401 Who?\r\nContent-Length: 4\r\n%s\r\nwho?' % b''.join(
                b'WWW-Authenticate: %s\r\n' % offer for offer in offers))


def log_in(client, origin, name, scheme=b'NTLM', method=b'GET', body=b''):
    """Do it on that connection -> the last response."""
    for message in (b'hello', name):
        more = b'Authorization: %s %s\r\n' % (scheme, message)
        octets = body if message == name else b''
        if method == b'POST':
            more += b'Content-Length: %d\r\n' % len(octets)
        client.sendall(get(origin, method=method, more=more) + octets)
        shown = read_until(client, b'who?' if message == b'hello' else name)
    return shown


@pytest.mark.parametrize('scheme', [b'NTLM', b'ntlm', b'Negotiate', b'Kerberos', b'CredSSP'])
def test_a_connection_that_is_logged_in_serves_its_client_only(scheme):
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, proxy):
        with contextlib.closing(connect(address)) as first, contextlib.closing(connect(address)) as second:
            assert log_in(first, origin, b'joe', scheme).endswith(b'joe')
            assert ask(address, get(origin)).endswith(b'who?')          # a stranger is one
            assert log_in(second, origin, b'ann', scheme).endswith(b'ann')
            for client, name in ((first, b'joe'), (second, b'ann')) * 2:
                for method, more in ((b'GET', b''), (b'POST', b'Content-Length: 2\r\n')):
                    client.sendall(get(origin, method=method, more=more) + b'hi' * (method == b'POST'))
                    assert read_until(client, name).endswith(name)
        proxy.wait_until(lambda: not proxy.server._upstream.kept)
        assert ask(address, get(origin)).endswith(b'who?')


def test_log_ins_at_the_same_time_are_not_mixed_up():
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, _proxy):
        clients = dict((b'user%d' % number, connect(address)) for number in range(8))
        asking = [gevent.spawn(log_in, client, origin, name) for name, client in clients.items()]
        assert [each.get(timeout=PATIENCE).rpartition(b'\n')[2] for each in asking] == list(clients)
        for client in clients.values():
            client.close()


def test_a_post_logs_in_by_the_connection_that_was_challenged():
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, _proxy):
        with contextlib.closing(connect(address)) as client:
            assert log_in(client, origin, b'joe', method=b'POST', body=b'much').endswith(b'joe')
        assert [request[0] for request in accounts.requests] == [1, 1]


@pytest.mark.parametrize('offers', [
    [b'NTLM'], [b'Negotiate', b'Basic realm="x"'], [b'Basic realm="a, b", NTLM'], [b'Digest realm="x",nEgotiate abc=='],
    [b'Basic realm="x" ,\tNTLM'],
])
def test_a_connection_on_which_a_log_in_was_offered_serves_its_client_only(offers):
    accounts = Accounts(offers)
    with listening(accounts) as origin, proxying() as (address, proxy):
        with contextlib.closing(connect(address)) as client:
            client.sendall(get(origin))
            shown = read_until(client, b'who?')
            assert b'\r\nProxy-Support: Session-Based-Authentication\r\n' in shown
            assert b'\r\nConnection: Proxy-Support\r\n' in shown
            assert ask(address, get(origin)).endswith(b'who?')
            assert [request[0] for request in accounts.requests] == [1, 2]
            client.sendall(get(origin, method=b'POST'))
            read_until(client, b'who?')
            assert accounts.requests[-1][0] == 1


@pytest.mark.parametrize('more, offers', [
    (b'Authorization: Basic bnRsbTpudGxt\r\n', [b'Basic realm="NTLM"', b'Bearer error=ntlm']),
    (b'X-Authorization: NTLM x\r\n', [b'Digest negotiate="yes"']),
])
def test_a_connection_is_shared_after_a_log_in_of_single_requests(more, offers):
    accounts = Accounts(offers)
    with listening(accounts) as origin, proxying() as (address, proxy):
        for _ in range(3):
            assert ask(address, get(origin, more=more)).endswith(b'who?')
        assert accounts.connections == 1
        assert [record.kept for record in proxy.wait(3)] == [False, True, True]


def test_a_post_on_a_connection_that_is_logged_in_and_dies_is_never_sent_twice():
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, proxy):
        with contextlib.closing(connect(address)) as client:
            log_in(client, origin, b'joe')
            accounts.dying = 1
            client.sendall(get(origin, method=b'POST', more=b'Content-Length: 2\r\n') + b'hi')
            assert read_until(client, b'\r\n\r\n')[9:12] == b'502'
            assert accounts.connections == 1
            assert proxy.wait(3)[2].kept


def test_a_get_on_a_logged_in_connection_that_dies_is_sent_again():
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, proxy):
        with contextlib.closing(connect(address)) as client:
            log_in(client, origin, b'joe')
            accounts.dying = 1
            client.sendall(get(origin))
            assert read_until(client, b'who?').endswith(b'who?')
            assert accounts.connections == 2


@pytest.mark.parametrize('end', ['kill', 'drain'])
def test_connections_that_are_logged_in_end_with_their_client_however_it_ends(end):
    accounts = Accounts()
    with listening(accounts) as origin, proxying() as (address, proxy):
        with contextlib.closing(connect(address)) as client:
            log_in(client, origin, b'joe')
            upstream = proxy.server._upstream
            assert upstream.kept == 1
            if end == 'kill':
                for greenlet in list(proxy.server.live.values()):
                    greenlet.kill()
            else:
                proxy.server.proxy.timeouts = proxy.server.proxy.timeouts._replace(drain=0.01)
                proxy.server.drain()
            assert upstream.kept == upstream.connections == 0


def ntlm(sock):
    """An origin that logs in connections by real NTLM messages, and believes every name; POST must log in, too."""
    who, rest = b'', b''
    while True:
        head = rest + read_until(sock, b'\r\n\r\n')
        if not head:
            return
        head, _end, rest = head.partition(b'\r\n\r\n')
        length = re.search(br'(?i)\r\ncontent-length: (\d+)', head)
        while length and len(rest) < int(length.group(1)):
            rest += sock.recv(65536)
        rest = rest[int(length.group(1)):] if length else rest
        said = re.search(br'(?i)\r\nauthorization: ntlm (\S+)', head)
        message = base64.b64decode(said.group(1)) if said else b''
        offer = b'NTLM'
        if message[8:9] == b'\1':
            challenge = struct.pack('<8sIHHIIQQHHI', b'NTLMSSP', 2, 0, 0, 48, 0x201, 1, 0, 0, 0, 48)
            offer += b' ' + base64.b64encode(challenge)
        elif message[8:9] == b'\3':
            size, _room, at = struct.unpack('<HHI', message[36:44])
            who = message[at:at + size].replace(b'\0', b'')
        page = b'page of ' + who if who else b'who?'
        sock.sendall(b'HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s' % (
            b'200 OK' if who else b'401 Who?\r\nWWW-Authenticate: ' + offer, len(page), page))


def curl(address, origin, *options):
    """What curl prints, asking for a page through the proxy."""
    done = run(['curl', '-q', '-sS', '-x', 'http://%s:%d' % address, 'http://%s:%d/' % origin] + list(options))
    assert done.popen.returncode == 0, done.err
    return done.out


def test_curl_logs_in_by_ntlm_for_itself_only():
    try:
        features = run(['curl', '-V']).out
    except OSError:
        features = b''
    if b' NTLM ' not in features:
        pytest.skip('no curl with NTLM')
    with listening(ntlm) as origin, proxying() as (address, _proxy):
        for options in ([], ['-d', 'a body that is sent twice']):
            assert curl(address, origin, '--ntlm', '-u', 'user1:secret', *options) == b'page of user1'
            assert curl(address, origin) == b'who?'
        asking = [gevent.spawn(curl, address, origin, '--ntlm', '-u', 'user%d:secret' % number) for number in range(4)]
        assert [each.get(timeout=PATIENCE) for each in asking] == [b'page of user%d' % number for number in range(4)]


# --- kept connections ----------------------------------------------------------------------------------------------

def test_kept_connections_are_shared_by_all_clients():
    seen = []
    with listening(saying(b'ok', seen)) as origin, proxying() as (address, proxy):
        for _ in range(3):
            assert ask(address, get(origin)).endswith(b'ok')
        assert [record.kept for record in proxy.wait(3)] == [False, True, True]
        # Nothing was looked up or connected for those that it served later.
        assert [None in record.took for record in proxy.records] == [False, True, True]


def test_the_client_does_not_notice_that_a_kept_connection_was_dead():
    requests = []

    def once(sock):
        requests.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(OK)
        read_until(sock, b'\r\n\r\n')           # the second request of a connection is met by a close
    with listening(once) as origin, proxying() as (address, proxy):
        for method in (b'GET', b'GET', b'HEAD', b'DELETE'):
            assert ask(address, get(origin, method=method))[9:12] == b'200'
        assert [record.kept for record in proxy.wait(4)] == [False] * 4
        assert len(requests) == 4


def unread(sock):
    """An origin that does not read request bodies, as Python's http.server in HTTP/1.1 does not: it answers each request
    with its path."""
    buffer = b''
    while True:
        while b'\r\n\r\n' not in buffer:
            piece = sock.recv(65536)
            if not piece:
                return
            buffer += piece
        head, _end, buffer = buffer.partition(b'\r\n\r\n')
        path = head.split(b' ')[1]
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(path), path))


@pytest.mark.parametrize('method', [b'GET', b'POST', b'PUT'])
def test_a_request_body_that_its_origin_does_not_read_is_never_taken_for_a_request(method):
    body = b'GET /evil HTTP/1.1\r\nX-Rest: '        # which the request line of somebody else would complete
    more = b'Content-Length: %d\r\n' % len(body)
    with listening(unread) as origin, proxying() as (address, proxy):
        for _ in range(3):
            assert ask(address, get(origin, path=b'/good', method=method, more=more) + body).endswith(b'/good')
            assert ask(address, get(origin, path=b'/bank')).endswith(b'/bank')
        # The client's own next request is not answered by it either.
        with contextlib.closing(connect(address)) as client:
            client.sendall(get(origin, path=b'/good', method=method, more=more) + body)
            assert read_until(client, b'/good').endswith(b'/good')
            client.sendall(get(origin, path=b'/bank'))
            assert read_until(client, b'/bank').endswith(b'/bank')


def test_a_connection_is_shared_after_an_empty_body():
    with listening(saying(b'ok', [])) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin, method=b'POST', more=b'Content-Length: 0\r\n')).endswith(b'ok')
        assert ask(address, get(origin)).endswith(b'ok')
        assert [record.kept for record in proxy.wait(2)] == [False, True]


@pytest.mark.parametrize('method, more, body', [
    (b'POST', b'Content-Length: 2\r\n', b'hi'), (b'POST', b'', b''), (b'PUT', b'Content-Length: 2\r\n', b'hi'),
    (b'PATCH', b'Transfer-Encoding: chunked\r\n', b'2\r\nhi\r\n0\r\n\r\n'),
])
def test_a_request_that_is_not_safe_to_repeat_is_never_sent_twice(method, more, body):
    methods = []

    def handle(sock):
        for _ in range(2):
            head = read_until(sock, b'\r\n\r\n')
            if not head:
                return
            methods.append(head.split(b' ')[0])
            if methods[-1] != b'GET':
                return                          # dies with it
            sock.sendall(OK)
    with listening(handle) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin))[9:12] == b'200'
        assert ask(address, get(origin, method=method, more=more) + body)[9:12] == b'502'
        assert methods == [b'GET', method]


def test_a_response_without_a_request_goes_to_no_client():
    unasked, sent = Event(), Event()

    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(OK)
        if not sent.is_set():
            assert unasked.wait(PATIENCE)
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged')
            sent.set()
            read_all(sock)
    with listening(handle) as origin, proxying() as (address, proxy):
        assert ask(address, get(origin)).endswith(b'ok')
        unasked.set()
        assert sent.wait(PATIENCE)
        assert ask(address, get(origin)).endswith(b'ok')
        assert [record.kept for record in proxy.wait(2)] == [False, False]


# --- request bodies ------------------------------------------------------------------------------------------------

def storing(stored):
    """An origin that stores one request, head and body, and answers."""
    def handle(sock):
        head, _end, body = read_until(sock, b'\r\n\r\n').partition(b'\r\n\r\n')
        if b'Content-Length: ' in head:
            size = int(head.split(b'Content-Length: ')[1].split(b'\r\n')[0])
            while len(body) < size:
                body += sock.recv(1 << 20)
        else:
            while not (b'\r\n0\r\n' in body and body.endswith(b'\r\n\r\n')):
                body += sock.recv(1 << 20)
        stored.append((head, body))
        sock.sendall(OK)
    return handle


def test_an_upload_arrives_whole_with_its_length():
    stored, body = [], bytes(bytearray(range(256))) * 12000
    with listening(storing(stored)) as origin, proxying() as (address, proxy):
        shown = ask(address, get(origin, method=b'PUT', more=b'Content-Length: %d\r\n' % len(body)) + body)
        assert shown.startswith(b'HTTP/1.1 200 OK\r\n') and shown.endswith(b'\r\n\r\nok')
        assert hashlib.sha1(stored[0][1]).digest() == hashlib.sha1(body).digest()
        assert proxy.wait()[0].received > len(body)


@pytest.mark.parametrize('size', [1, 2, 7, 1000])
def test_a_chunked_upload_is_checked_and_written_anew(size):
    stored = []
    body = b'5;a=b\r\nhello\r\n1\r\n,\r\n6;x="\\"\xff"\r\n world\r\n0\r\nT: 1\r\nContent-Length: 3\r\n\r\n'
    with listening(storing(stored)) as origin, proxying() as (address, _proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'POST', more=b'Transfer-Encoding: chunked\r\n'))
        for at in range(0, len(body), size):
            client.sendall(body[at:at + size])
            gevent.sleep(0)
        assert read_until(client, b'ok').endswith(b'ok')
        client.close()
        head, body = stored[0]
        assert b'\r\nTransfer-Encoding: chunked\r\n' in head + b'\r\n' and b'Content-Length' not in head
        content, rest = b'', body
        while not rest.startswith(b'0\r\n'):
            digits, _crlf, rest = rest.partition(b'\r\n')
            content, rest = content + rest[:int(digits, 16)], rest[int(digits, 16) + 2:]
        assert content == b'hello, world' and rest == b'0\r\nT: 1\r\n\r\n'


def test_a_broken_chunk_of_a_request_is_400_and_the_origin_never_sees_an_end():
    got = []
    with listening(lambda sock: got.append(read_all(sock))) as origin, proxying() as (address, proxy):
        shown = ask(address, get(origin, method=b'POST', more=b'Transfer-Encoding: chunked\r\n') + b'2\r\nhi\r\nX\r\n\r\n')
        assert shown[9:12] == b'400' and proxy.wait()[0].reason == 'http_request_error'
    assert not got[0].endswith(b'0\r\n\r\n')


def test_a_client_that_leaves_in_mid_upload_ends_its_request():
    got, began = [], Event()

    def handle(sock):
        data = read_until(sock, b'half')
        began.set()
        got.append(data + read_all(sock))
    with listening(handle) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'PUT', more=b'Content-Length: 100\r\n') + b'half')
        assert began.wait(PATIENCE)
        client.close()
        assert proxy.wait()[0].reason == 'client_lost'
    assert got[0].endswith(b'half')


def test_a_client_that_stalls_in_mid_upload_gets_408():
    with listening(read_all) as origin, proxying('[timeouts]\nbody = 0.4') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin, method=b'PUT', more=b'Content-Length: 100\r\n') + b'half')
        assert read_until(client, b'\r\n\r\n')[9:12] == b'408'
        client.close()
        assert proxy.wait()[0].reason == 'client_body_timeout'


# --- 100-continue, and answers that come early ---------------------------------------------------------------------

EXPECT = b'Expect: 100-continue\r\nContent-Length: 5\r\n'


def test_100_continue_comes_from_the_origin():
    heads = []

    def handle(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 100 Continue\r\n\r\n')
        assert read_until(sock, b'hello') == b'hello'
        sock.sendall(OK)
    with listening(handle) as origin, proxying() as (address, _proxy):
        client = connect(address)
        for _ in range(2):                      # and the connection goes on
            client.sendall(get(origin, method=b'PUT', more=EXPECT))
            assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 100 Continue\r\n')
            client.sendall(b'hello')
            assert read_until(client, b'ok').startswith(b'HTTP/1.1 200 OK\r\n')
        client.close()
        assert [b'\r\nExpect: 100-continue\r\n' in head for head in heads] == [True, True]


def test_a_client_that_does_not_wait_for_100_may_send_at_once():
    stored = []
    with listening(storing(stored)) as origin, proxying() as (address, _proxy):
        assert ask(address, get(origin, method=b'PUT', more=EXPECT) + b'hello').endswith(b'ok')
        assert stored[0][1] == b'hello'


def test_a_417_is_passed_on_and_ends_the_connection():
    with listening(answering(b'HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n', close=False)) as origin:
        with proxying() as (address, _proxy):
            client = connect(address)
            client.sendall(get(origin, method=b'PUT', more=EXPECT))
            status, fields, _body = split(read_all(client))
            assert status[9:12] == b'417' and fields[b'connection'] == b'close'


def test_an_http_1_0_client_gets_no_interim_response_and_its_expectation_is_not_passed_on():
    seen = []
    with listening(answering(b'HTTP/1.1 103 Early\r\n\r\n' + OK, seen)) as origin, proxying() as (address, _proxy):
        shown = ask(address, b'POST http://%s/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n' % (
            text_of(origin)))
        assert shown.startswith(b'HTTP/1.1 200 OK\r\n') and b'Expect' not in seen[0]


def test_interim_responses_are_passed_on_but_not_for_ever():
    early = b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nContent-Length: 7\r\n\r\n'
    with listening(answering(early * 2 + OK)) as origin, proxying('[proxy]\nvia = off') as (address, _proxy):
        shown = ask(address, get(origin))
        assert shown.startswith(b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' * 2 + b'HTTP/1.1 200 OK\r\n')
    with listening(answering(early * 1000)) as origin, proxying() as (address, proxy):
        assert b'HTTP/1.1 502 ' in ask(address, get(origin))


def test_nothing_follows_an_interim_response_that_the_client_took_in_part():
    early = b'HTTP/1.1 103 Early Hints\r\nLink: %s\r\n\r\n' % (b'a' * 60000)
    with listening(answering(early * 90)) as origin, proxying('[timeouts]\nbody = 0.3') as (address, proxy):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(get(origin))
        record, = proxy.wait()              # which takes none of it
        assert (record.reason, record.aborted) == ('client_write_timeout', True)
        came = read_all(client)
        assert came.startswith(b'HTTP/1.1 103 ') and set(re.findall(br'HTTP/1.1 \d+', came)) == {b'HTTP/1.1 103'}
        client.close()


def test_an_unknown_expectation_is_417():
    with listening(nothing) as origin, proxying() as (address, _proxy):
        assert ask(address, get(origin, more=b'Expect: coffee\r\n'))[9:12] == b'417'


# --- clients that leave --------------------------------------------------------------------------------------------

@pytest.mark.parametrize('how', ['close', 'reset'])
@pytest.mark.parametrize('more', [b'', b'pipelined'])
def test_a_client_that_leaves_while_its_origin_thinks_ends_the_origin_connection(how, more):
    ended, came = [], Event()

    def think(sock):
        read_until(sock, b'\r\n\r\n')
        came.set()
        began = monotonic()
        read_all(sock)
        ended.append(monotonic() - began)
    with listening(think) as origin, proxying() as (address, proxy):
        client = connect(address)
        client.sendall(get(origin) + (get(origin) if more else b''))
        assert came.wait(PATIENCE)
        if how == 'reset':
            reset(client)
        client.close()
        assert proxy.wait()[0].reason == 'client_lost'
    assert ended[0] < 1


@pytest.mark.parametrize('more', [b'POST', b'pipelined'])
def test_a_client_that_resets_where_it_cannot_be_read_from_ends_the_origin_connection(more):
    ended = Event()

    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        if more == b'POST':             # reads no more of it, and notices the end of what it has not read
            while sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and not ended.is_set():
                gevent.sleep(0.02)
                if state_of(sock) != ESTABLISHED:
                    break
        else:
            read_all(sock)
        ended.set()
    with listening(handle) as origin, proxying('[limits]\nhead_size = 4k') as (address, proxy):
        client = connect(address)
        if more == b'POST':
            client.sendall(get(origin, method=b'POST', more=b'Content-Length: 100000000\r\n'))
            client.settimeout(0.5)
            with pytest.raises(socket.timeout):
                client.sendall(b'x' * 100000000)
        else:
            client.sendall(get(origin) * 200)
            gevent.sleep(0.5)           # until they have been read ahead as far as they are
        reset(client)
        client.close()
        assert ended.wait(3)
        assert proxy.wait()[0].reason == 'client_lost'


def test_a_half_closed_client_does_not_wait_for_ever():
    with listening(read_all) as origin, proxying('[timeouts]\nlinger = 0.5') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        client.shutdown(socket.SHUT_WR)
        read_all(client)
        assert 'linger' in proxy.wait()[0].message
        client.close()


# --- limits --------------------------------------------------------------------------------------------------------

def test_an_origin_that_never_answers_is_504():
    with listening(read_all) as origin, proxying('[timeouts]\nresponse = 0.4') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        assert read_until(client, b'\r\n\r\n').startswith(b'HTTP/1.1 504 no response for 0.4 s ([timeouts] response)')
        client.close()
        assert proxy.wait()[0].reason == 'http_response_timeout'


def test_an_origin_that_trickles_its_head_is_504():
    def trickle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n')
        try:
            while True:
                sock.sendall(b'A')
                gevent.sleep(0.1)
        except socket.error:
            pass
    with listening(trickle) as origin, proxying('[timeouts]\nresponse = 0.5') as (address, proxy):
        client = connect(address)
        client.sendall(get(origin))
        assert read_until(client, b'\r\n\r\n')[9:12] == b'504'
        client.close()


def test_a_response_head_that_is_too_large_is_502():
    for head in (b'A: b\r\n' * 1001, b'A: ' + b'a' * 70000):
        with listening(answering(b'HTTP/1.1 200 OK\r\n' + head + b'\r\n\r\n')) as origin, proxying() as (address, proxy):
            assert ask(address, get(origin))[9:12] == b'502'
            assert proxy.wait()[0].reason == 'http_response_header_section_size'


# --- upgrade -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('unasked', [b'HTTP/1.1 408 Too Late\r\nConnection: close\r\n\r\n', b'garbage\r\n\r\n'])
def test_octets_on_an_idle_connection_are_not_the_response_to_a_request_that_crosses_them(unasked):
    def handle(sock):
        read_until(sock, b'\r\n\r\n')
        sock.sendall(OK)
        if read_until(sock, b'\r\n\r\n'):
            sock.sendall(unasked)               # as if it had been sent just before the request came
    with listening(handle) as origin, proxying() as (address, proxy):
        for _ in range(3):
            assert ask(address, get(origin)).endswith(b'ok')
