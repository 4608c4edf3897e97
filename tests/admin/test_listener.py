"""The admin listener: who may ask, how many at once, and that it answers until the process ends. Real sockets."""
from __future__ import absolute_import, division, print_function

import contextlib
import json
import os
import re
import signal
import socket
import stat

import pytest
from gevent.event import Event
from helpers import PATIENCE, ask, connect, listening, proxying, read_all, read_until
from processes import Client, folder, get, own, running

from geproxy.admin import endpoints, listener
from geproxy.compat import monotonic

TCP = '[admin]\nlisten = 127.0.0.1:0\n'


@contextlib.contextmanager
def with_admin(more=''):
    """A proxy with an admin port: (address, Recorder, address of the admin port)."""
    with proxying(TCP + more) as (address, proxy):
        place = proxy.server.admin.addresses[0].rpartition(':')
        yield address, proxy, (place[0], int(place[2]))


def question(path, method=b'GET', more=b'Host: 127.0.0.1\r\n', version=b'1.1'):
    """Return a request for the admin listener."""
    return b'%s %s HTTP/%s\r\n%s\r\n' % (method, path, version, more)


def asked(place, *arguments, **options):
    """Send a request, and return (status, body)."""
    sock = unix(place) if isinstance(place, str) else connect(place)
    try:
        sock.sendall(question(*arguments, **options))
        return split(read_all(sock))
    finally:
        sock.close()


