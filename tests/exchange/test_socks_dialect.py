"""Clients that speak SOCKS, with a real proxy and real origins."""
from __future__ import absolute_import, division, print_function

import gc
import json
import socket
import struct

import gevent
import pytest
from helpers import connect, listening, proxying, read_all, read_until
from test_conversation import nothing
from test_leaving import hanging
from test_state import exchange_of

from geproxy import errors
from geproxy.auth import failures
from geproxy.exchange.socks_dialect import SocksDialect
from geproxy.observe import formats
from geproxy.settings import loading

OPEN = '[access]\nconnect_ports = any\n'
NO_LOGIN, PASSWORD = (b'\x05\x01\x00', b'\x05\x00'), (b'\x05\x01\x02', b'\x05\x02')    # (what the client sends, the answer)


def reply5(code):
    """The reply of SOCKS 5 with this code."""
    return b'\x05' + struct.pack('!B', code) + b'\0\x01' + b'\0' * 6


OK, GRANTED, REJECTED = reply5(0), b'\x00\x5a' + b'\0' * 6, b'\x00\x5b' + b'\0' * 6


def echo(sock):
    """An origin that sends back what it gets, in capitals."""
    sock.sendall(read_until(sock, b'!').upper())


def ask5(port, host=b'127.0.0.1', command=1, kind=None):
    """The request of SOCKS 5. `kind`: 1, 3, 4; None: 1 for an IPv4 address, else 3."""
    try:
        where = b'\x01' + socket.inet_aton(host.decode('ascii'))
    except (socket.error, UnicodeError):
        where = None
    if kind == 4:
        where = b'\x04' + socket.inet_pton(socket.AF_INET6, host.decode('ascii'))
    elif kind == 3 or where is None:
        where = b'\x03' + struct.pack('!B', len(host)) + host
    return b'\x05' + struct.pack('!B', command) + b'\0' + where + struct.pack('!H', port)


def ask4(port, host=None, user=b'me', command=1):
    """The request of SOCKS 4, or of 4a if there is a `host`."""
    where = socket.inet_aton('127.0.0.1') if host is None else b'\0\0\0\x01'
    return (b'\x04' + struct.pack('!BH', command, port) + where + user + b'\0' + (
        b'' if host is None else host + b'\0'))


def login(name, password):
    """The message of RFC 1929."""
    return b'\x01' + struct.pack('!B', len(name)) + name + struct.pack('!B', len(password)) + password


def read_exactly(sock, size):
    """Return so many octets, fewer at the end."""
    data = b''
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def talk(address, *steps):
    """Send octets, and wait for those that are to come: `steps` are pairs of both. Return what comes behind them."""
    sock = connect(address)
    try:
        for sent, wanted in steps:
            sock.sendall(sent)
            assert read_exactly(sock, len(wanted)) == wanted
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)
    finally:
        sock.close()


# --- tunnels

@pytest.mark.parametrize('steps', [
    lambda port: [NO_LOGIN, (ask5(port), OK)],
    lambda port: [(b'\x05\x02\x01\x00', b'\x05\x00'), (ask5(port, b'localhost'), OK)],
    lambda port: [(b'\x05\x02\x00\x02', b'\x05\x00'), (ask5(port, b'LocalHost.'), OK)],
    lambda port: [NO_LOGIN, (ask5(port, b'127.0.0.1', kind=3), OK)],
    lambda port: [(b'\x05\x01\x00' + ask5(port), b'\x05\x00' + OK)],         # some do not wait
    lambda port: [(ask4(port), GRANTED)],
    lambda port: [(ask4(port, user=b''), GRANTED)],
    lambda port: [(ask4(port, b'localhost'), GRANTED)],
    # A client that insists on a password, where nobody asks for it.
    lambda port: [PASSWORD, (login(b'who', b'ever'), b'\x01\x00'), (ask5(port), OK)],
    lambda port: [PASSWORD, (login(b'', b''), b'\x01\x00'), (ask5(port), OK)],
])
def test_a_tunnel_opens_and_carries_octets(steps):
    with listening(echo) as (_host, port), proxying(OPEN) as (address, proxy):
        assert talk(address, *(steps(port) + [(b'hello!', b'HELLO!')])) == b''
        record, = proxy.wait(1)
        assert (record.method, record.status, record.tunnel, record.reason) == (b'CONNECT', 200, True, '')
        assert record.url.lower().endswith(b':%d' % port) and record.address == '127.0.0.1' and record.user == b''


