"""New connections: which address is dialled and when, who may forbid it, and what is said when none answers."""
from __future__ import absolute_import, division, print_function

import errno
import os
import re
import socket
import sys

import gevent
import pytest
from helpers import PATIENCE, Names, Owner, listening, read_all

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import Stream
from geproxy.policy.routes import DIRECT, Target
from geproxy.upstream import dialling, resolver

LIMITS = (TimeLimit('dns', PATIENCE, errors.DnsTimeout), TimeLimit('connect', 2, errors.ConnectTimeout))


def allow(address, port):
    """May be dialled."""


def bound_alike(*hosts):
    """A socket for each of these addresses, bound to one port that is free on all of them."""
    for _ in range(100):
        made, port = [], 0
        try:
            for host in hosts:
                made.append(socket.socket())
                made[-1].bind((host, port))
                port = made[-1].getsockname()[1]
            return made
        except socket.error:            # somebody has it on another of them
            for sock in made:
                sock.close()
    raise AssertionError('no port is free on all of %s' % ', '.join(hosts))


@pytest.fixture
def silent():
    """(a port of 127.0.0.2 where nobody answers, a socket that is bound to the same of 127.0.0.1). The queue of the first
    is full, so connects hang as with a dead host."""
    listener, good = bound_alike('127.0.0.2', '127.0.0.1')
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(('127.0.0.2', port))
        fillers.append(filler)
    gevent.sleep(0.05)
    yield port, good
    for sock in fillers + [listener, good]:
        sock.close()


@pytest.fixture
def silent_port(silent):
    """The same without the other."""
    return silent[0]


def connect_to(names, port, judge=allow):
    """The Stream of a new direct connection to a name that has the addresses which `names` knows."""
    target = Target(b'http', b'a.test', port)
    return dialling.Dialling(names, lambda: False).open((target, DIRECT), judge, LIMITS, Owner())[0]


def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(silent):
    silent_port, good = silent
    good.listen(5)
    began = monotonic()
    connection = connect_to(Names('127.0.0.2', '127.0.0.1'), silent_port)
    assert connection.peer == '127.0.0.1'
    assert dialling.STAGGER * 0.9 < monotonic() - began < LIMITS[1].seconds     # the loop's clock ticks in milliseconds
    connection.close()


def test_a_refused_address_costs_nothing(monkeypatch):
    monkeypatch.setattr(dialling, 'STAGGER', LIMITS[1].seconds)     # longer than a busy host takes for the rest
    with listening(read_all) as (host, port):
        began = monotonic()
        connection = connect_to(Names('127.0.0.3', '127.0.0.1'), port)
        assert connection.peer == host and monotonic() - began < dialling.STAGGER
        connection.close()


def test_a_dead_ipv6_address_costs_little():
    with listening(read_all) as (_host, port):
        began = monotonic()
        connection = connect_to(Names('100::1', '127.0.0.1'), port)     # the discard prefix, RFC 6666
        assert connection.peer == '127.0.0.1' and monotonic() - began < LIMITS[1].seconds
        connection.close()


def test_all_addresses_share_one_budget_and_the_error_tells_what_was_tried(silent_port):
    began = monotonic()
    with pytest.raises(errors.ConnectTimeout) as caught:
        connect_to(Names('127.0.0.3', '127.0.0.2'), silent_port)
    assert 1.5 < monotonic() - began < 5
    assert str(caught.value) == ('a.test port %d: 127.0.0.2: no answer within 2 s; 127.0.0.3: connection refused'
                                 % silent_port)


def test_refused_everywhere_is_refused():
    with pytest.raises(errors.ConnectRefused):
        connect_to(Names('127.0.0.3', '127.0.0.1'), 1)


def test_an_address_without_a_way_is_unroutable():
    with pytest.raises(errors.Unroutable):
        connect_to(Names('255.255.255.255'), 80)


@pytest.mark.parametrize('codes, error', [
    ((errno.ENETUNREACH,), errors.Unroutable), ((errno.EHOSTUNREACH, errno.ENETUNREACH), errors.HostUnreachable),
    ((errno.EHOSTUNREACH, errno.ECONNREFUSED), errors.ConnectRefused),
])
def test_the_error_is_the_most_telling_of_all_failures(codes, error):
    attempts = dialling.Attempts(b'a.test', [], 80, LIMITS[1])
    attempts._failed = [('192.0.2.%d' % number, code) for number, code in enumerate(codes, 1)]
    assert type(attempts._error()) is error