def unix(path):
    """A socket that is connected to that path."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return sock


def split(shown):
    """Split a response into (status, body)."""
    head, _, body = shown.partition(b'\r\n\r\n')
    if b'chunked' in head:
        assert body.endswith(b'0\r\n\r\n')
        body = unchunked(body)
    return int(head.split(b' ')[1]), body


def unchunked(body):
    """Return the content of chunks."""
    content = b''
    while body:
        size, _, body = body.partition(b'\r\n')
        content, body = content + body[:int(size, 16)], body[int(size, 16) + 2:]
    return content


def rows(place):
    """Return the connections that the admin listener shows."""
    return [json.loads(line) for line in asked(place, b'/-/connections')[1].decode('ascii').splitlines()][1:]


@contextlib.contextmanager
def tailing(place):
    """Subscribe: a socket whose response has begun."""
    sock = unix(place) if isinstance(place, str) else connect(place)
    sock.sendall(question(b'/-/tail'))
    assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
    try:
        yield sock
    finally:
        sock.close()


def events(sock, count):
    """Return that many events, or fewer if the stream ends."""
    data, found = b'', []
    while len(found) < count:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
        found = [json.loads(line) for line in re.findall(br'\{[^\n]*\}(?=\n)', data)]
    return [(str(event['event']), str(event.get('url.original')).rpartition('/')[2]) for event in found]


# --- who may ask -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('more,status', [
    (b'Host: 127.0.0.1:9001\r\n', 200), (b'Host: localhost\r\n', 200), (b'Host: LOCALHOST:1\r\n', 200),
    (b'Host: [::1]:9001\r\n', 200), (b'Host: 10.0.0.7\r\n', 200),
    (b'Host: evil.example\r\n', 403), (b'Host: localhost.evil.example\r\n', 403), (b'Host: 0x7f.1\r\n', 403),
    (b'Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n', 403), (b'Host: 127.0.0.1\r\nOrigin: null\r\n', 403)])
def test_a_browser_that_a_web_page_has_sent_is_refused(more, status):
    with with_admin() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy', more=more)[0] == status


@pytest.mark.parametrize('more, status', [
    (b'Sec-Fetch-Site: none\r\n', 200), (b'Sec-Fetch-Site: same-origin\r\n', 200),      # typed, or from here
    (b'Sec-Fetch-Site: cross-site\r\n', 403), (b'Sec-Fetch-Site: same-site\r\n', 403),
    (b'Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n', 403)])
def test_a_web_page_reads_nothing_even_if_its_browser_sends_no_origin(more, status):
    with with_admin() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy', more=b'Host: 127.0.0.1\r\n' + more)[0] == status


@pytest.mark.parametrize('octets', [question(b'/-/healthy'), question(b'/-/connections'), question(b'/nothing'), b'x\r\n\r\n'])
def test_no_answer_can_be_shown_in_a_frame_or_read_as_another_type(octets):
    with with_admin() as (_address, _proxy, place):
        head = ask(place, octets).partition(b'\r\n\r\n')[0] + b'\r\n'
        for line in (b'X-Content-Type-Options: nosniff', b'X-Frame-Options: DENY',
                     b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
                     b'Cross-Origin-Resource-Policy: same-origin'):
            assert b'\r\n' + line + b'\r\n' in head


HOST = b'Host: 127.0.0.1\r\n'


@pytest.mark.parametrize('octets', [
    b'CONNECT 127.0.0.1:9001 HTTP/1.1\r\n' + HOST + b'\r\n', b'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n',
    b'OPTIONS * HTTP/1.1\r\n' + HOST + b'\r\n', b'GET * HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET http://127.0.0.1/-/healthy HTTP/1.1\r\n' + HOST + b'\r\n', b'GET ftp://127.0.0.1/ HTTP/1.1\r\n' + HOST + b'\r\n',
    b'GET /-/healthy\r\n\r\n', b'GET /-/healthy HTTP/0.9\r\n\r\n', b'GET /-/healthy HTTP/2.0\r\n' + HOST + b'\r\n',
    b'GET /-/healthy HTTP/1.1\r\n\r\n', b'CONNECT 127.0.0.1:1 HTTP/1.0\r\n\r\n', b'OPTIONS * HTTP/1.0\r\n\r\n',
    b'TRACE /-/healthy HTTP/1.1\r\n' + HOST + b'\r\n', b'\r\n\r\n\r\nx\r\n\r\n', b'\x00\x01\r\n\r\n',
    question(b'/-/healthy', more=HOST + b'Content-Length: 1\r\n') + b'x',
    question(b'/-/healthy', more=HOST + b'Transfer-Encoding: chunked\r\n') + b'0\r\n\r\n',
    question(b'/-/healthy', more=HOST + b'Transfer-Encoding: what\r\n'),
    question(b'/-/healthy', more=HOST + b'Content-Length: x\r\n'),
    question(b'/-/kill?id=1-1', b'POST', HOST + b'Content-Length: 1000000000\r\n'),
    question(b'/-/healthy', more=HOST + b'Upgrade: websocket\r\nConnection: upgrade\r\nExpect: x\r\n'),
    question(b'/-/healthy', more=b'Host: [::1\r\n'), question(b'/' + b'x' * listener.HEAD_SIZE),
    question(b'/-/healthy', more=HOST + b'X: ' + b'x' * listener.HEAD_SIZE + b'\r\n'),
])
def test_anything_but_a_plain_request_for_a_page_is_refused_in_words(octets):
    with with_admin() as (_address, proxy, place):
        shown = ask(place, octets)
        assert shown[:10] == b'HTTP/1.1 4' and split(shown)[1].endswith(b'\n') or b'Expect: x' in octets
        assert [text for text in proxy.said if 'bug' in text] == []


def test_a_content_length_of_0_is_allowed():
    with with_admin() as (_address, _proxy, place):
        assert asked(place, b'/-/reload?dry-run', b'POST', HOST + b'Content-Length: 0\r\n')[0] == 409     # it has no file


def test_peers_that_are_not_among_admin_clients_are_refused():
    with with_admin('clients = 192.0.2.0/24\n') as (_address, _proxy, place):
        assert asked(place, b'/metrics') == (403, b'client 127.0.0.1 is not among [admin] clients\n')
    with with_admin('clients = 127.0.0.1\n') as (_address, _proxy, place):
        assert asked(place, b'/-/healthy')[0] == 200


def test_the_admin_listener_is_never_reached_through_the_proxy():
    with with_admin() as (address, proxy, place):
        for host in ('127.0.0.1', 'localhost', '[::ffff:127.0.0.1]', '0.0.0.0'):
            shown = ask(address, get((host, place[1]), b'/metrics'))
            assert shown.startswith(b'HTTP/1.1 403 ') and b'geproxy_' not in shown
        tunnel = b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % place[1]
        assert ask(address, tunnel).startswith(b'HTTP/1.1 403 ')
        assert set(record.reason for record in proxy.wait(5)) == {'destination_ip_prohibited'}


# --- how many at once ------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def crowd(count, place, client=None):
    """Open that many connections that send nothing."""
    socks = [connect(place, client) for _ in range(count)]
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


def test_silent_connections_of_admin_clients_do_not_block_others():
    with with_admin() as (_address, proxy, place), crowd(3 * listener.MOST, place) as socks:
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        assert read_all(socks[0]) == b''        # the oldest had to go
        proxy.wait_until(lambda: len(proxy.server.admin._greenlets) <= listener.QUICK)


def test_silent_connections_of_strangers_do_not_block_admin_clients():
    with with_admin('clients = 127.0.0.1\n') as (_address, proxy, place), crowd(3 * listener.MOST, place, '127.0.0.2'):
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        assert len(proxy.server.admin._greenlets) <= 1      # the one that has just asked
        proxy.wait_until(lambda: sum(proxy.server.admin.strangers.counts.values()) == 3 * listener.MOST)


def test_subscribers_have_a_limit_of_their_own(monkeypatch):
    monkeypatch.setattr(endpoints, 'SUBSCRIBERS', 2)
    with with_admin() as (_address, proxy, place), tailing(place) as one, tailing(place), crowd(2 * listener.QUICK, place):
        assert asked(place, b'/-/tail') == (503, b'2 watch already\n')
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
        one.close()
        proxy.wait_until(lambda: proxy.server.admin.subscribers == 1)
        with tailing(place):
            pass                                # it has its response


# --- a process -------------------------------------------------------------------------------------------------------

UNIX = '[admin]\nlisten = unix:FOLDER/admin.sock\n'


def test_a_draining_process_is_not_ready_and_answers_until_it_ends():
    go, came = Event(), Event()

    def slow(sock):
        read_until(sock, b'\r\n\r\n')
        came.set()
        go.wait(PATIENCE)
        sock.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine')
    with listening(slow) as origin, running(UNIX) as proxy, Client(proxy.address) as client:
        path = os.path.join(proxy.folder, 'admin.sock')
        proxy.wait_for(br'admin: unix:' + path.encode('ascii'))
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert asked(path, b'/-/ready', more=b'Host: anything.test\r\n') == (200, b'ready\n')
        client.send(get(origin, b'/last'))
        assert came.wait(PATIENCE)
        with tailing(path) as subscriber:
            proxy.tell(signal.SIGTERM)
            proxy.wait_for(br'stopping: waiting for 1 connection')
            assert asked(path, b'/-/ready') == (503, b'draining\n')
            assert asked(path, b'/-/healthy') == (200, b'healthy\n')
            assert asked(path, b'/metrics')[1].startswith(b'# HELP geproxy_build_info ')
            assert [row['phase'] for row in rows(path)] == ['waiting']
            go.set()
            assert client.response().endswith(b'fine')
            client.socket.close()
            assert events(subscriber, 2) == [('ended', 'last')]        # and the stream has its end
        assert proxy.wait() == 0
        assert not os.path.exists(path)
        assert b'Traceback' not in proxy.err


def test_a_stop_does_not_wait_for_connections_that_have_their_answer(monkeypatch):
    monkeypatch.setattr(listener, 'BRIEFLY', 2 * PATIENCE)
    began = monotonic()
    with with_admin() as (_address, _proxy, place):
        assert asked(place, b'/-/healthy') == (200, b'healthy\n')
    assert monotonic() - began < PATIENCE


def test_a_full_process_is_not_ready():
    with with_admin('[limits]\nconnections = 1\n') as (address, _proxy, place), Client(address) as client:
        client.ask(own())
        assert asked(place, b'/-/ready') == (503, b'all 1 connections are taken\n')


def test_a_killed_process_leaves_a_socket_that_the_next_process_replaces():
    with folder() as here:
        text = '[admin]\nlisten = unix:%s/admin.sock\n' % here
        with running(text) as proxy:
            proxy.tell(signal.SIGKILL)
            proxy.popen.wait()
        assert os.listdir(here) == ['admin.sock']
        with running(text) as proxy:
            assert asked(here + '/admin.sock', b'/-/healthy')[0] == 200
            with pytest.raises(AssertionError) as raised:
                with running(text):
                    pass
            assert 'another process listens there; with several, write {pid} into the path' in str(raised.value)
            assert asked(here + '/admin.sock', b'/-/healthy')[0] == 200


def test_a_port_in_use_is_reported_with_its_option():
    with listening(read_all) as place, pytest.raises(AssertionError) as raised:
        with running('[admin]\nlisten = 127.0.0.1:%d\n' % place[1]):
            pass
    assert 'choose another port in [admin] listen' in str(raised.value)


def test_without_the_section_nothing_listens_and_only_the_log_observes():
    with proxying() as (_address, proxy):
        assert proxy.server.admin is None
        assert proxy.server.observers._observers == (proxy,)