def test_it_reaches_ipv6():
    with listening(echo, '::1') as (_host, port), proxying(OPEN, '::1') as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(port, b'::1', kind=4), OK), (b'v6!', b'V6!')) == b''
        assert talk(address, NO_LOGIN, (ask5(port, b'::1', kind=3), OK), (b'v6!', b'V6!')) == b''
        assert [record.url for record in proxy.wait(2)] == [b'[::1]:%d' % port] * 2


@pytest.mark.parametrize('request_', [lambda port: b'\x05\x01\x00' + ask5(port), lambda port: ask4(port, b'localhost')])
def test_it_may_come_in_any_pieces_with_octets_for_the_origin_behind(request_):
    with listening(echo) as (_host, port), proxying(OPEN) as (address, _proxy):
        octets = request_(port) + b'early!'
        for size in (1, 3, len(octets)):
            sock = connect(address)
            for at in range(0, len(octets), size):
                sock.sendall(octets[at:at + size])
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock).endswith(b'EARLY!')
            sock.close()


def test_the_log_shows_it_as_a_connect_and_names_the_version():
    with listening(echo) as (_host, port), proxying(OPEN) as (address, proxy):
        talk(address, NO_LOGIN, (ask5(port), OK), (b'!', b'!'))
        talk(address, (ask4(port), GRANTED), (b'!', b'!'))
        for record, version in zip(proxy.wait(2), ('SOCKS5', 'SOCKS4')):
            assert json.loads(formats.json_line(record, False))['http.version'] == version
            assert '"CONNECT 127.0.0.1:%d %s" 200 ' % (port, version) in formats.common_line(record, False)
            assert ' TCP_TUNNEL/200 ' in formats.squid_line(record, False)
            assert formats.console_line(record, False).startswith('127.0.0.1 CONNECT 127.0.0.1:%d 200 ' % port)


@pytest.mark.parametrize('octets, first, rest', [
    (b'\x05\x01\x00' + ask5(443, b'a.test'), b'\x05\x00\x05', reply5(5)[1:]),
    (ask4(443, b'a.test'), b'\x00', REJECTED[1:]),
])
def test_a_client_that_has_ended_its_direction_gets_its_whole_answer(octets, first, rest):
    with hanging(OPEN) as (address, proxy, gate):
        client = connect(address)
        client.sendall(octets.replace(b'\x01\xbb', b'\x00\x01'))        # nothing listens on port 1
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(client, len(first)) == first    # the last octet shows that the client is still there
        gate.open()
        assert read_all(client) == rest and proxy.wait()[0].reason == 'connection_refused'
        client.close()


def test_the_client_of_a_load_balancer_may_speak_it():
    ini = '[proxy]\nproxy_protocol = 127.0.0.1\n[access]\nconnect_ports = any\nclients = 192.0.2.7\n'
    header = b'PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n'
    with proxying(ini) as (address, proxy):
        assert talk(address, (header + b'\x05\x01\x00', b'\x05\x00'), (ask5(80), reply5(2))) == b''
        record, = proxy.wait(1)
        assert record.client == '192.0.2.7' and record.reason == 'destination_ip_prohibited'


# --- refusals

