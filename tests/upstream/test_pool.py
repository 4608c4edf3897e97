"""Connections that are kept: who may use one again, how many there may be, and when they are closed."""
from __future__ import absolute_import, division, print_function

import os
import resource
import socket

import gevent
import gevent.event
import pytest
from helpers import PATIENCE, Names, Owner, listening, read_all

from geproxy import errors
from geproxy.net.deadlines import TimeLimit
from geproxy.policy import routes
from geproxy.policy.routes import DIRECT, Route, Target
from geproxy.settings import loading
from geproxy.upstream import pool, resolver

LIMITS = (TimeLimit('dns', PATIENCE, errors.DnsTimeout), TimeLimit('connect', 2, errors.ConnectTimeout))
ANYBODY = Owner()


def allow(address, port):
    """May be dialled."""


def to(port, host=b'a.test', scheme=b'http', route=DIRECT):
    """The key of what is to be connected to."""
    return Target(scheme, host, port), route


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
            connection = kept.connect(to(port), allow, LIMITS, False, ANYBODY)
            assert kept.kept == 0
            kept.release(connection, ANYBODY)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)


def keeping(names, keep=10, keep_time=30, count=1, port=80):
    """A Pool with `count` idle connections to the same origin."""
    kept = pool.Pool(names, keep, keep_time, None)
    connections = [kept.connect(to(port), allow, LIMITS, False, ANYBODY) for _ in range(count)]
    for connection in connections:
        connection.clean = True
        kept.release(connection, ANYBODY)
    return kept, connections


def test_other_settings_hold_for_kept_connections_and_for_names():
    names = resolver.Resolver()
    kept = pool.Pool(names, 0, 1, None)
    kept.use(loading.load('test.ini', [
        '[upstream]', 'keep = 7', 'keep_time = 3', 'dns_keep = 8', 'dns_keep_failed = 2']).upstream)
    assert (kept.keep, kept.keep_time, names.keep, names.keep_failed) == (7, 3, 8, 2)


@pytest.mark.parametrize('denied', [errors.AddressDenied, errors.Denied])
def test_a_kept_connection_is_used_by_a_client_that_may_and_left_to_others_by_one_that_may_not(denied):
    def deny(address, port):
        raise denied('not you')
    with listening(read_all) as (_host, port):
        kept, connections = keeping(Names('127.0.0.1'), count=2, port=port)
        with pytest.raises(denied):
            kept.connect(to(port), deny, LIMITS, True, ANYBODY)
        assert [kept.connect(to(port), allow, LIMITS, True, ANYBODY) for _ in range(2)] == connections[::-1]
        for connection in connections:
            connection.stream.close()


def logged_in(kept, port, owner, count=1):
    """`count` idle connections, to as many hosts, that are logged in for `owner`."""
    made = [kept.connect(to(port, b'%d.test' % number), allow, LIMITS, False, owner) for number in range(count)]
    for connection in made:
        connection.clean = connection.logged_in = True
        kept.release(connection, owner)
    return made


def test_only_its_owner_uses_a_logged_in_connection_for_all_methods():
    with listening(read_all) as (_host, port):
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 10, 30, None), Owner(), Owner()
        mine, = logged_in(kept, port, owner)
        assert kept.kept == kept.connections == 1
        key = to(port, b'0.test')
        assert kept.connect(key, allow, LIMITS, True, other) is not mine
        owner.key = 'user:joe'                      # another user, by the same client connection
        assert kept.connect(key, allow, LIMITS, True, owner) is not mine
        owner.key = other.key
        assert kept.connect(key, allow, LIMITS, False, owner) is mine and kept.kept == 0
        kept.release(mine, owner)                   # as it is not clean
        assert kept.connect(key, allow, LIMITS, True, owner) is not mine


def test_a_connection_that_is_logged_in_ends_with_its_owner_and_not_by_time():
    with listening(read_all) as (_host, port):
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 0, 0, None), Owner(), Owner()
        mine, theirs = logged_in(kept, port, owner) + logged_in(kept, port, other)
        kept.prune()
        kept.leave(owner)
        assert mine.stream.transport.fileno() == -1 and theirs.stream.transport.fileno() != -1
        kept.close_idle()
        assert theirs.stream.transport.fileno() == -1 and kept.kept == kept.connections == 0 and not kept._owned


