"""How connections become TLS, or stay plain, or fail. (test_encrypted has what goes on inside.)"""
from __future__ import absolute_import, division, print_function

import collections
import socket
import ssl
import sys

import encrypted
import gevent
import helpers
import pytest
from gevent.lock import Semaphore
from helpers import connect
from processes import own
from test_proxy_header import IPV4, PROXY, TCP4, v2

from geproxy import errors
from geproxy.exchange import handshaking

Unraisable = collections.namedtuple('Unraisable', 'exc_value object')
STRANGER = '127.0.0.2'
PROTOCOL_VERSION, ACCESS_DENIED = b'\x15\x03\x01\x00\x02\x02\x46', b'\x15\x03\x01\x00\x02\x02\x31'      # alerts
BALANCED = '[proxy]\nproxy_protocol = 127.0.0.1\n[access]\nclients = any\n'
LINE = b'PROXY TCP4 192.0.2.7 10.0.0.1 56324 9000\r\n'


def counts(proxy):
    """How handshakes have ended so far, without those that have not."""
    return dict((name, count) for name, count in proxy.server.handshakes.counts.items() if count)


def phases(proxy):
    """The phases of all connections."""
    return [conversation.view().phase for conversation in proxy.server.live]


def failed(proxy, reason='tls_handshake_failed'):
    """Wait for the record of a handshake that has failed. Return what it says."""
    record = proxy.wait()[0]
    assert (record.reason, record.status, record.aborted) == (reason, 0, True)
    proxy.wait_until(lambda: not proxy.server.live)
    return record.message


def test_the_same_port_takes_tls_and_everything_else():
    with encrypted.proxying() as (address, proxy):
        for ask in (encrypted.ask, helpers.ask, encrypted.ask):
            assert ask(address, own()).startswith(b'HTTP/1.1 200 ')
        assert counts(proxy) == {'done': 2}
        assert [record.status for record in proxy.wait(3)] == [200] * 3


def test_without_a_certificate_nobody_looks_what_a_client_begins_with(monkeypatch):
    monkeypatch.delattr(handshaking, 'peek')
    with helpers.proxying() as (address, proxy):
        assert helpers.ask(address, own()).startswith(b'HTTP/1.1 200 ')
        assert helpers.ask(address, encrypted.first_flight()) == PROTOCOL_VERSION
        assert [record.reason for record in proxy.wait(2)] == ['', 'wrong_protocol']


def test_a_handshake_may_come_octet_by_octet():
    flight = encrypted.first_flight()
    with encrypted.proxying() as (address, proxy):
        sock = connect(address)
        for at in range(len(flight)):
            sock.sendall(flight[at:at + 1])
            if at < 8:
                gevent.sleep(0.002)
        assert sock.recv(3) == b'\x16\x03\x03'
        sock.close()
        assert 'ended the connection' in failed(proxy)


def test_a_plain_request_may_come_octet_by_octet():
    with encrypted.proxying() as (address, _proxy):
        sock = connect(address)
        for at in range(len(own())):
            sock.sendall(own()[at:at + 1])
            gevent.sleep(0.001)
        assert sock.recv(13) == b'HTTP/1.1 200 '
        sock.close()


@pytest.mark.parametrize('how', ['silent', 'closed'])
def test_a_client_that_sends_nothing_makes_no_record(how):
    with encrypted.proxying('[timeouts]\nhead = 0.3\n') as (address, proxy):
        sock = connect(address)
        if how == 'closed':
            sock.close()
        else:
            assert sock.recv(1) == b''
            sock.close()
        proxy.wait_until(lambda: proxy.server.accepted == 1 and not proxy.server.live)
        assert not proxy.records and not counts(proxy)


# --- who may

def test_a_stranger_is_told_in_plain_octets_and_costs_no_handshake():
    with encrypted.proxying('[access]\nclients = 127.0.0.1\n') as (address, proxy):
        assert helpers.ask(address, encrypted.first_flight(), STRANGER) == ACCESS_DENIED
        proxy.wait_until(lambda: proxy.server.strangers.counts['told'] == 1)
        assert not counts(proxy)