@pytest.mark.parametrize('host, port, code', [
    (b'denied.test', 443, 2),                   # by a rule
    (b'Denied.TEST.', 443, 2),
    (b'127.0.0.1', 22, 2),                      # by its port
    (b'10.1.2.3', 443, 2), (b'10.1.2.3.', 443, 2), (b'::ffff:10.1.2.3', 443, 2),    # by a rule for networks
    (b'169.254.169.254', 80, 2),                # a special address
    (b'no-such-name.invalid', 80, 4),
    (b'127.0.0.1', 1, 5),                       # nothing listens there
    (b'x y', 80, 8), (b'a/b', 80, 8), (b'a@b', 80, 8), (b'a..b', 80, 8), (b'.', 80, 8), (b'\xc3\xa9.test', 80, 8),
    (b'fe80::1%lo', 80, 8), (b'a:b', 80, 8), (b'[::1]', 80, 8), (b'a.test:80', 80, 8),
    (b'a:1 HTTP/1.1\r\nX: y\r\n', 80, 8),
    (b'a.test', 0, 1),
])
def test_a_refusal_has_the_code_that_fits_and_the_log_has_the_words(host, port, code):
    ini = '[access]\nconnect_ports = 1 80 443\nrules =\n  deny any denied.test\n  deny any 10.0.0.0/8\n  allow any any\n'
    with proxying(ini) as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(port, host, kind=3), reply5(code))) == b''
        assert talk(address, (ask4(port, host), REJECTED)) == b''
        for record in proxy.wait(2):
            assert record.reason and record.message and not record.tunnel


@pytest.mark.parametrize('error, code', [
    (errors.Unroutable('x'), 3), (errors.HostUnreachable('x'), 4), (errors.DnsTimeout('x'), 4),
    (errors.ConnectTimeout('x'), 6), (errors.QuotaExceeded('x'), 2), (errors.AddressDenied('x'), 2),
    (errors.ParentRefused('x', 403), 2), (errors.ParentRefused('x', 502), 1), (errors.InternalError('x'), 1),
    (errors.SourceMissing('x'), 1), (errors.LoginFailed('x'), 2), (errors.ParentFailed('x'), 1),
    (errors.HeadTimeout('x'), 6), (errors.ParentRefused('x', 504), 6), (errors.AddressUnknown('x'), 4),
    (errors.Full('x'), 1), (errors.LoopDetected('x'), 2),
])
def test_each_failure_has_its_code(error, code):
    assert SocksDialect('socks5').refusal(error, 'name', 'id', b'CONNECT', True) == reply5(code)
    assert SocksDialect('socks4').refusal(error, 'name', 'id', b'CONNECT', True) == REJECTED


@pytest.mark.parametrize('rule', ['deny any CONNECT any', 'deny any https://127.0.0.1'])
def test_rules_for_connect_and_https_mean_it(rule):
    ini = '[access]\nconnect_ports = any\nrules =\n  %s\n  allow any any\n' % rule
    with listening(nothing) as (_host, port), proxying(ini) as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(port), reply5(2))) == b''
        assert proxy.wait(1)[0].message.endswith(': ' + rule)


def test_a_rule_for_http_does_not_mean_it():
    ini = '[access]\nconnect_ports = any\nrules =\n  allow any http://127.0.0.1\n'
    with listening(nothing) as (_host, port), proxying(ini) as (address, _proxy):
        assert talk(address, NO_LOGIN, (ask5(port), reply5(2))) == b''


def test_limits_count_it():
    with listening(echo) as (_host, port), proxying(OPEN + '[limits]\nrequests = 0.01\nburst = 1\n') as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(port), OK), (b'!', b'!')) == b''
        assert talk(address, NO_LOGIN, (ask5(port), reply5(2))) == b''
        assert talk(address, (ask4(port), REJECTED)) == b''
        assert [record.reason for record in proxy.wait(3)[1:]] == ['request_rate_exceeded'] * 2


def test_the_proxy_itself_is_no_destination():
    with proxying(OPEN) as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(address[1]), reply5(2))) == b''
        assert 'is this proxy itself' in proxy.wait(1)[0].message