def test_connections_that_are_logged_in_are_bounded_for_each_owner_and_in_all():
    with listening(read_all) as (_host, port):
        kept, owners = pool.Pool(Names('127.0.0.1'), 1, 30, None), [Owner(), Owner(), Owner()]
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
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 10, 30, None), Owner(), Owner()
        logged_in(kept, port, other, 3)
        kept.keep = 0                               # as a reload has it, before anything is pruned
        logged_in(kept, port, owner)
        assert kept.kept == kept.connections == 1 and list(kept._owned) == [other]
        kept.close_idle()


def test_a_connection_that_is_logged_in_and_ended_by_its_origin_is_forgotten():
    with listening(lambda sock: gone.wait(PATIENCE)) as (_host, port):
        gone, owner = gevent.event.Event(), Owner()
        kept = pool.Pool(Names('127.0.0.1'), 10, 30, None)
        logged_in(kept, port, owner)
        gone.set()
        with gevent.Timeout(PATIENCE):
            while kept.kept:
                gevent.sleep(0.01)
        assert not kept._owned


def test_a_connection_that_has_carried_a_request_body_is_closed():
    with listening(read_all) as (_host, port):
        kept = pool.Pool(Names('127.0.0.1'), 10, 30, None)
        connection = kept.connect(to(port), allow, LIMITS, False, ANYBODY)
        connection.clean = connection.bodies = True
        kept.release(connection, ANYBODY)
        assert kept.kept == kept.connections == 0


def test_a_connection_whose_exchange_did_not_end_cleanly_is_closed():
    with listening(read_all) as (_host, port):
        kept = pool.Pool(Names('127.0.0.1'), 10, 30, None)
        connection = kept.connect(to(port), allow, LIMITS, False, ANYBODY)
        kept.release(connection, ANYBODY)
        again = kept.connect(to(port), allow, LIMITS, True, ANYBODY)
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


