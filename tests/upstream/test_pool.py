"""Our connections towards origins."""
from __future__ import absolute_import, division, print_function

import os
import re
import resource
import socket

import gevent
import gevent.event
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net.deadlines import TimeLimit
from geproxy.upstream import pool, resolver
from helpers import PATIENCE, listening, read_all

LIMITS = (TimeLimit('dns', PATIENCE, errors.DnsTimeout), TimeLimit('connect', 2, errors.ConnectTimeout))


class Names(object):
    """Stands where resolver.Resolver does: knows the addresses of one name."""

    def __init__(self, *addresses):
        self.addresses = list(addresses)

    def resolve(self, host, limit, client):
        """The addresses."""
        return self.addresses

    def renew(self, host, addresses, since, limit, client):
        """The same."""
        return []


class Owner(object):
    """Stands where a handler.Handler does, for a client connection."""

    def __init__(self, key='10.0.0.1'):
        self.key = key

    def reach(self, what):
        """Nobody wants to know."""


ANYBODY = Owner()


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


def connect_to(names, port, judge=allow, reuse=False):
    return pool.Upstream(names, 10, 30).connect((b'a.test', port), judge, LIMITS, reuse, ANYBODY)


def test_an_address_that_does_not_answer_costs_a_quarter_of_a_second(silent):
    silent_port, good = silent
    good.listen(5)
    began = monotonic()
    connection = connect_to(Names('127.0.0.2', '127.0.0.1'), silent_port)
    assert connection.address == '127.0.0.1'
    assert pool.STAGGER * 0.9 < monotonic() - began < LIMITS[1].seconds     # the loop's clock ticks in milliseconds
    connection.stream.close()


def test_a_refused_address_costs_nothing():
    with listening(read_all) as (host, port):
        began = monotonic()
        connection = connect_to(Names('127.0.0.3', '127.0.0.1'), port)
        assert connection.address == host and monotonic() - began < pool.STAGGER
        connection.stream.close()


def test_a_dead_ipv6_address_costs_little():
    with listening(read_all) as (_host, port):
        began = monotonic()
        connection = connect_to(Names('100::1', '127.0.0.1'), port)     # the discard prefix, RFC 6666
        assert connection.address == '127.0.0.1' and monotonic() - began < 0.4
        connection.stream.close()


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


@pytest.mark.parametrize('host, expected', [
    ('127.0.0.1', '127.0.0.1 port 1: connection refused'), ('a.test', 'a.test, 127.0.0.1 port 1: connection refused')])
def test_one_address_that_fails_is_said_in_a_plain_sentence(host, expected):
    with pytest.raises(errors.ConnectRefused) as caught:
        pool.Dial(host, ['127.0.0.1'], 1, LIMITS[1]).run()
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
    monkeypatch.setattr(pool, 'STAGGER', 0.01)
    limit, before, most = TimeLimit('connect', 1, errors.ConnectTimeout), descriptors(), 0
    addresses = ['127.0.0.%d' % number for number in range(1, 14)]
    dialling = gevent.spawn(pool.Dial('a.test', addresses, full, limit).run)
    while not dialling.ready():
        most = max(most, descriptors() - before)
        gevent.sleep(0.01)
    with pytest.raises(errors.ConnectTimeout) as caught:
        dialling.get()
    assert most == pool.AT_ONCE
    assert 'a.test port %d: 127.0.0.' % full in str(caught.value)
    assert ': no answer within 0.308 s; ' in str(caught.value)
    assert re.search(r'; and \d more failed(; no time for \d more)?\Z', str(caught.value))    # more than four had a turn


def test_an_address_behind_many_silent_ones_is_reached(silent, monkeypatch):
    port, good = silent
    good.listen(5)
    monkeypatch.setattr(pool, 'STAGGER', 0.01)
    addresses = ['127.0.0.2'] * 6 + ['127.0.0.1']
    sock, address = pool.Dial('a.test', addresses, port, LIMITS[1]).run()
    sock.close()
    assert address == '127.0.0.1'


