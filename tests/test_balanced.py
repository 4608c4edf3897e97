"""Behind a load balancer: what a PROXY header does to a connection, and who may send one. 127.0.0.2 is trusted."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import socket

import gevent
import pytest
from helpers import ask, connect, listening, proxying, read_all, read_until
from processes import answering, get, own
from test_proxy_header import BAD, IPV4, LOCAL, NONE, PROXY, SSL, TCP4, UNIX, places, v2

BALANCER, STRANGER = '127.0.0.2', '127.0.0.3'
INI = '[proxy]\nproxy_protocol = %s\n' % BALANCER
OPEN = '[access]\nclients = any\nallow_addresses = loopback\n'
LINE = b'PROXY TCP4 192.0.2.7 10.0.0.1 56324 9000\r\n'
HERE = b'PROXY TCP4 127.0.0.1 10.0.0.1 56324 9000\r\n'


def sent_by(client, more=INI + OPEN):
    """What comes back, to one who sends octets from that address, and the records: a function of octets."""
    def send(octets):
        with proxying(more) as (address, proxy):
            shown = ask(address, octets, client)
            proxy.server.drain()
            return shown, proxy.records
    return send


@contextlib.contextmanager
def balanced(octets, address):
    """A connection of the load balancer that has sent `octets`."""
    sock = connect(address, BALANCER)
    try:
        sock.sendall(octets)
        yield sock
    finally:
        sock.close()


# --- who the client is -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('header,client', [
    (LINE, '192.0.2.7'),
    (v2(PROXY, TCP4, IPV4 + SSL), '192.0.2.7'),
    (v2(PROXY, b'\x21', places('2001:db8::7', '::1')), '2001:db8::7'),
    (v2(PROXY, b'\x21', places('::ffff:192.0.2.7', '::1')), '192.0.2.7'),
    (v2(LOCAL, NONE, b''), BALANCER),
    (b'PROXY UNKNOWN\r\n', BALANCER),
    (v2(PROXY, UNIX, b'\0' * 216), BALANCER),
])
def test_the_client_of_the_header_is_served(header, client):
    with listening(answering()) as origin:
        shown, records = sent_by(BALANCER)(header + get(origin))
    assert shown.endswith(b'\r\n\r\nfine')
    assert [record.client for record in records] == [client]


def test_the_octets_of_the_header_are_those_of_no_exchange():
    request = own()
    shown, records = sent_by(BALANCER)(LINE + request + request)
    assert shown.count(b'HTTP/1.1 200 ') == 2
    assert [(record.client, record.received) for record in records] == [('192.0.2.7', len(request))] * 2


def test_a_header_that_comes_octet_by_octet_is_the_same():
    with proxying(INI + OPEN) as (address, proxy), balanced(b'', address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        octets = v2(PROXY, TCP4, IPV4) + own()
        for at in range(len(octets)):
            sock.sendall(octets[at:at + 1])
            gevent.sleep(0)
        assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        assert proxy.wait()[0].client == '192.0.2.7'


def test_strangers_behind_a_load_balancer_are_strangers():
    with proxying(INI) as (address, proxy):
        assert ask(address, LINE + own(), BALANCER).startswith(
            b'HTTP/1.1 403 client 192.0.2.7 is not among [access] clients\r\n')
        proxy.wait_until(lambda: ' 192.0.2.7 (1) [' in ''.join(proxy.said))


def test_rules_go_by_the_client_and_not_by_the_load_balancer():
    rules = INI + OPEN + 'rules =\n  deny 192.0.2.7 any\n  allow any any\n'
    with listening(answering()) as origin:
        assert sent_by(BALANCER, rules)(LINE + get(origin))[0].startswith(b'HTTP/1.1 403 ')
        assert sent_by(BALANCER, rules)(LINE.replace(b'192.0.2.7', b'192.0.2.8') + get(origin))[0].endswith(b'fine')


def test_limits_count_clients_and_not_the_load_balancer():
    second = LINE.replace(b'192.0.2.7', b'192.0.2.8')
    with proxying(INI + OPEN + '[limits]\nper_client = 1\n') as (address, proxy):
        with balanced(LINE + own(), address) as first, balanced(second + own(), address) as other:
            for sock in (first, other):
                assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
            assert ask(address, LINE + own(), BALANCER).startswith(
                b'HTTP/1.1 429 client 192.0.2.7 has 1 connections already ')
        # And each is forgotten when it goes.
        proxy.wait_until(lambda: not proxy.server.live)
        assert ask(address, LINE + own(), BALANCER).startswith(b'HTTP/1.1 200 ')


def test_rates_of_requests_are_those_of_clients():
    with proxying(INI + OPEN + '[limits]\nrequests = 0.01\nburst = 1\n') as (address, _proxy):
        statuses = [ask(address, line + own().replace(b'Max-Forwards', b'X-No') + own(), BALANCER)[9:12]
                    for line in (LINE, LINE, LINE.replace(b'192.0.2.7', b'192.0.2.8'))]
    assert statuses[1] == b'429' and statuses[0] == statuses[2] != b'429'


def test_origins_are_told_of_the_client_and_not_of_the_load_balancer():
    heads = []

    def origin(sock):
        heads.append(read_until(sock, b'\r\n\r\n'))
        sock.sendall(b'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
    with listening(origin) as place:
        sent_by(BALANCER, INI + 'forwarded = add\n' + OPEN)(LINE + get(place))
    assert b'\r\nX-Forwarded-For: 192.0.2.7\r\n' in heads[0] and BALANCER.encode('ascii') not in heads[0]


# --- loopback --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('header', [
    HERE, v2(PROXY, TCP4, places('127.0.0.1', '10.0.0.1')), v2(PROXY, b'\x21', places('::1', '::1')),
    b'PROXY TCP6 ::ffff:127.0.0.1 ::1 1 2\r\n', b'PROXY UNKNOWN\r\n', v2(PROXY, NONE, b''),
])
def test_a_header_that_says_loopback_or_nothing_opens_no_loopback(header):
    with listening(answering()) as origin:
        shown, records = sent_by(BALANCER, INI)(header + get(origin))
    assert shown.startswith(b'HTTP/1.1 403 127.0.0.1 is a loopback address\r\n')
    assert records[0].reason == 'destination_ip_prohibited'


def test_nor_does_it_after_a_client_of_this_host_was_there():
    with listening(answering()) as origin, proxying(INI) as (address, _proxy):
        for _ in range(2):
            assert ask(address, get(origin)).endswith(b'fine')
            assert ask(address, HERE + get(origin), BALANCER).startswith(b'HTTP/1.1 403 ')


def test_a_load_balancer_on_this_host_that_speaks_for_itself_is_a_client_of_this_host():
    with listening(answering()) as origin:
        assert sent_by(BALANCER, INI)(v2(LOCAL, NONE, b'') + get(origin))[0].endswith(b'fine')


# --- none, a wrong one, a late one -----------------------------------------------------------------------------------

def test_a_load_balancer_that_sends_none_is_told_how_to_mend_it():
    shown, records = sent_by(BALANCER)(own())
    assert shown.startswith(b'HTTP/1.1 400 no PROXY header came from a peer that [proxy] proxy_protocol trusts, so ')
    assert b'HTTP/1.1 200' not in shown and b'\r\nConnection: close\r\n' in shown
    assert [(record.client, record.reason) for record in records] == [(BALANCER, 'proxy_header_error')]
    assert 'send-proxy-v2' in records[0].message


@pytest.mark.parametrize('octets', [octets for octets, said in BAD[8:20]])
def test_a_wrong_one_ends_the_connection(octets):
    shown, records = sent_by(BALANCER)(octets + own())
    assert shown.startswith(b'HTTP/1.1 400 ') and b'HTTP/1.1 200' not in shown
    assert [record.reason for record in records] == ['proxy_header_error']


@pytest.mark.parametrize('octets', [b'', b'\r\n\r\n\x00', b'PROXY TCP4 192.0.2.7'])
def test_an_incomplete_header_is_never_served(octets):
    shown, records = sent_by(BALANCER)(octets)
    assert [record.reason for record in records] == (['client_lost'] if octets else [])
    assert shown[:12] == (b'HTTP/1.1 400' if octets else b'')


@pytest.mark.parametrize('octets', [b'', b'PROXY TCP4 192.0.2.7'])
def test_it_has_the_time_of_a_head(octets):
    with proxying(INI + '[timeouts]\nhead = 200ms\n') as (address, proxy), balanced(octets, address) as sock:
        assert read_all(sock)[:12] == (b'HTTP/1.1 408' if octets else b'')
        proxy.wait_until(lambda: not proxy.server.live)
        assert [record.reason for record in proxy.records] == (['client_head_timeout'] if octets else [])


def test_a_load_balancer_without_a_header_does_not_delay_a_stop():
    with proxying(INI) as (address, proxy), balanced(b'PROXY', address) as sock, balanced(b'', address) as silent:
        proxy.wait_until(lambda: len(proxy.server.live) == 2)
        with gevent.Timeout(4, AssertionError('it waits')):
            proxy.server.drain()
            assert read_all(silent) == b'' and read_all(sock)[:12] in (b'', b'HTTP/1.1 408')
        assert not proxy.server.live


# --- spoofs ----------------------------------------------------------------------------------------------------------

SPOOFS = [LINE, HERE, b'PROXY UNKNOWN\r\n', v2(PROXY, TCP4, IPV4), v2(LOCAL, NONE, b'')]


@pytest.mark.parametrize('header', SPOOFS)
@pytest.mark.parametrize('more', [INI + OPEN, OPEN])
def test_a_header_of_an_untrusted_peer_is_refused(header, more):
    shown, records = sent_by(STRANGER, more)(header + own())
    assert shown.startswith(b'HTTP/1.1 400 that is a PROXY header, from a peer that may not say who the client is\r\n')
    assert b'add its address to [proxy] proxy_protocol' in shown and b'HTTP/1.1 200' not in shown
    assert [(record.client, record.reason) for record in records] == [(STRANGER, 'proxy_header_refused')]


@pytest.mark.parametrize('header', SPOOFS)
def test_a_client_that_sends_one_through_the_load_balancer_is_refused(header):
    shown, records = sent_by(BALANCER)(LINE + header + own())
    assert shown.startswith(b'HTTP/1.1 400 ') and b'HTTP/1.1 200' not in shown
    assert [(record.client, record.reason) for record in records] == [('192.0.2.7', 'proxy_header_refused')]


def test_others_need_none():
    assert sent_by(STRANGER)(own())[0].startswith(b'HTTP/1.1 200 ')


def test_a_reload_changes_the_trusted_peers(tmpdir):
    with proxying(OPEN) as (address, proxy):
        assert ask(address, LINE + own(), BALANCER).startswith(b'HTTP/1.1 400 ')
        path = tmpdir.join('new.ini')
        path.write(INI + OPEN)
        proxy.server.reloads.path, proxy.change = str(path), lambda _settings, *_call: None
        assert proxy.server.reload('SIGHUP').good
        assert ask(address, LINE + own(), BALANCER).startswith(b'HTTP/1.1 200 ')


@pytest.mark.parametrize('prefix, status', [(64, b'200'), (48, b'429')])
def test_how_much_of_ipv6_is_one_client_is_an_option(prefix, status):
    first, second = [b'PROXY TCP6 2001:db8:1:%d::1 2001:db8::1 1 2\r\n' % number for number in (1, 2)]
    more = '[limits]\nper_client = 1\nipv6_prefix = %d\n' % prefix
    with proxying(INI + OPEN + more) as (address, _proxy), balanced(first + own(), address) as sock:
        assert read_until(sock, b'\r\n\r\n').startswith(b'HTTP/1.1 200 ')
        assert ask(address, second + own(), BALANCER)[9:12] == status


def test_failed_log_ins_of_an_ipv6_client_count_for_its_network(tmpdir):
    tmpdir.join('users').write(b'bob:{SHA}' + b'A' * 27 + b'=', 'wb')
    more = '[auth]\nusers = %s\n[limits]\nipv6_prefix = 48\n' % tmpdir.join('users')
    with proxying(INI + OPEN + more) as (address, proxy):
        request = own()[:-2] + b'Proxy-Authorization: Basic ' + base64.b64encode(b'bob:x') + b'\r\n\r\n'
        shown = ask(address, b'PROXY TCP6 2001:db8:1:2::1 2001:db8::1 1 2\r\n' + request, BALANCER)
        assert shown.startswith(b'HTTP/1.1 407 ')
        pairs = proxy.server._logins._failures._pairs
        assert len(pairs) == 1 and ('2001:db8:1::/48', b'bob') in pairs