@pytest.mark.parametrize('command, word', [(2, 'BIND'), (3, 'UDP ASSOCIATE'), (9, 'number 9')])
def test_the_only_command_is_connect(command, word):
    with listening(nothing) as (_host, port), proxying(OPEN) as (address, proxy):
        assert talk(address, NO_LOGIN, (ask5(port, command=command), reply5(7))) == b''
        assert talk(address, (ask4(port, command=command), REJECTED)) == b''
        for record in proxy.wait(2):
            assert record.message.startswith('the only SOCKS command here is CONNECT') and word in record.message


@pytest.mark.parametrize('octets, shown', [
    (b'\x05\x00', b'\x05\xff'), (b'\x05\x01\x00\x06', b'\x05\x00' + reply5(1)),
    (b'\x05\x01\x00\x05\x01\x00\x07\x00', b'\x05\x00' + reply5(8)),
    (b'\x05\x01\x00GET http://a.test/ HTTP/1.1\r\n\r\n', b'\x05\x00' + reply5(1)),
    (b'\x05\x01\x02\x05', b'\x05\x02\x01\x01'),
    (b'\x04\x01\x00\x50\x7f\0\0\x01' + b'x' * 300, REJECTED),
])
def test_what_is_no_socks_is_refused(octets, shown):
    with proxying() as (address, proxy):
        assert talk(address, (octets, shown)) == b''
        assert 'invalid SOCKS message' in proxy.wait(1)[0].message


@pytest.mark.parametrize('octets, shown', [
    (b'\x05', b'\x05\xff'), (b'\x05\x02\x00', b'\x05\xff'), (b'\x05\x01\x02\x01\x03a', b'\x05\x02\x01\x01'),
    (b'\x05\x01\x00\x05\x01', b'\x05\x00' + reply5(6)), (b'\x04', REJECTED), (b'\x04\x01\x00\x50\x7f', REJECTED),
])
def test_a_client_that_stops_in_the_middle_is_given_up(octets, shown):
    with proxying('[timeouts]\nhead = 200ms\n') as (address, proxy):
        sock = connect(address)
        sock.sendall(octets)
        assert read_exactly(sock, len(shown)) == shown
        assert proxy.wait(1)[0].reason == 'client_head_timeout'
        sock.close()


def test_a_client_that_sends_octet_by_octet_has_the_same_time_for_all_of_it():
    with proxying('[timeouts]\nhead = 300ms\n') as (address, proxy):
        sock = connect(address)
        for octet in [b'\x05', b'\xff'] + [b'\x00'] * 250:
            if proxy.records:
                break
            sock.sendall(octet)
            gevent.sleep(0.01)
        assert proxy.wait(1)[0].reason == 'client_head_timeout'
        sock.close()


def test_it_is_ended_like_any_other_exchange():
    with proxying() as (address, proxy):
        sock = connect(address)
        sock.sendall(b'\x05\x01\x00\x05')
        assert read_exactly(sock, 2) == b'\x05\x00'
        exchange = exchange_of(proxy, 'head')
        ending = gevent.spawn(proxy.server.end, [exchange.conversation], errors.Killed('by a test'))
        assert read_all(sock) == reply5(1) and proxy.wait(1)[0].reason == 'killed'
        sock.close()
        ending.join()


def test_a_stranger_is_refused():
    with proxying('[access]\nclients = 10.0.0.1\n') as (address, proxy):
        assert talk(address, (b'\x05\x01\x00', b'\x05\xff')) == b''
        assert talk(address, (ask4(80), REJECTED)) == b''
        assert not proxy.records


def test_it_can_be_turned_off():
    with proxying('[proxy]\nsocks = off\n') as (address, proxy):
        assert talk(address, (b'\x05\x01\x00', b'\x05\xff')) == b''
        assert talk(address, (ask4(80), REJECTED)) == b''
        for record in proxy.wait(2):
            assert record.reason == 'wrong_protocol' and '[proxy] socks is off' in record.message


def test_only_the_first_octets_of_a_connection_can_be_socks():
    with proxying() as (address, _proxy):
        shown = talk(address, (b'OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n' + b'\x05\x01\x00', b'HTTP/1.1 200'))
        assert b'HTTP/1.1 400 ' in shown