def test_idle_connections_make_room_when_file_descriptors_run_out():
    with listening(read_all) as (_host, port):
        kept, _connections = keeping(Names('127.0.0.1'), count=3, port=port)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir('/proc/self/fd'))) + 1, hard))
        try:
            taken = []
            while True:                     # those between
                try:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            connection = kept.connect((b'a.test', port), allow, LIMITS, False, ANYBODY)
            assert kept.kept == 0
            kept.release(connection, ANYBODY)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)


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
        assert connection.address == host and judged == ['127.0.0.3', host]
        connection.stream.close()

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
        assert connection.address == '127.0.0.1'
        connection.stream.close()
    with pytest.raises(denied) as caught:
        connect_to(Names('10.0.0.1', '10.0.0.2'), 80, judge)
    assert str(caught.value) == '10.0.0.2 is bad'


def keeping(names, keep=10, keep_time=30, count=1, port=80):
    """An Upstream with `count` idle connections to the same origin."""
    kept = pool.Upstream(names, keep, keep_time)
    connections = [kept.connect((b'a.test', port), allow, LIMITS, False, ANYBODY) for _ in range(count)]
    for connection in connections:
        connection.clean = True
        kept.release(connection, ANYBODY)
    return kept, connections


@pytest.mark.parametrize('denied', [errors.AddressDenied, errors.Denied])
def test_a_kept_connection_is_used_by_a_client_that_may_and_left_to_others_by_one_that_may_not(denied):
    def deny(address, port):
        raise denied('not you')
    with listening(read_all) as (_host, port):
        kept, connections = keeping(Names('127.0.0.1'), count=2, port=port)
        with pytest.raises(denied):
            kept.connect((b'a.test', port), deny, LIMITS, True, ANYBODY)
        assert [kept.connect((b'a.test', port), allow, LIMITS, True, ANYBODY) for _ in range(2)] == connections[::-1]
        for connection in connections:
            connection.stream.close()


def logged_in(kept, port, owner, count=1):
    """`count` idle connections, to as many hosts, that are logged in for `owner`."""
    made = [kept.connect((b'%d.test' % number, port), allow, LIMITS, False, owner) for number in range(count)]
    for connection in made:
        connection.clean = connection.logged_in = True
        kept.release(connection, owner)
    return made


def test_a_connection_that_is_logged_in_is_its_owners_alone_for_all_methods():
    with listening(read_all) as (_host, port):
        kept, owner, other = pool.Upstream(Names('127.0.0.1'), 10, 30), Owner(), Owner()
        mine, = logged_in(kept, port, owner)
        assert kept.kept == kept.connections == 1
        key = (b'0.test', port)
        assert kept.connect(key, allow, LIMITS, True, other) is not mine
        owner.key = 'user:joe'                      # another user, by the same client connection
        assert kept.connect(key, allow, LIMITS, True, owner) is not mine
        owner.key = other.key
        assert kept.connect(key, allow, LIMITS, False, owner) is mine and kept.kept == 0
        kept.release(mine, owner)                   # as it is not clean
        assert kept.connect(key, allow, LIMITS, True, owner) is not mine


def test_a_connection_that_is_logged_in_ends_with_its_owner_and_not_by_time():
    with listening(read_all) as (_host, port):
        kept, owner, other = pool.Upstream(Names('127.0.0.1'), 0, 0), Owner(), Owner()
        mine, theirs = logged_in(kept, port, owner) + logged_in(kept, port, other)
        kept.prune()
        kept.leave(owner)
        assert mine.stream.transport.fileno() == -1 and theirs.stream.transport.fileno() != -1
        kept.close_idle()
        assert theirs.stream.transport.fileno() == -1 and kept.kept == kept.connections == 0 and not kept._owned


def test_connections_that_are_logged_in_are_bounded_for_each_owner_and_in_all():
    with listening(read_all) as (_host, port):
        kept, owners = pool.Upstream(Names('127.0.0.1'), 1, 30), [Owner(), Owner(), Owner()]
        made = logged_in(kept, port, owners[0], pool.OWNED_EACH + 1)
        # One for the owner, and one that `keep` allows.
        assert [each.stream.transport.fileno() != -1 for each in made] == [False] * (len(made) - 2) + [True] * 2
        for owner in owners[1:]:
            logged_in(kept, port, owner, 3)
        # Nobody takes another one's.
        assert [len(kept._owned[owner]) for owner in owners] == [2, 1, 1]
        kept.keep = 20
        logged_in(kept, port, owners[0], pool.OWNED_EACH + 1)
        assert len(kept._owned[owners[0]]) == pool.OWNED_EACH
        kept.close_idle()