def test_one_for_whom_there_is_no_room_costs_no_handshake():
    with encrypted.proxying('[limits]\nper_client = 1\n') as (address, proxy):
        first = encrypted.connect(address)
        assert helpers.ask(address, encrypted.first_flight()) == ACCESS_DENIED
        first.close()
        assert [record.reason for record in proxy.wait()] == ['client_connections_exceeded']
        assert counts(proxy) == {'done': 1}


def test_handshakes_of_a_client_count_for_the_limit_of_requests():
    with encrypted.proxying('[limits]\nrequests = 0.01\nburst = 2\n') as (address, proxy):
        socks = [encrypted.connect(address) for _ in range(2)]
        assert helpers.ask(address, encrypted.first_flight()) == ACCESS_DENIED
        assert 'TLS handshakes per second' in proxy.wait()[0].message
        assert counts(proxy) == {'done': 2, 'refused': 1}
        # They do not count as requests, or nothing could be asked for by then.
        socks[0].sendall(own())
        assert socks[0].recv(13) == b'HTTP/1.1 200 '
        for sock in socks:
            sock.close()


@pytest.mark.parametrize('certificate, user', [('joe', b'joe'), (None, None)])
def test_the_user_is_the_one_in_the_certificate(certificate, user):
    with encrypted.proxying(clients=encrypted.pem('ca.pem')) as (address, proxy):
        sock = encrypted.connect(address, encrypted.client_context(certificate))
        sock.sendall(own())
        assert sock.recv(13) == b'HTTP/1.1 200 '
        assert [conversation.certified for conversation in proxy.server.live] == [user]
        sock.close()


# --- behind a load balancer

@pytest.mark.parametrize('header', [LINE, v2(PROXY, TCP4, IPV4)])
@pytest.mark.parametrize('cut', [0, 1, 5, 14, 16, -1])
def test_tls_may_follow_a_proxy_header(header, cut):
    """In one piece, or so that a part of the header comes first, and the rest together with the handshake."""
    with encrypted.proxying(BALANCED) as (address, proxy):
        sock = connect(address)
        sock.sendall(header[:cut])
        if cut:
            gevent.sleep(0.01)
        flight = encrypted.first_flight()
        sock.sendall(header[cut:] + flight)
        assert sock.recv(3) == b'\x16\x03\x03'
        assert [conversation.client.peer for conversation in proxy.server.live] == ['192.0.2.7']
        sock.close()
        failed(proxy)
        sock = encrypted.connect(address, before=header)
        sock.sendall(own())
        assert sock.recv(13) == b'HTTP/1.1 200 '
        sock.close()


@pytest.mark.parametrize('octets, status', [
    (LINE + own(), b'200'), (v2(PROXY, TCP4, IPV4) + own(), b'200'), (own(), b'400'), (b'PROXY TCP4 x\r\n' + own(), b'400'),
])
def test_a_plain_request_may_follow_a_proxy_header(octets, status):
    with encrypted.proxying(BALANCED) as (address, proxy):
        assert helpers.ask(address, octets)[9:12] == status


@pytest.mark.parametrize('octets, reason', [(b'', None), (LINE[:9], 'client_lost')])
def test_a_load_balancer_may_leave_before_its_header_is_complete(octets, reason):
    with encrypted.proxying(BALANCED) as (address, proxy):
        helpers.ask(address, octets)
        proxy.wait_until(lambda: proxy.server.accepted == 1 and not proxy.server.live)
        assert [record.reason for record in proxy.records] == [reason] * bool(reason)


def test_a_stranger_behind_a_load_balancer_costs_no_handshake():
    with encrypted.proxying(BALANCED + 'clients = 127.0.0.1\n') as (address, proxy):
        assert helpers.ask(address, LINE + encrypted.first_flight()) == ACCESS_DENIED
        proxy.wait_until(lambda: proxy.server.strangers.counts['told'] == 1)
        assert not counts(proxy)


# --- a port for TLS alone