# --- log-ins

@pytest.fixture
def people(tmpdir):
    """Ini text with a user eve, whose password is secret."""
    tmpdir.join('users').write('eve:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n')
    return '[access]\nconnect_ports = any\n%%s[auth]\nusers = %s\n%%s' % tmpdir.join('users')


GOOD = (login(b'eve', b'secret'), b'\x01\x00')


def test_a_user_logs_in_with_name_and_password(people):
    with listening(echo) as (_host, port), proxying(people % ('rules = allow user:eve any\n', '')) as (address, proxy):
        assert talk(address, (b'\x05\x02\x00\x02', b'\x05\x02'), GOOD, (ask5(port), OK), (b'hello!', b'HELLO!')) == b''
        record, = proxy.wait(1)
        assert record.user == b'eve' and record.rule
        octets = b'\x05\x01\x02' + login(b'eve', b'secret') + ask5(port) + b'early!'
        assert talk(address, (octets, b'\x05\x02\x01\x00' + OK)) == b'EARLY!'


@pytest.mark.parametrize('steps, reason', [
    ([PASSWORD, (login(b'eve', b'wrong'), b'\x01\x01')], 'login_failed'),
    ([PASSWORD, (login(b'bob', b'secret'), b'\x01\x01')], 'login_failed'),
    ([PASSWORD, (login(b'', b''), b'\x01\x01')], 'login_failed'),
    ([(b'\x05\x01\x00', b'\x05\xff')], 'login_required'),
    ([(b'\x05\x02\x00\x01', b'\x05\xff')], 'login_required'),
    ([(b'\x05\x01\x01', b'\x05\xff')], 'http_request_error'),
    ([(ask4(80, user=b'eve'), REJECTED)], 'login_required'),
])
def test_a_log_in_that_is_wrong_or_missing_is_refused(people, steps, reason):
    with proxying(people % ('', '')) as (address, proxy):
        assert talk(address, *steps) == b''
        record, = proxy.wait(1)
        assert record.reason == reason and b'secret' not in record.message.encode('ascii')
        if reason == 'login_required':
            assert 'use socks5h://NAME:PASSWORD@HOST:PORT' in record.message


def test_a_failed_log_in_counts_once_and_guessers_are_throttled(people):
    with proxying(people % ('', '[limits]\nrequests = 0.01\nburst = 1\n')) as (address, proxy):
        for answer in (b'\x01\x01', b'\x01\x01'):
            assert talk(address, PASSWORD, (login(b'eve', b'wrong'), answer)) == b''
        assert [record.reason for record in proxy.wait(2)] == ['login_failed', 'request_rate_exceeded']


@pytest.mark.parametrize('steps, user', [
    ([NO_LOGIN], b''), ([(b'\x05\x02\x00\x02', b'\x05\x02'), GOOD], b'eve'),
    ([(b'\x05\x02\x00\x02', b'\x05\x02'), (login(b'joe', b''), b'\x01\x00')], b''),     # Java without a log-in
])
def test_a_client_that_is_exempt_need_not_log_in(people, steps, user):
    with listening(echo) as (_host, port), proxying(people % ('', 'exempt = loopback\n')) as (address, proxy):
        assert talk(address, *(steps + [(ask5(port), OK), (b'!', b'!')])) == b''
        assert talk(address, (ask4(port), GRANTED), (b'!', b'!')) == b''
        assert [record.user for record in proxy.wait(2)] == [user, b'']


def test_a_wrong_log_in_of_a_client_that_is_exempt_is_refused(people):
    with proxying(people % ('', 'exempt = loopback\n')) as (address, _proxy):
        assert talk(address, PASSWORD, (login(b'eve', b'wrong'), b'\x01\x01')) == b''


def test_a_client_that_offers_no_log_in_of_ours_is_refused():
    with proxying() as (address, proxy):
        assert talk(address, (b'\x05\x02\x01\x80', b'\x05\xff')) == b''
        assert 'offers only the SOCKS log-in methods 1 128;' in proxy.wait(1)[0].message


