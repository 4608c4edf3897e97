"""Handshakes with parents: what is said to them, what may come back, and every way in which they can fail."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import socket
import ssl
import struct

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, listening, read_all, read_until
from processes import wait_until
from test_kernel_pipes import descriptors
from test_tls import path

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net import certificates, tls
from geproxy.net.deadlines import TimeLimit
from geproxy.policy.routes import Parent, Target
from geproxy.upstream import dialling, handshakes

ORIGIN = Target(b'https', b'origin.test', 443)
SHORT = 0.1         # seconds for what cannot come to an end otherwise


@pytest.fixture(autouse=True)
def warm():
    """Let TLS have the two descriptors that it keeps for all connections, before any are counted."""
    tls._aside()


def parent_at(address, scheme=b'http', login=None, context=None, host=None):
    """Return the Parent that listens at (host, port)."""
    return Parent(scheme, host or b'127.0.0.1', address[1], login, context)


def pass_through(parent, seconds=PATIENCE, target=ORIGIN, behind=(), via=b''):
    """Connect to a parent and pass through it and those `behind`. Return the Stream."""
    limit = TimeLimit('connect', seconds, errors.ConnectTimeout)
    sock, address = dialling.Attempts(parent.host, ['127.0.0.1'], parent.port, limit).run()
    return handshakes.pass_through(sock, address, (parent,) + behind, target, limit, monotonic() + seconds, via)


def failure(parent, seconds=PATIENCE, target=ORIGIN, behind=()):
    """Return the error when no way leads through the parent. See that it leaves nothing open."""
    before = descriptors()
    with pytest.raises(errors.ProxyError) as raised:
        pass_through(parent, seconds, target, behind)
    wait_until(lambda: descriptors() <= before, 'closed connections')       # the parent closes a bit later
    name = handshakes.name_of(parent)
    assert str(raised.value).startswith('parent %s' % name), raised.value
    return type(raised.value), str(raised.value)[len('parent %s ' % name):].lstrip()


def scripted(*steps):
    """Return a handler of a parent: steps are a number of octets to read, octets to send, or a function of the socket."""
    def handle(sock):
        try:
            for step in steps:
                if callable(step):
                    step(sock)
                elif isinstance(step, bytes):
                    sock.sendall(step)
                elif step:
                    assert len(sock.recv(step, socket.MSG_WAITALL)) == step
        except (socket.error, ssl.SSLError):
            pass            # the proxy closes first
    return handle


def head(sock):
    """Read a whole request head."""
    return read_until(sock, b'\r\n\r\n')


def silence(sock):
    """Wait until the proxy gives up."""
    read_all(sock)


def flood(octets):
    """Return a step that sends these octets until the proxy gives up."""
    def send(sock):
        while True:
            sock.sendall(octets)
    return send


# --- CONNECT

def test_connect_is_asked_with_host_login_and_via():
    heads = []
    with listening(scripted(lambda sock: heads.append(head(sock)), b'HTTP/1.0 200 Connection established\r\n\r\n')) as address:
        pass_through(parent_at(address, login=(b'joe', b'a:b \xc3\xa4')), via=b'1.1 me').close()
    assert heads == [
        b'CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\nProxy-Authorization: Basic '
        + base64.b64encode(b'joe:a:b \xc3\xa4') + b'\r\nVia: 1.1 me\r\n\r\n']


def test_connect_without_login_and_to_an_ipv6_address():
    heads = []
    with listening(scripted(lambda sock: heads.append(head(sock)), b'HTTP/1.1 200 OK\r\n\r\n')) as address:
        pass_through(parent_at(address), target=Target(b'https', b'2001:db8::1', 8443)).close()
    assert heads == [b'CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\r\n']


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 200 OK\r\n\r\n',
    b'HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n',
    b'HTTP/1.1 204 No\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 P\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n',                # these mean nothing here: RFC 9110, 9.3.6
    b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n',
    b'HTTP/1.1 200 OK\nProxy-Agent: old\n\n',
])
@pytest.mark.parametrize('pieces', [1, 1000])
def test_octets_behind_the_answer_belong_to_the_origin(answer, pieces):
    def send(sock):
        head(sock)
        octets = answer + b'SSH-2.0-early\r\n'
        for at in range(0, len(octets), pieces):
            sock.sendall(octets[at:at + pieces])
            gevent.sleep(0)
    with listening(send) as address:
        stream = pass_through(parent_at(address))
        limit = TimeLimit('body', PATIENCE, errors.BodyTimeout)
        came = b''
        while len(came) < 15:
            data, count = stream.read(limit)
            assert count
            came += bytes(data[:count])
        stream.close()
    assert came == b'SSH-2.0-early\r\n'


@pytest.mark.parametrize('steps, message', [
    ([silence], 'did not answer CONNECT origin.test:443 within 0.1 s ([timeouts] connect)'),
    ([head, b'HTTP/1.1 200', silence], 'did not answer CONNECT origin.test:443 within 0.1 s ([timeouts] connect)'),
    ([head, b'HTTP/1.1 200 OK\r\nA: b\r\n', silence], 'did not answer CONNECT origin.test:443 within 0.1 s ('),
])
def test_a_silent_parent_has_failed_at_the_deadline(steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(parent_at(address), SHORT)
    assert kind is errors.ParentFailed and said.startswith(message)


@pytest.mark.parametrize('steps, message', [
    ([head], 'did not answer CONNECT origin.test:443: it closed the connection'),
    ([head, b'HTTP/1.1 200 OK\r\nA'],
     'was lost in the middle of its answer to CONNECT origin.test:443: it closed the connection'),
    ([head, b'SSH-2.0-x\r\n'], "gave no valid answer to CONNECT origin.test:443: invalid response, which begins with "),
    ([head, b'\0\xff\x16\x03' * 100], 'gave no valid answer to CONNECT origin.test:443: invalid response, which begins'),
    ([head, b'HTTP/1.1 2000 OK\r\n\r\n'], 'gave no valid answer to CONNECT origin.test:443: invalid status line'),
    ([head, b'HTTP/2.0 200 OK\r\n\r\n'], 'gave no valid answer to CONNECT origin.test:443: '),
    ([head, b'HTTP/1.1 200 OK\r\nA: ' + 70000 * b'a', silence],
     'gave no valid answer to CONNECT origin.test:443: its head is larger than 65536 octets'),
    ([head, b'HTTP/1.1 200 OK\r\n', flood(b'A: b\r\n' * 1000)],
     'gave no valid answer to CONNECT origin.test:443: its head is larger than 65536 octets'),
    ([head, b'HTTP/1.1 200 OK\r\n' + b'A: b\r\n' * 300 + b'\r\n', silence],
     'gave no valid answer to CONNECT origin.test:443: the head has 300 fields'),
    ([head, flood(b'HTTP/1.1 100 Continue\r\n\r\n')],
     'gave no valid answer to CONNECT origin.test:443: more than 100 interim responses'),
])
def test_a_parent_that_talks_nonsense_has_failed(steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(parent_at(address))
    assert kind is errors.ParentFailed and said.startswith(message)


def test_a_parent_that_resets_has_failed():
    def reset(sock):
        head(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    with listening(reset) as address:
        kind, said = failure(parent_at(address))
    assert kind is errors.ParentFailed and 'did not answer CONNECT origin.test:443: the connection ' in said


def test_octets_one_by_one_do_not_move_the_deadline():
    def drip(sock):
        head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\nA: ')
        while True:
            sock.sendall(b'a')
            gevent.sleep(0.01)
    began = monotonic()
    with listening(scripted(drip)) as address:
        kind, said = failure(parent_at(address), SHORT)
    assert kind is errors.ParentFailed and 'within 0.1 s' in said and monotonic() - began < PATIENCE


def refused(answer, *more):
    """Return the error for this answer to CONNECT."""
    with listening(scripted(head, answer, *more)) as address:
        with pytest.raises(errors.ProxyError) as raised:
            pass_through(parent_at(address))
    return raised.value


@pytest.mark.parametrize('answer, text', [
    (b'Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nNo way, he said', 'No wa'),
    (b'Content-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<b>\r\n6\r\nNo way\r\n0\r\n\r\n', 'No way'),
    (b'Content-Type: text/html\r\n\r\n<title>x</title><p>No way</p>', 'No way'),
    (b'Content-Type: text/plain\r\nContent-Length: 500\r\n\r\nNo way', 'No way'),
    (b'Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\nx', ''),
    (b'Content-Length: a\r\n\r\nx', ''),
    (b'Content-Length: 0\r\n\r\n', ''),
])
def test_what_a_parent_says_about_a_refusal_is_kept(answer, text):
    error = refused(b'HTTP/1.1 403 Forbidden\r\n' + answer)
    assert isinstance(error, errors.ParentRefused) and (error.status, error.text) == (403, text)
    assert str(error).endswith(' answered 403 Forbidden to CONNECT origin.test:443')


@pytest.mark.parametrize('more', [silence, flood(b'No way ' * 1000)])
def test_a_text_without_an_end_is_cut_off(more):
    began = monotonic()
    error = refused(b'HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\n\r\nNo way ', more)
    assert (error.status, error.text[:6]) == (503, 'No way') and monotonic() - began < PATIENCE


def test_a_407_is_a_failed_login():
    error = refused(b'HTTP/1.1 407 Log In\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 9\r\n\r\n')
    assert isinstance(error, errors.ParentLoginFailed) and error.status == 502
    assert str(error).endswith(' answered 407 Log In to CONNECT origin.test:443: it wants a log-in. Set user and password '
                               'for it in the file of [upstream] parents')


def test_a_401_to_connect_is_a_failed_login_too():
    error = refused(b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 9\r\n\r\n')
    assert isinstance(error, errors.ParentLoginFailed) and error.status == 502


def test_a_protocol_switch_is_no_tunnel():
    assert refused(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n').status == 502


def test_a_parent_that_is_the_target_is_not_asked():
    with listening(silence) as address:
        parent = parent_at(address)
        stream = pass_through(parent, target=parent)
        assert stream.sent == 0
        stream.close()


def test_a_client_that_leaves_leaves_nothing_open():
    tls._aside()                    # two sockets that are made once, and kept
    for scheme, context in ((b'http', None), (b'socks5h', None), (b'https', trusting())):
        met = Event()

        def handle(sock):
            sock.recv(1)
            met.set()
            silence(sock)
        with listening(scripted(handle)) as address:
            before = descriptors()
            greenlet = gevent.spawn(pass_through, parent_at(address, scheme, context=context))
            assert met.wait(PATIENCE)
            greenlet.kill()
            assert isinstance(greenlet.value, gevent.GreenletExit)
            wait_until(lambda: descriptors() <= before, 'a closed connection')


def test_a_silent_parent_holds_nobody_up():
    with listening(scripted(silence)) as silent, listening(scripted(head, b'HTTP/1.1 200 OK\r\n\r\n')) as good:
        waiting = [gevent.spawn(failure, parent_at(silent, scheme, context=context), 2)
                   for scheme, context in ((b'http', None), (b'https', trusting()), (b'socks5', None))]
        gevent.sleep(0.01)
        pass_through(parent_at(good)).close()
        assert not any(greenlet.ready() for greenlet in waiting)
        gevent.killall(waiting)


# --- SOCKS

GREETING, NO_LOGIN, PASSWORD = b'\x05\x01\x00', b'\x05\x00', b'\x05\x02'
ASKED = b'\x05\x01\x00\x03\x0borigin.test\x01\xbb'
GRANTED = b'\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34'


def expecting(octets):
    """Return a step that reads octets, which must be these."""
    def read(sock):
        assert sock.recv(len(octets), socket.MSG_WAITALL) == octets
    return read


@pytest.mark.parametrize('scheme, login, target, steps', [
    (b'socks5h', None, ORIGIN, [expecting(GREETING), NO_LOGIN, expecting(ASKED), GRANTED + b'early']),
    (b'socks5h', None, ORIGIN, [expecting(GREETING), NO_LOGIN, expecting(ASKED), b'\x05\0\0\x03\x04name\0\0early']),
    (b'socks5h', (b'joe', b'x:y'), ORIGIN, [
        expecting(b'\x05\x02\x00\x02'), PASSWORD, expecting(b'\x01\x03joe\x03x:y'), b'\x01\x00', expecting(ASKED), GRANTED + b'early']),
    (b'socks5h', (b'joe', b'x:y'), ORIGIN, [
        expecting(b'\x05\x02\x00\x02'), NO_LOGIN, expecting(ASKED), GRANTED + b'early']),
    (b'socks5', None, Target(b'https', b'127.0.0.1', 80), [
        expecting(GREETING), NO_LOGIN, expecting(b'\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50'), GRANTED + b'early']),
    (b'socks5', None, Target(b'https', b'::1', 80), [
        expecting(GREETING), NO_LOGIN, expecting(b'\x05\x01\x00\x04' + 15 * b'\0' + b'\x01\x00\x50'), GRANTED + b'early']),
    (b'socks4a', None, ORIGIN, [
        expecting(b'\x04\x01\x01\xbb\0\0\0\x01\0origin.test\0'), b'\x00\x5a' + 6 * b'\0' + b'early']),
    (b'socks4a', (b'joe', b''), Target(b'https', b'127.0.0.1', 80), [
        expecting(b'\x04\x01\x00\x50\x7f\x00\x00\x01joe\0'), b'\x00\x5a' + 6 * b'\0' + b'early']),
])
def test_socks_leads_to_the_target(scheme, login, target, steps):
    with listening(scripted(*steps)) as address:
        stream = pass_through(parent_at(address, scheme, login), target=target)
        limit = TimeLimit('body', PATIENCE, errors.BodyTimeout)
        while len(stream.buffer) < 5:
            stream.wait(limit, monotonic() + PATIENCE)
            assert stream.fill()
        assert stream.buffer == b'early'
        stream.close()


@pytest.mark.parametrize('scheme, steps, message', [
    (b'socks5h', [silence], 'did not answer CONNECT origin.test:443 within 0.1 s ([timeouts] connect)'),
    (b'socks5h', [3, NO_LOGIN, 18, GRANTED[:7], silence], 'did not answer CONNECT origin.test:443 within 0.1 s ('),
    (b'socks4a', [21, b'\0', silence], 'did not answer CONNECT origin.test:443 within 0.1 s ('),
])
def test_a_silent_socks_server_has_failed_at_the_deadline(scheme, steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(parent_at(address, scheme), SHORT)
    assert kind is errors.ParentFailed and said.startswith(message)


@pytest.mark.parametrize('scheme, steps, message', [
    (b'socks5h', [3], 'did not answer CONNECT origin.test:443: the connection ended too early'),
    (b'socks5h', [3, b'\x05'], 'was lost in the middle of its answer to CONNECT origin.test:443: the connection ended'),
    (b'socks5h', [3, NO_LOGIN, 18], 'did not answer CONNECT origin.test:443: the connection ended too early'),
    (b'socks5h', [3, NO_LOGIN, 18, GRANTED[:9]], 'was lost in the middle of its answer to CONNECT origin.test:443: '),
    (b'socks5h', [3, b'HTTP/1.1 400 Bad'], 'gave no valid answer to CONNECT origin.test:443: the greeting of a SOCKS 5 '
     'server begins with octet 5, not with 72'),
    (b'socks5h', [3, PASSWORD, silence], 'gave no valid answer to CONNECT origin.test:443: it has chosen the log-in '
     'method 2, which was not offered'),
    (b'socks5h', [3, b'\x05\x01', silence], 'gave no valid answer to CONNECT origin.test:443: it has chosen the log-in '
     'method 1, '),
    (b'socks5h', [3, NO_LOGIN, 18, b'\x05\0\0\x09\0\0\0', silence], 'gave no valid answer to CONNECT origin.test:443: '),
    (b'socks4a', [21], 'did not answer CONNECT origin.test:443: the connection ended too early'),
    (b'socks4a', [21, b'\x00\x5a\0'], 'was lost in the middle of its answer to CONNECT origin.test:443: '),
    (b'socks4a', [21, b'\0\xff\0\0\0\0\0\0'], 'gave no valid answer to CONNECT origin.test:443: SOCKS 4 has no reply code 255'),
    (b'socks4a', [21, b'\x05\x00'], 'gave no valid answer to CONNECT origin.test:443: '),
])
def test_a_socks_server_that_talks_nonsense_has_failed(scheme, steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(parent_at(address, scheme))
    assert kind is errors.ParentFailed and said.startswith(message)


@pytest.mark.parametrize('scheme, reply, status, message', [
    (b'socks5h', b'\x05\x01\0\x01\0\0\0\0\0\0', 502, 'answered general failure (code 1) to CONNECT origin.test:443'),
    (b'socks5h', b'\x05\x02\0\x01\0\0\0\0\0\0', 403, 'answered not allowed by its rules (code 2) to CONNECT '),
    (b'socks5h', b'\x05\x04\0\x01\0\0\0\0\0\0', 502, 'answered host unreachable (code 4) to CONNECT '),
    (b'socks5h', b'\x05\x05\0\x01\0\0\0\0\0\0', 502, 'answered connection refused (code 5) to CONNECT '),
    (b'socks5h', b'\x05\x06\0\x01\0\0\0\0\0\0', 504, 'answered timed out (code 6) to CONNECT '),
    (b'socks5h', b'\x05\x77\0\x01\0\0\0\0\0\0', 502, 'answered unknown code 119 (code 119) to CONNECT '),
    (b'socks4a', b'\0\x5b\0\0\0\0\0\0', 502, 'answered rejected or failed (code 91) to CONNECT origin.test:443'),
])
def test_a_refusal_of_a_socks_server_has_its_status(scheme, reply, status, message):
    steps = [21] if scheme == b'socks4a' else [3, NO_LOGIN, 18]
    with listening(scripted(*(steps + [reply]))) as address:
        with pytest.raises(errors.ParentRefused) as raised:
            pass_through(parent_at(address, scheme))
    assert raised.value.status == status and message in str(raised.value)


@pytest.mark.parametrize('login, steps, message', [
    (None, [3, b'\x05\xff'], 'it wants a log-in. Set user and password for it'),
    ((b'joe', b'secret'), [4, b'\x05\xff'], 'it takes no log-in by user and password, and none without'),
    ((b'joe', b'secret'), [4, PASSWORD, 12, b'\x01\x01'], 'it does not accept the user and password'),
    ((b'joe', b'secret'), [4, PASSWORD, 12, b'\x05\x09'], 'it does not accept the user and password'),
])
def test_a_login_that_a_socks_server_refuses(login, steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(parent_at(address, b'socks5h', login))
    assert kind is errors.ParentLoginFailed and said.startswith('refused the log-in for CONNECT origin.test:443: ' + message)
    assert 'secret' not in said


@pytest.mark.parametrize('scheme, login, host, message', [
    (b'socks4a', None, b'::1', 'SOCKS 4 knows no IPv6 addresses'),
    (b'socks4a', None, b'a\0b', 'SOCKS 4 ends names by a NUL octet'),
    (b'socks5h', None, 256 * b'a', 'SOCKS 5 takes host names of 1 to 255 octets'),
    (b'socks5h', (b'joe', 256 * b'p'), b'a', 'a SOCKS 5 login takes a name and a password of 1 to 255 octets each'),
])
def test_what_cannot_be_said_in_socks_is_told_before_anything_is_sent(scheme, login, host, message):
    came = []
    with listening(lambda sock: came.append(read_all(sock))) as address:
        kind, said = failure(parent_at(address, scheme, login), target=Target(b'https', host, 443))
        wait_until(lambda: came, 'a closed connection')
    assert kind is errors.ParentRefused and said.endswith(message) and 'ppp' not in said
    assert came == [b'']


# --- TLS

PROXY = certificates.Pair(path('proxy.test.pem'), path('proxy.test.key'))
EXPIRED = certificates.Pair(path('expired.test.pem'), path('expired.test.pem'))
JOE = certificates.Pair(path('joe.pem'), path('joe.key'))


def trusting(pair=None, authorities='ca.pem'):
    """Return the context of a parent in the tests."""
    return certificates.client_context(authorities and path(authorities), pair)


def secured(handle, pair=PROXY, clients=None):
    """Return a handler that does a TLS handshake first."""
    context = certificates.server_context([pair], clients and path(clients), bool(clients))

    def handle_tls(sock):
        with contextlib.closing(context.wrap_socket(sock, server_side=True)) as tls:
            handle(tls)
    return scripted(handle_tls)


def secure_parent(address, host=b'proxy.test', **options):
    return parent_at(address, b'https', context=trusting(**options), host=host)


def test_tls_to_a_parent_and_connect_inside_it():
    heads = []

    def handle(sock):
        heads.append(head(sock))
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nearly')
        assert read_until(sock, b'hello') == b'hello'
    with listening(secured(handle)) as address:
        stream = pass_through(secure_parent(address))
        limit = TimeLimit('body', PATIENCE, errors.BodyTimeout)
        stream.send(b'hello', limit)
        data, count = stream.read(limit)
        assert bytes(data[:count]) == b'early'
        stream.close()
    assert heads == [b'CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n']


def test_tls_alone_to_a_parent_that_gets_requests_in_absolute_form():
    with listening(secured(silence)) as address:
        parent = secure_parent(address)
        stream = pass_through(parent, target=parent)
        assert stream.sent == 0 and stream.transport.describe()[0].startswith('TLS')
        stream.close()


@pytest.mark.parametrize('pair, host, authorities, message', [
    (PROXY, b'else.test', 'ca.pem', 'write the parent in [upstream] routes with a name that its certificate has'),
    (PROXY, b'127.0.0.2', 'ca.pem', 'write the parent in [upstream] routes with a name that its certificate has'),
    (PROXY, b'proxy.test', None, 'set ca = FILE for it in the file of [upstream] parents'),
    (EXPIRED, b'expired.test', 'expired.test.pem', 'the operator of the parent must renew its certificate'),
])
def test_a_certificate_that_is_wrong_is_told_with_what_to_do(pair, host, authorities, message):
    with listening(secured(silence, pair)) as address:
        kind, said = failure(secure_parent(address, host, authorities=authorities))
    assert kind is errors.ParentFailed and said.startswith('the TLS handshake failed: ')
    if not said.endswith(message):      # Python 2.7 does not say why a certificate is wrong
        assert said.startswith('the TLS handshake failed: certificate verify failed: ') and not hasattr(
            ssl, 'SSLCertVerificationError')


def test_a_client_certificate_is_shown():
    with listening(secured(scripted(head, b'HTTP/1.1 200 OK\r\n\r\n'), clients='ca.pem')) as address:
        pass_through(secure_parent(address, pair=JOE)).close()


def test_a_client_certificate_that_is_not_there_is_asked_for():
    with listening(secured(silence, clients='ca.pem')) as address:
        kind, said = failure(secure_parent(address))
    assert kind is errors.ParentFailed
    # The alert may be lost if the parent closes at once.
    assert said.endswith('set certificate and key for it in the file of [upstream] parents') or 'connection' in said


@pytest.mark.parametrize('steps, message', [
    ([10], 'the TLS handshake failed: '),
    ([10, b'\x16\x03\x03\x00\x50\x02\x00\x00'], 'the TLS handshake failed: '),
    ([10, b'HTTP/1.1 400 Bad Request\r\n\r\n', silence], 'the TLS handshake failed: wrong version number: if it does not '
     'speak TLS, write http:// instead of https://'),
    ([10, b'\x15\x03\x01\x00\x02\x02\x28', silence], 'the TLS handshake failed: '),
    ([], 'the TLS handshake failed: '),
])
def test_a_parent_that_breaks_off_the_handshake_has_failed(steps, message):
    with listening(scripted(*steps)) as address:
        kind, said = failure(secure_parent(address))
    assert kind is errors.ParentFailed and said.startswith(message) or 'if it does not speak TLS' in said


@pytest.mark.parametrize('steps', [[silence], [10, b'\x16\x03\x03\x00\x50\x02\x00\x00', silence]])
def test_a_parent_that_is_silent_in_the_handshake_has_failed_at_the_deadline(steps):
    with listening(scripted(*steps)) as address:
        assert failure(secure_parent(address), SHORT) == (
            errors.ParentFailed, 'did not end its TLS handshake within 0.1 s ([timeouts] connect)')


def test_a_handshake_octet_by_octet_does_not_move_the_deadline():
    def drip(sock):
        sock.recv(10)
        sock.sendall(b'\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03')
        while True:
            sock.sendall(b'\0')
            gevent.sleep(0.01)
    with listening(scripted(drip)) as address:
        kind, said = failure(secure_parent(address), SHORT)
    assert kind is errors.ParentFailed and said.startswith('did not end its TLS handshake within 0.1 s')


def test_a_parent_with_a_name_that_no_certificate_has():
    with listening(scripted(silence)) as address:
        kind, said = failure(secure_parent(address, b'a\0b'))
    assert kind is errors.ParentFailed and said.startswith('the TLS handshake failed: ')


# --- several parents in a row

def test_a_way_through_socks_and_http():
    steps = [expecting(GREETING), NO_LOGIN, expecting(b'\x05\x01\x00\x03\x06b.corp\x0c\x38'), GRANTED, head,
             b'HTTP/1.1 200 OK\r\n\r\n']
    with listening(scripted(*steps)) as address:
        pass_through(parent_at(address, b'socks5h'), behind=(Parent(b'http', b'b.corp', 3128, None, None),)).close()


def test_a_way_through_https_and_socks():
    def handle(sock):
        assert head(sock).startswith(b'CONNECT b.corp:1080 HTTP/1.1\r\n')
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        assert sock.recv(3) == GREETING
        sock.sendall(NO_LOGIN)
        assert sock.recv(18) == ASKED
        sock.sendall(GRANTED)
    with listening(secured(handle)) as address:
        pass_through(secure_parent(address), behind=(Parent(b'socks5h', b'b.corp', 1080, None, None),)).close()


def test_a_parent_that_gets_requests_behind_another_one():
    behind = Parent(b'http', b'b.corp', 3128, None, None)
    with listening(scripted(lambda sock: head(sock).index(b'b.corp:3128'), b'HTTP/1.1 200 OK\r\n\r\n')) as address:
        pass_through(parent_at(address), behind=(behind,), target=behind).close()


def test_tls_inside_of_a_tunnel_is_refused_before_anything_is_sent():
    came = []
    behind = Parent(b'https', b'b.corp', 3128, None, trusting())
    with listening(lambda sock: came.append(read_all(sock))) as address:
        with pytest.raises(errors.ParentRefused) as raised:
            pass_through(parent_at(address), behind=(behind,))
        wait_until(lambda: came, 'a closed connection')
    assert came == [b''] and str(raised.value) == (
        'parent b.corp:3128 stands behind another parent, and TLS is possible only to the nearest one: '
        'write http:// for it in [upstream] routes')