@pytest.mark.parametrize('host, expected', [
    ('127.0.0.1', '127.0.0.1 port 1: connection refused'), ('a.test', 'a.test, 127.0.0.1 port 1: connection refused')])
def test_one_address_that_fails_is_said_in_a_plain_sentence(host, expected):
    with pytest.raises(errors.ConnectRefused) as caught:
        dialling.Attempts(host.encode('ascii'), ['127.0.0.1'], 1, LIMITS[1]).run()
    assert str(caught.value) == expected


def test_of_many_addresses_that_fail_a_few_are_said():
    with pytest.raises(errors.ConnectRefused) as caught:
        connect_to(Names(*['127.0.1.%d' % number for number in range(1, 17)]), 1)
    assert str(caught.value) == 'a.test port 1: %s; and 12 more failed' % '; '.join(
        '127.0.1.%d: connection refused' % number for number in range(1, 5))


def descriptors():
    """How many files are open."""
    return len(os.listdir('/proc/self/fd'))


@pytest.fixture
def full():
    """A port of all addresses of this host where nobody answers: the queue of its listener is full."""
    listener = socket.socket()
    listener.bind(('0.0.0.0', 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = [socket.socket() for _ in range(8)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex(('127.0.0.1', port))
    gevent.sleep(0.05)
    yield port
    for sock in fillers + [listener]:
        sock.close()


def test_no_more_than_four_addresses_are_dialled_at_once_and_more_have_their_turn(full, monkeypatch):
    monkeypatch.setattr(dialling, 'STAGGER', 0.01)
    limit, before, most = TimeLimit('connect', 1, errors.ConnectTimeout), descriptors(), 0
    addresses = ['127.0.0.%d' % number for number in range(1, 14)]
    connecting = gevent.spawn(dialling.Attempts(b'a.test', addresses, full, limit).run)
    while not connecting.ready():
        most = max(most, descriptors() - before)
        gevent.sleep(0.01)
    with pytest.raises(errors.ConnectTimeout) as caught:
        connecting.get()
    assert most == dialling.AT_ONCE
    assert 'a.test port %d: 127.0.0.' % full in str(caught.value)
    assert ': no answer within 0.308 s; ' in str(caught.value)
    assert re.search(r'; and \d more failed(; no time for \d more)?\Z', str(caught.value))    # more than four had a turn


def test_an_address_behind_many_silent_ones_is_reached(silent, monkeypatch):
    port, good = silent
    good.listen(5)
    monkeypatch.setattr(dialling, 'STAGGER', 0.01)
    addresses = ['127.0.0.2'] * 6 + ['127.0.0.1']
    sock, address = dialling.Attempts(b'a.test', addresses, port, LIMITS[1]).run()
    sock.close()
    assert address == '127.0.0.1'


def moving(*answers):
    """A Resolver that is told these lists of addresses, one after the other, and knows the first already."""
    left = list(answers)
    names = resolver.Resolver(ask=lambda host: left.pop(0))
    names.resolve(b'a.test', LIMITS[0])
    return names


def test_a_name_that_has_moved_is_found_where_it_is_now_and_judged_there():
    judged = []
    with listening(read_all) as (host, port):
        names = moving(['127.0.0.3'], ['127.0.0.3', host])
        connection = connect_to(names, port, lambda address, port: judged.append(address))
        assert connection.peer == host and judged == ['127.0.0.3', host]
        connection.close()

        def deny(address, port):
            if address == host:
                raise errors.AddressDenied('not there')
        with pytest.raises(errors.AddressDenied):
            connect_to(moving(['127.0.0.3'], [host]), port, deny)


def test_a_name_is_asked_for_once_more_only():
    names = moving(['127.0.0.3'], ['127.0.0.4'], ['127.0.0.5'])
    with pytest.raises(errors.ConnectRefused) as caught:
        connect_to(names, 1)
    assert str(caught.value) == 'a.test, 127.0.0.4 port 1: connection refused' and names.asked == 2


@pytest.mark.parametrize('denied', [errors.AddressDenied, errors.Denied])      # by what it is; by a rule
def test_only_addresses_that_may_be_are_dialled(denied):
    def judge(address, port):
        if address != '127.0.0.1':
            raise denied('%s is bad' % address)
    with listening(read_all) as (_host, port):
        connection = connect_to(Names('10.0.0.1', '127.0.0.1', '10.0.0.2'), port, judge)
        assert connection.peer == '127.0.0.1'
        connection.close()
    with pytest.raises(denied) as caught:
        connect_to(Names('10.0.0.1', '10.0.0.2'), 80, judge)
    assert str(caught.value) == '10.0.0.2 is bad'


def test_no_descriptor_is_left_behind_by_attempts_that_lose(silent_port):

    before = len(os.listdir('/proc/self/fd'))
    with pytest.raises(errors.ConnectTimeout):
        connect_to(Names('127.0.0.2', '127.0.0.3'), silent_port)
    assert len(os.listdir('/proc/self/fd')) == before


# --- the source address

MISSING = '192.0.2.77'      # of no host (RFC 5737)


def from_sources(sources, addresses, port):
    """The address that a connection from one of `sources` leaves from. `addresses`: of the destination."""
    sock, _address = dialling.Attempts(b'a.test', addresses, port, LIMITS[1], sources).run()
    try:
        return sock.getsockname()[0]
    finally:
        sock.close()


@pytest.mark.parametrize('sources, host', [
    (('127.0.0.2',), '127.0.0.1'), (('127.0.0.3', '::1'), '127.0.0.1'), (('127.0.0.3', '::1'), '::1'), (('::',), '::1'),
    (('0.0.0.0',), '127.0.0.1'),
])
def test_a_connection_leaves_from_its_source(sources, host):
    with listening(lambda sock: sock.sendall(sock.getpeername()[0].encode('ascii')), host) as (_host, port):
        sock, _address = dialling.Attempts(b'a.test', [host], port, LIMITS[1], sources).run()
        assert wait_readable([Stream(sock, '', errors.UpstreamLost)], monotonic() + PATIENCE)
        seen = sock.recv(100).decode('ascii')
        sock.close()
    assert seen in sources or seen == host and sources[0] in ('::', '0.0.0.0')


def test_addresses_of_a_version_without_a_source_are_left_out():
    with listening(read_all) as (_host, port):
        assert from_sources(('127.0.0.2',), ['::1', '127.0.0.1'], port) == '127.0.0.2'
    with pytest.raises(errors.SourceMissing) as caught:
        from_sources(('127.0.0.2',), ['::1'], 80)
    assert str(caught.value) == 'a.test, ::1 port 80: left out, as there is no source address of IPv6'
    with pytest.raises(errors.ConnectRefused) as caught:
        from_sources(('127.0.0.2',), ['::1', '127.0.0.1'], 1)
    assert str(caught.value) == (
        'a.test port 1: ::1: left out, as there is no source address of IPv6; 127.0.0.1: connection refused')


def test_a_source_that_this_host_does_not_have_is_named():
    before = descriptors()
    with pytest.raises(errors.SourceMissing) as caught:
        from_sources((MISSING,), ['127.0.0.1'], 80)
    assert str(caught.value) == 'a.test, 127.0.0.1 port 80: this host does not have the source address 192.0.2.77'
    assert caught.value.token == 'source_address_missing' and descriptors() == before


def test_the_route_has_the_source():
    target = Target(b'http', b'a.test', 1)
    with pytest.raises(errors.SourceMissing):
        dialling.Dialling(Names('127.0.0.1'), lambda: False).open(
            (target, DIRECT._replace(sources=(MISSING,))), allow, LIMITS, Owner())


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='only Linux knows the option')
def test_a_source_does_not_take_a_port_before_the_destination_is_known():
    for address, source in (('127.0.0.1', '127.0.0.2'), ('::1', '::1')):
        sock = dialling._open_socket(address)
        dialling._bind(sock, source)
        assert sock.getsockname()[:2] == (source, 0)
        sock.close()