def test_a_log_in_is_no_bug_where_less_may_be_kept_than_a_moment_ago():
    with listening(read_all) as (_host, port):
        kept, owner, other = pool.Upstream(Names('127.0.0.1'), 10, 30), Owner(), Owner()
        logged_in(kept, port, other, 3)
        kept.keep = 0                               # as a reload has it, before anything is pruned
        logged_in(kept, port, owner)
        assert kept.kept == kept.connections == 1 and list(kept._owned) == [other]
        kept.close_idle()


def test_a_connection_that_is_logged_in_and_ended_by_its_origin_is_forgotten():
    with listening(lambda sock: gone.wait(PATIENCE)) as (_host, port):
        gone, owner = gevent.event.Event(), Owner()
        kept = pool.Upstream(Names('127.0.0.1'), 10, 30)
        logged_in(kept, port, owner)
        gone.set()
        with gevent.Timeout(PATIENCE):
            while kept.kept:
                gevent.sleep(0.01)
        assert not kept._owned


def test_a_connection_that_has_carried_a_body_is_nobodys():
    with listening(read_all) as (_host, port):
        kept = pool.Upstream(Names('127.0.0.1'), 10, 30)
        connection = kept.connect((b'a.test', port), allow, LIMITS, False, ANYBODY)
        connection.clean = connection.bodies = True
        kept.release(connection, ANYBODY)
        assert kept.kept == kept.connections == 0


def test_what_did_not_end_cleanly_is_closed():
    with listening(read_all) as (_host, port):
        kept = pool.Upstream(Names('127.0.0.1'), 10, 30)
        connection = kept.connect((b'a.test', port), allow, LIMITS, False, ANYBODY)
        kept.release(connection, ANYBODY)
        again = kept.connect((b'a.test', port), allow, LIMITS, True, ANYBODY)
        assert again is not connection
        again.stream.close()


def test_idle_connections_are_bounded_in_number_and_time():
    with listening(read_all) as (_host, port):
        kept, connections = keeping(Names('127.0.0.1'), keep=2, count=4, port=port)
        assert [connection in kept._idle for connection in connections] == [False, False, True, True]
        kept.keep_time = 0
        kept.prune()
        assert not kept._idle and not kept._by_key


def test_a_kept_connection_that_its_origin_closes_goes_at_once():
    gone = gevent.event.Event()

    def handle(sock):
        gone.wait(PATIENCE)
    with listening(handle) as (_host, port):
        kept, _connections = keeping(Names('127.0.0.1'), port=port)
        assert kept._idle
        gone.set()
        with gevent.Timeout(PATIENCE):
            while kept._idle:
                gevent.sleep(0.01)


def test_no_descriptor_is_left_behind_by_attempts_that_lose(silent_port):

    before = len(os.listdir('/proc/self/fd'))
    with pytest.raises(errors.ConnectTimeout):
        connect_to(Names('127.0.0.2', '127.0.0.3'), silent_port)
    assert len(os.listdir('/proc/self/fd')) == before


@pytest.mark.parametrize('octets', [b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil', b''])
def test_what_nobody_asked_for_is_no_answer_even_before_the_hub_has_seen_it(octets):
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(5)
    port = listener.getsockname()[1]
    kept = pool.Upstream(Names('127.0.0.1'), 10, 30)
    first = kept.connect((b'a.test', port), allow, LIMITS, True, ANYBODY)
    origin = listener.accept()[0]
    first.clean = True
    kept.release(first, ANYBODY)
    gevent.sleep(0)                     # it is watched now
    if octets:
        origin.sendall(octets)          # which is there at once, as it goes by loopback; the hub has no turn in between
    else:
        origin.shutdown(socket.SHUT_WR)
    second = kept.connect((b'a.test', port), allow, LIMITS, True, ANYBODY)
    try:
        assert second is not first and not second.kept
    finally:
        second.stream.close()
        origin.close()
        listener.close()