@pytest.mark.parametrize('octets, answer', [
    (own(), b'HTTP/1.1 400 '), (b'\x05\x01\x00', b'\x05\xff'), (b'\x04\x01', b'\x00\x5b'), (b'nonsense\r\n', b'HTTP/1.1 400 '),
])
def test_a_port_for_tls_says_so_to_others(octets, answer):
    with encrypted.proxying(listen_tls=True) as (address, proxy):
        shown = helpers.ask(address, octets)
        assert shown.startswith(answer)
        assert proxy.wait()[0].reason == 'wrong_protocol' and 'use https:// in the proxy URL' in proxy.records[0].message
        assert b'use https:// in the proxy URL' in shown and b'http://' not in shown and b'the CA that' in shown or (
            answer[:1] != b'H')
        assert encrypted.ask(address, own()).startswith(b'HTTP/1.1 200 ')


def test_a_port_for_tls_is_never_open_to_others():
    with encrypted.proxying(listen_tls=True) as (address, proxy):
        proxy.server.certificates.context = None            # as after a reload without [tls]
        for octets in (own(), encrypted.first_flight()):
            helpers.ask(address, octets)
        assert ['set [tls] certificate' in record.message for record in proxy.wait(2)] == [True, True]


# --- what goes wrong

TWO = '[tls]\ncertificate = %s %s\nkey = %s %s\n' % tuple(encrypted.pem(name) for name in (
    'proxy.test.pem', 'other.test.pem', 'proxy.test.key', 'other.test.key'))


