"""Requests through parents with TLS, from the client to the parent and back; and the file of parents in a process."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import signal
import re
import socket
import ssl

import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import read, running, write
from test_tls import path as pem
from ways import receive

from geproxy.net import certificates

PROXY = certificates.Pair(pem('proxy.test.pem'), pem('proxy.test.key'))


@contextlib.contextmanager
def secure_parent(handle, clients=None):
    """Run a parent with TLS. Give its URL. `handle`: a function of a TLS socket; `clients`: whose certificates it wants."""
    context = certificates.server_context([PROXY], clients, bool(clients))

    def handle_tls(sock):
        try:
            handle(context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False))
        except (socket.error, ssl.SSLError):
            pass                    # the proxy does not like it
    with listening(handle_tls) as address:
        yield 'https://localhost:%d' % address[1]


@pytest.fixture
def through(tmpdir):
    """A context manager: a proxy with this row of routes, and a file of parents with these lines for `url`."""
    @contextlib.contextmanager
    def make(row, url, lines='ca = %s\n' % pem('ca.pem')):
        path = str(tmpdir.join('parents'))
        write(path, '[%s]\n%s' % (url, lines))
        os.chmod(path, 0o600)
        with proxying('[upstream]\nparents = %s\nroutes = any %s\n' % (path, row)) as made:
            yield made
    return make


def saying(*answers):
    """Return (a handler that says these answers to the heads that come, and then closes TLS; these heads)."""
    heads = []

    def handle(tls):
        for answer in answers:
            heads.append(read_until(tls, b'\r\n\r\n'))
            tls.sendall(answer)
        tls.unwrap()
    return handle, heads


GET = b'GET http://origin.test/x HTTP/1.1\r\nHost: origin.test\r\n%s\r\n'
CLOSE = GET % b'Connection: close\r\n'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine'


def test_plain_requests_share_one_tls_connection_and_log_in(through):
    handle, heads = saying(OK, OK)
    with secure_parent(handle) as url, through(url, url, 'ca = %s\nuser = joe\npassword = p\n' % pem('ca.pem')) as (address, recorder):
        for _ in range(2):
            assert ask(address, CLOSE).endswith(b'\r\n\r\nfine')
        assert [(record.route, record.kept) for record in recorder.wait(2)] == [(url, False), (url, True)]
    assert all(head.startswith(b'GET http://origin.test/x HTTP/1.1\r\n') for head in heads)
    assert all(b'\r\nProxy-Authorization: Basic am9lOnA=\r\n' in head for head in heads)


def test_a_body_that_ends_with_close_notify_is_whole_and_one_that_is_cut_is_not(through):
    handle, _heads = saying(b'HTTP/1.1 200 OK\r\n\r\nhalf of it')
    with secure_parent(handle) as url, through(url, url) as (address, recorder):
        assert re.search(b'half of it\r\n0+\r\n\r\n\\Z', ask(address, CLOSE))     # a 0 may have been sent ahead
        assert recorder.wait()[0].reason == ''

    def cut(tls):
        read_until(tls, b'\r\n\r\n')
        tls.sendall(b'HTTP/1.1 200 OK\r\n\r\nhalf of it')
        tls.shutdown(socket.SHUT_WR)        # of the TCP connection alone
        read_all(tls)
    with secure_parent(cut) as url, through(url, url) as (address, recorder):
        came = ask(address, GET % b'')
        assert b'half of it' in came and not came.endswith(b'\r\n0\r\n\r\n')
        assert recorder.wait()[0].reason == 'connection_terminated'


def test_a_client_certificate_that_is_missing_is_told_also_for_a_plain_request(through):
    def handle(tls):
        read_all(tls)
    with secure_parent(handle, pem('ca.pem')) as url, through(url, url) as (address, recorder):
        assert ask(address, CLOSE).startswith(b'HTTP/1.1 502 ')
        said = recorder.wait()[0].message
        assert 'set certificate and key for it in the file of [upstream] parents' in said or 'reset' in said, said


def test_a_client_certificate_of_the_file_is_shown(through):
    shown = []

    def handle(tls):
        shown.append(dict(part[0] for part in tls.getpeercert()['subject'])['commonName'])
        saying(OK)[0](tls)
    lines = 'ca = %s\ncertificate = %s\nkey = %s\n' % (pem('ca.pem'), pem('joe.pem'), pem('joe.key'))
    with secure_parent(handle, pem('ca.pem')) as url, through(url, url, lines) as (address, _recorder):
        assert ask(address, CLOSE).endswith(b'fine')
    assert shown == ['joe']


def test_a_parent_with_an_unknown_certificate_gets_nothing_and_the_next_route_is_taken(through):
    came = []

    def handle(tls):
        came.append(read_all(tls))
    plain = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine'
    with secure_parent(handle) as url, listening(lambda sock: read_until(sock, b'\r\n\r\n') and sock.sendall(plain)) as good:
        with through('%s, http://127.0.0.1:%d' % (url, good[1]), url, '') as (address, recorder):
            assert ask(address, CLOSE).endswith(b'fine')
            assert recorder.wait()[0].route == 'http://127.0.0.1:%d' % good[1]
        with through(url, url, '') as (address, recorder):
            assert ask(address, CLOSE).startswith(b'HTTP/1.1 502 ')
            assert 'set ca = FILE for it in the file of [upstream] parents' in recorder.wait()[0].message
    assert came == []


def test_a_tunnel_inside_tls_half_closes_in_both_directions(through):
    def handle(tls):
        read_until(tls, b'\r\n\r\n')
        tls.sendall(b'HTTP/1.1 200 OK\r\n\r\nearly')
        asked = b''
        while True:
            try:
                piece = tls.recv(1000)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                piece = b''
            if not piece:
                break
            asked += piece
        tls.sendall(b'you said ' + asked)
        tls.unwrap()
    with secure_parent(handle) as url, through(url, url) as (address, _recorder):
        with contextlib.closing(connect(address)) as sock:
            sock.sendall(b'CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n')
            came = read_until(sock, b'\r\n\r\n')
            assert came.startswith(b'HTTP/1.1 200 ')
            came = came.partition(b'\r\n\r\n')[2]
            assert came + receive(sock, 5 - len(came)) == b'early'
            sock.sendall(b'hello')
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b'you said hello'


def test_a_large_upload_and_download_through_a_slow_tls_parent(through):
    size = 3000000

    def handle(tls):
        head = read_until(tls, b'\r\n\r\n')
        got = len(head.partition(b'\r\n\r\n')[2])
        while got < size:
            got += len(tls.recv(1000 if got < 50000 else 65536))
        tls.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size)
        tls.sendall(b'x' * size)
        tls.unwrap()
    with secure_parent(handle) as url, through(url, url) as (address, _recorder):
        with contextlib.closing(connect(address)) as sock:
            sock.sendall(b'PUT http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\nContent-Length: %d\r\n\r\n' % size + b'y' * size)
            head = read_until(sock, b'\r\n\r\n')
            assert head.startswith(b'HTTP/1.1 200 ')
            came = head.partition(b'\r\n\r\n')[2]
            assert came + receive(sock, size - len(came)) == b'x' * size


@pytest.mark.programs
def test_a_reload_reads_the_file_of_parents_again():
    def handle(sock):
        head = read_until(sock, b'\r\n\r\n')
        good = b'Basic am9lOnJpZ2h0\r\n' in head            # joe:right
        sock.sendall(b'HTTP/1.1 %s\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine' % (
            b'200 OK' if good else b'407 Log In\r\nProxy-Authenticate: Basic realm="x"'))
    with listening(handle) as (_host, port), running() as proxy:
        path, ini = os.path.join(proxy.folder, 'parents'), read(proxy.path).decode('ascii')
        write(proxy.path, ini + '[upstream]\nparents = parents\nroutes = any http://127.0.0.1:%d\n' % port)

        def reload(text, mode, said):
            write(path, '[http://127.0.0.1:%d]\nuser = joe\npassword = %s\n' % (port, text))
            os.chmod(path, mode)
            proxy.err = b''
            proxy.tell(signal.SIGHUP)
            proxy.wait_for(said)
            return ask(proxy.address, CLOSE)
        assert b'parent_login_failed' in reload('wrong', 0o600, br' SIGHUP: \S+ read\n')
        assert reload('right', 0o600, br' SIGHUP: \S+ read\n').endswith(b'fine')
        assert reload('wrong', 0o640, br'nothing changed, because of mistakes in the file:\n.*: chmod 600 ').endswith(b'fine')
        assert b'right' not in proxy.err and b'wrong' not in proxy.err