@pytest.mark.parametrize('octets', [b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil', b''])
def test_octets_without_a_request_are_no_answer_even_before_the_hub_has_seen_them(octets):
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(5)
    port = listener.getsockname()[1]
    kept = pool.Pool(Names('127.0.0.1'), 10, 30, None)
    first = kept.connect(to(port), allow, LIMITS, True, ANYBODY)
    origin = listener.accept()[0]
    first.clean = True
    kept.release(first, ANYBODY)
    gevent.sleep(0)                     # it is watched now
    if octets:
        origin.sendall(octets)          # which is there at once, as it goes by loopback; the hub has no turn in between
    else:
        origin.shutdown(socket.SHUT_WR)
    second = kept.connect(to(port), allow, LIMITS, True, ANYBODY)
    try:
        assert second is not first and not second.kept
    finally:
        second.stream.close()
        origin.close()
        listener.close()


# --- targets and routes

def park(kept, key):
    """Connect, and keep the connection for the next exchange -> the Connection."""
    connection = kept.connect(key, allow, LIMITS, True, ANYBODY)
    connection.clean = True
    kept.release(connection, ANYBODY)
    return connection


def test_http_and_https_targets_of_one_host_and_port_never_share_a_connection():
    with listening(read_all) as (_host, port):
        kept = pool.Pool(Names('127.0.0.1'), 10, 30, None)
        plain, secure = park(kept, to(port)), park(kept, to(port, scheme=b'https'))
        assert plain is not secure and kept.kept == 2
        assert park(kept, to(port)) is plain and park(kept, to(port, scheme=b'https')) is secure
        kept.close_idle()


class Parent(object):
    """A parent that is an HTTP proxy: remembers the heads that it got, and answers each CONNECT with `word`."""

    def __init__(self, word=b'HTTP/1.1 200 OK\r\n\r\n'):
        self.asked, self._word = [], word

    def __call__(self, sock):
        asked = b''
        while not asked.endswith(b'\r\n\r\n'):
            asked += sock.recv(100)
        self.asked.append(asked)
        sock.sendall(self._word)
        read_all(sock)


def through(port, host=b'parent.test'):
    """The Route through a parent."""
    return Route((routes.Parent(b'http', host, port, None, None),), ())


def test_a_route_dials_another_address_shakes_hands_and_shares_nothing_with_direct_requests():
    parent, judged = Parent(), []
    with listening(parent) as (_host, parent_port), listening(read_all) as (_host, port):
        names = Names('127.0.0.1')
        kept = pool.Pool(names, 10, 30, None)
        by_parent = to(port, route=through(parent_port))
        routed = kept.connect(by_parent, lambda *where: judged.append(where), LIMITS, True, ANYBODY)
        assert names.asked == [b'parent.test'] and judged == [('127.0.0.1', parent_port)]
        assert parent.asked == [b'CONNECT a.test:%d HTTP/1.1\r\nHost: a.test:%d\r\n\r\n' % (port, port)]
        assert routed.stream.transport.getpeername()[1] == parent_port
        routed.clean = True
        kept.release(routed, ANYBODY)
        direct = park(kept, to(port))
        assert direct is not routed and direct.stream.transport.getpeername()[1] == port
        assert park(kept, by_parent) is routed and park(kept, to(port)) is direct
        kept.connect(by_parent, lambda *where: judged.append(where), LIMITS, True, ANYBODY)
        assert judged == [('127.0.0.1', parent_port)] * 2       # a kept one is judged again, as what it is connected to
        kept._close(routed)
        kept.close_idle()


def test_a_handshake_that_fails_leaves_nothing_behind():
    with listening(Parent(b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n')) as (_host, port):
        kept, before = pool.Pool(Names('127.0.0.1'), 10, 30, None), len(os.listdir('/proc/self/fd'))
        with pytest.raises(errors.ParentRefused):
            kept.connect(to(80, route=through(port)), allow, LIMITS, True, ANYBODY)
        assert kept.connections == 0
        with gevent.Timeout(PATIENCE):
            while len(os.listdir('/proc/self/fd')) > before:    # until the other end has closed, too
                gevent.sleep(0.01)


def test_requests_in_absolute_form_share_a_connection_but_not_one_that_is_logged_in():
    with listening(read_all) as (_host, port):
        kept, owner = pool.Pool(Names('127.0.0.1'), 10, 30, None), Owner()
        route = through(port)
        key, one, two = (route.parents[0], route), Target(b'http', b'one.test', 80), Target(b'http', b'two.test', 80)

        def take(host, logs_in=False):
            connection = kept.connect(key, allow, LIMITS, True, owner, host)
            assert connection.parent is route.parents[0]
            connection.clean, connection.logged_in = True, connection.logged_in or logs_in
            kept.release(connection, owner)
            return connection
        shared = take(one)
        assert take(two) is shared and take(one, logs_in=True) is shared
        other = take(two)               # the log-in was for the origin `one`
        assert other is not shared and take(one) is shared and take(two) is other
        kept.close_idle()


def test_the_parent_is_asked_for_an_address_and_only_for_the_one_that_was_judged():
    parent = Parent()
    with listening(parent) as (_host, port):
        kept, route = pool.Pool(Names('127.0.0.1'), 10, 30, None), through(port)
        connections = []
        for address in (b'192.0.2.1', b'192.0.2.2', b'192.0.2.1', b'2001:db8::1'):
            connection = kept.connect(to(80, route=route) + (address,), allow, LIMITS, True, ANYBODY, via=b'1.1 me')
            connections.append(connection)
            connection.clean = True
            kept.release(connection, ANYBODY)
        assert connections[2] is connections[0] and len(set(connections)) == 3
        assert [head.partition(b'\r\n')[0] for head in parent.asked] == [
            b'CONNECT 192.0.2.1:80 HTTP/1.1', b'CONNECT 192.0.2.2:80 HTTP/1.1', b'CONNECT [2001:db8::1]:80 HTTP/1.1']
        assert all(b'\r\nVia: 1.1 me\r\n' in head for head in parent.asked)
        kept.close_idle()