def test_a_name_that_is_not_ascii_is_refused_without_a_traceback(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', seen.append, raising=False)
    flight = encrypted.first_flight()
    assert b'proxy.test' in flight
    with helpers.proxying(TWO) as (address, proxy):
        sock = connect(address)
        sock.sendall(flight.replace(b'proxy.test', b'proxy\xfftest'))
        assert sock.recv(1) == b'\x15'          # an alert
        sock.close()
        assert failed(proxy)
    assert seen == []
    # What else Python cannot raise is still told.
    other = Unraisable(ValueError('x'), b'')
    sys.unraisablehook(other)
    assert seen == [other]


BROKEN = [
    (b'\x16', 'ended the connection'), (b'\x16\x03\x01', 'ended the connection'), (encrypted.first_flight()[:40], 'ended the connection'),
    (b'\x16GET http://a.test/ HTTP/1.1\r\n\r\n', 'is no TLS'), (b'\x16\x03\x01' + own(), 'what the client sent'),
    (b'\x16\x03\x01\x00\x05hello', 'what the client sent'), (b'\x16\x03\x01\xff\xff' + b'x' * 70000, 'what the client sent'),
    (encrypted.first_flight() + own(), 'what the client sent'), (encrypted.first_flight() * 2, 'what the client sent'),
    (b'\x16\x03\x01\x40\x00\x01\xff\xff\xff' + b'x' * 20000, 'what the client sent'),
]


@pytest.mark.parametrize('octets, why', BROKEN)
def test_a_handshake_that_fails_is_one_record_in_words(octets, why):
    with encrypted.proxying() as (address, proxy):
        sock = connect(address)
        sock.sendall(octets)
        if 'ended' not in why:
            helpers.read_all(sock)
        sock.close()
        assert why in failed(proxy)
        assert counts(proxy) == {'failed': 1}


def test_a_client_that_wants_an_old_version_is_refused_in_words():
    context = encrypted.client_context()
    if hasattr(context, 'minimum_version'):
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.options |= ssl.OP_NO_TLSv1_2 | getattr(ssl, 'OP_NO_TLSv1_3', 0)
    context.set_ciphers('ALL:@SECLEVEL=0')
    with encrypted.proxying() as (address, proxy):
        with pytest.raises(ssl.SSLError):
            encrypted.connect(address, context)
        assert 'too old a version' in failed(proxy)


def test_a_client_that_does_not_trust_the_certificate_is_named_as_the_cause():
    context = encrypted.client_context()
    context.load_verify_locations(encrypted.pem('ca.pem'))
    with encrypted.proxying() as (address, proxy):
        with pytest.raises(ssl.SSLError):
            encrypted.connect(address, ssl.create_default_context())
        assert 'does not trust' in failed(proxy)


@pytest.mark.parametrize('certificate', [None, 'proxy.test'])
def test_a_client_without_a_good_certificate_is_refused_in_words(certificate):
    context = encrypted.client_context(certificate)
    other = encrypted.pem('joe.pem')           # signs nothing
    with encrypted.proxying() as (address, proxy):
        proxy.server.certificates.context = encrypted.server_context(other, required=True)
        with pytest.raises((ssl.SSLError, socket.error)):
            sock = encrypted.connect(address, context)
            sock.recv(1)
        assert ('no certificate' if certificate is None else 'certificate of the client is not valid') in failed(proxy)


@pytest.mark.parametrize('octets', [b'\x16', encrypted.first_flight()[:100], encrypted.first_flight()])
def test_a_handshake_has_its_own_time(octets):
    with encrypted.proxying('[timeouts]\nhandshake = 0.3\n') as (address, proxy):
        sock = connect(address)
        sock.sendall(octets)
        proxy.wait_until(lambda: phases(proxy) == ['handshake'])
        helpers.read_all(sock)
        assert '[timeouts] handshake' in failed(proxy, 'tls_handshake_timeout')
        assert counts(proxy) == {'late': 1}
        sock.close()


def test_a_client_that_sends_octets_without_a_pause_is_late_too():
    with encrypted.proxying('[timeouts]\nhandshake = 0.3\n') as (address, proxy):
        sock = connect(address)
        sock.sendall(b'\x16\x03\x01\x40\x00\x01\x00\x30\x00')
        with pytest.raises(socket.error):
            while True:
                sock.sendall(b'x')
                gevent.sleep(0.002)
        failed(proxy, 'tls_handshake_timeout')
        sock.close()


def test_a_handshake_counts_as_a_connection_and_can_be_killed():
    with encrypted.proxying() as (address, proxy):
        sock = connect(address)
        sock.sendall(b'\x16\x03')
        proxy.wait_until(lambda: phases(proxy) == ['handshake'])
        proxy.server.end(list(proxy.server.live), errors.Killed('by the operator'))
        assert helpers.read_all(sock) == b'' and not proxy.server.live
        sock.close()


@pytest.mark.parametrize('octets', [b'', b'\x16\x03'])
def test_a_stop_does_not_wait_for_a_handshake(octets):
    with encrypted.proxying('[timeouts]\ndrain = 20\n') as (address, proxy):
        sock = connect(address)
        sock.sendall(octets)
        proxy.wait_until(lambda: phases(proxy) == ['handshake' if octets else 'idle'])
        gevent.spawn(proxy.server.drain)
        assert helpers.read_all(sock) == b''
        proxy.wait_until(lambda: not proxy.server.live)
        assert not any('cut off' in text for text in proxy.said)
        sock.close()


def test_a_client_that_has_left_before_its_turn_costs_no_handshake(monkeypatch):
    monkeypatch.delattr(handshaking, 'TlsTransport')
    with encrypted.proxying() as (address, proxy):
        helpers.ask(address, encrypted.first_flight())
        assert 'ended the connection' in failed(proxy)


def test_one_client_has_only_so_many_handshakes_at_once(monkeypatch):
    monkeypatch.setattr(handshaking, 'MOST_WAITING', 1)
    with encrypted.proxying() as (address, proxy), gevent.Timeout(helpers.PATIENCE):
        # For as long as this one works, others of that client have to wait.
        line = proxy.server.handshakes._turns._lines.setdefault('127.0.0.1', [Semaphore(), 1])
        assert helpers.ask(address, encrypted.first_flight()) == ACCESS_DENIED
        assert [record.reason for record in proxy.wait()] == ['request_rate_exceeded']
        line[1] -= 1
        assert encrypted.ask(address, own()).startswith(b'HTTP/1.1 200 ')
        assert counts(proxy) == {'refused': 1, 'done': 1}
