"""Strangers: they are told why, closed and counted, and never take the place of a client. Real sockets."""
from __future__ import absolute_import, division, print_function

import contextlib
import re

import pytest
from helpers import PATIENCE, ask, connect, proxying, read_all, read_until, stream_pair
from processes import own

from geproxy.exchange import strangers
from geproxy.exchange.strangers import EACH, MOST, PAUSE, Strangers

STRANGER = '127.0.0.2'
INI = '[access]\nclients = 127.0.0.1\n[limits]\nconnections = 2\n'


@contextlib.contextmanager
def crowd(address, count):
    """That many silent connections of a stranger."""
    socks = [connect(address, STRANGER) for _ in range(count)]
    try:
        yield socks
    finally:
        for sock in socks:
            sock.close()


@pytest.fixture
def hasty(monkeypatch):
    """Have strangers not waited for."""
    monkeypatch.setattr(strangers, 'HEAD', strangers.HEAD._replace(seconds=0.01))
    monkeypatch.setattr(strangers, 'LINGER', 0.01)


@pytest.fixture
def patient(monkeypatch):
    """Strangers are waited for, longer than any test takes."""
    monkeypatch.setattr(strangers, 'HEAD', strangers.HEAD._replace(seconds=10 * PATIENCE))


def test_silent_strangers_never_take_the_place_of_a_client(patient):
    with proxying(INI) as (address, proxy), crowd(address, 3 * MOST):
        assert ask(address, own()).startswith(b'HTTP/1.1 200 ')
        proxy.wait_until(lambda: proxy.server.strangers.counts['dropped'] == 3 * MOST - EACH)
        assert proxy.server.rejected == 3 * MOST and not proxy.server.live


def test_a_silent_stranger_is_told_why_it_is_refused(hasty):
    with proxying(INI) as (address, _proxy), crowd(address, 1) as (sock,):
        assert read_all(sock).startswith(b'HTTP/1.1 403 client 127.0.0.2 is not among [access] clients\r\n')


@pytest.mark.parametrize('octets, answer', [
    (b'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n', br'HTTP/1\.1 403 .*\r\nConnection: close\r\n\r\ngep.*\n\Z'),
    (b'HEAD http://a.test/ HTTP/1.1\r\n', br'HTTP/1\.1 403 .*\r\n\r\n\Z'),
    (b'\x16\x03\x01\x02\x00', br'\x15\x03\x01\x00\x02\x02\x31\Z'),
    (b'\x05\x01\x00', br'\x05\xff\Z'),
    (b'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n', br'HTTP/1\.1 403 '),
])
def test_a_stranger_is_refused_in_the_protocol_that_it_speaks(octets, answer):
    with proxying(INI) as (address, _proxy), crowd(address, 1) as (sock,):
        sock.sendall(octets)
        assert re.match(b'(?s)' + answer, read_all(sock))


def test_a_stranger_whose_protocol_is_not_known_is_refused_in_http(hasty):
    with proxying(INI) as (address, _proxy), crowd(address, 1) as (sock,):
        sock.sendall(b'P')
        assert read_all(sock).startswith(b'HTTP/1.1 403 ')


def test_the_connection_of_a_stranger_that_keeps_sending_is_closed(monkeypatch):
    monkeypatch.setattr(strangers, 'LINGER', 0.01)
    with proxying(INI) as (address, proxy), crowd(address, 1) as (sock,):
        sock.sendall(b'POST http://a.test/ HTTP/1.1\r\n')
        assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 403 ')
        proxy.wait_until(lambda: proxy.server.strangers.counts['told'] == 1)    # though it has not hung up


def test_the_error_log_has_one_line_for_all_strangers_with_their_request_id():
    with proxying(INI) as (address, proxy):
        shown = [ask(address, own(), STRANGER) for _ in range(3)]
        proxy.wait_until(lambda: proxy.server.strangers.counts['told'] == 3)
        proxy.server._housekeeping.report_log()
        lines = [line for line in proxy.said if line[1:].startswith(
            ' connections refused, because these are not in [access] clients: 127.0.0.2 (')]
        assert len(lines) == 1 and proxy.records == []
        assert re.search(br'\nrequest id: (\S+)\n', shown[0]).group(1).decode('ascii') in lines[0]


def test_a_monitor_that_only_connects_is_counted_and_not_logged():
    with proxying(INI) as (address, proxy):
        connect(address, STRANGER).close()
        proxy.wait_until(lambda: proxy.server.strangers.counts['left'] == 1)
        assert proxy.server.strangers.report(PAUSE * 10 ** 6) == []


def turned_away(those, client):
    """Have one silent stranger turned away -> what it got."""
    with stream_pair() as (stream, other):
        those.turn_away(stream, client, lambda _octets, _id: b'no')
        return read_all(other)


def test_lines_about_strangers_are_rare_and_short_and_count_all(monkeypatch):
    monkeypatch.setattr(strangers, 'MOST', 0)           # nobody has to be waited for
    monkeypatch.setattr(strangers, 'COUNTED', strangers.NAMED + 1)
    those = Strangers('access')
    assert those.report(0) == []
    assert turned_away(those, '10.0.0.1') == b''
    assert re.match(r'1 connections refused, .*: 10\.0\.0\.1 \(1\); 1 of them got no answer \[\S+\]\Z', those.report(0)[0])
    for number in range(20):
        turned_away(those, '10.0.0.%d' % number)
    turned_away(those, '10.0.0.3')
    assert those.report(PAUSE - 1) == []
    line, = those.report(PAUSE)
    assert line.startswith('21 connections refused, because these are not in [access] clients: 10.0.0.3 (2), ')
    assert re.search(r', others \(10\); 21 of them got no answer \[', line) and line.count('10.0.0.') == 10
    assert len(those._clients) == 0


def test_one_stranger_leaves_room_for_another(monkeypatch, patient):
    monkeypatch.setattr(strangers, 'MOST', EACH + 1)
    with proxying(INI) as (address, proxy), crowd(address, EACH + 5):
        assert ask(address, own(), '127.0.0.3').startswith(b'HTTP/1.1 403 ')
        proxy.wait_until(lambda: proxy.server.strangers.counts['dropped'] == 5)


def test_a_client_that_a_reload_made_a_stranger_is_refused_at_its_next_request():
    with proxying(INI) as (address, proxy):
        sock = connect(address)
        sock.sendall(own())
        assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        settings = proxy.server.proxy.settings
        others = [network for network in settings.access.clients if network.text == 'nobody']
        proxy.server._use(settings._replace(access=settings.access._replace(clients=others)))
        sock.sendall(own())
        assert read_all(sock).startswith(b'HTTP/1.1 403 ')
        sock.close()