@pytest.mark.parametrize('password, rest', [(b'wrong', b''), (b'secret', b'\x00' + reply5(5))])
def test_a_client_that_ends_its_direction_while_its_log_in_waits_gets_its_whole_answer(people, password, rest):
    octets = b'\x05\x01\x02' + login(b'eve', password) + ask5(1)
    with proxying(people % ('', '')) as (address, proxy):
        for _ in range(failures.FREE):
            assert talk(address, PASSWORD, (login(b'eve', b'wrong'), b'\x01\x01')) == b''
        client = connect(address)
        client.sendall(octets)              # the next attempt waits
        client.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 3) == b'\x05\x02\x01' and len(proxy.records) == failures.FREE
        assert read_all(client) == (rest or b'\x01')
        client.close()
        assert not proxy.wait(failures.FREE + 1)[-1].aborted


def test_the_time_of_a_log_in_is_not_the_time_of_the_client(people):
    with listening(echo) as (_host, port), proxying(people % ('', '[timeouts]\nhead = 900ms\n')) as (address, _proxy):
        for _ in range(failures.FREE + 1):
            assert talk(address, PASSWORD, (login(b'eve', b'wrong'), b'\x01\x01')) == b''
        client = connect(address)
        client.sendall(PASSWORD[0] + GOOD[0])
        assert read_exactly(client, 4) == PASSWORD[1] + GOOD[1]         # after a second
        gevent.sleep(0.3)                   # longer than what would be left
        client.sendall(ask5(port) + b'!')
        assert read_all(client) == OK + b'!'
        client.close()


# --- through parents

OUTER = OPEN + '[proxy]\nname = outer\n[upstream]\nroutes = any %s://127.0.0.1:%d\n'


@pytest.mark.parametrize('scheme', ['http', 'socks4a', 'socks5h', 'socks5'])
def test_it_goes_on_through_parents(scheme):
    with listening(echo) as (_host, port), proxying(OPEN) as (parent, behind):
        with proxying(OUTER % (scheme, parent[1])) as (address, proxy):
            assert talk(address, NO_LOGIN, (ask5(port, b'localhost'), OK), (b'hello!', b'HELLO!')) == b''
            assert talk(address, (ask4(port), GRANTED), (b'hello!', b'HELLO!')) == b''
            assert [record.route for record in proxy.wait(2)] == ['%s://127.0.0.1:%d' % (scheme, parent[1])] * 2
            assert [record.tunnel for record in behind.wait(2)] == [True] * 2


@pytest.mark.parametrize('scheme, ini, code', [
    ('http', '[access]\nrules = deny any any\n', 2), ('socks5h', '[access]\nrules = deny any any\n', 2), ('http', OPEN, 1),
])
def test_a_refusal_of_a_parent_has_a_code(scheme, ini, code):
    with proxying(ini) as (parent, _behind):
        with proxying(OUTER % (scheme, parent[1])) as (address, proxy):
            assert talk(address, NO_LOGIN, (ask5(1), reply5(code))) == b''
            assert proxy.wait(1)[0].reason == 'parent_refused'


def test_a_parent_that_is_the_proxy_itself_is_found():
    with proxying(OPEN) as (address, proxy):
        settings = loading.load('other.ini', (OPEN + '[upstream]\nroutes = any socks5h://127.0.0.1:%d' % address[1]).splitlines())
        proxy.server._use(settings)
        assert talk(address, NO_LOGIN, (ask5(80, b'a.test'), reply5(2))) == b''
        assert proxy.wait(1)[0].reason == 'proxy_loop_detected'


def test_a_password_does_not_wait_for_the_collector():
    gc.collect()
    gc.disable()
    try:
        dialect = SocksDialect('socks5')
        assert dialect.first and dialect.refusal(errors.Denied('x'), '', '', b'', True)
        del dialect
        assert not [each for each in gc.get_objects() if isinstance(each, SocksDialect)]
    finally:
        gc.enable()
