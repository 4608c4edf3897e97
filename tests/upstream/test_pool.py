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
from geproxy.upstream import dialling, pool, resolver

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
    kept = pool.Pool(names, keep, keep_time)
    connections = [kept.connect(to(port), allow, LIMITS, False, ANYBODY) for _ in range(count)]
    for connection in connections:
        connection.clean = True
        kept.release(connection, ANYBODY)
    return kept, connections


def test_other_settings_hold_for_kept_connections_and_for_names():
    names = resolver.Resolver()
    kept = pool.Pool(names, 0, 1)
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
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 10, 30), Owner(), Owner()
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
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 0, 0), Owner(), Owner()
        mine, theirs = logged_in(kept, port, owner) + logged_in(kept, port, other)
        kept.prune()
        kept.leave(owner)
        assert mine.stream.transport.fileno() == -1 and theirs.stream.transport.fileno() != -1
        kept.close_idle()
        assert theirs.stream.transport.fileno() == -1 and kept.kept == kept.connections == 0 and not kept._owned


def test_connections_that_are_logged_in_are_bounded_for_each_owner_and_in_all():
    with listening(read_all) as (_host, port):
        kept, owners = pool.Pool(Names('127.0.0.1'), 1, 30), [Owner(), Owner(), Owner()]
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
        kept, owner, other = pool.Pool(Names('127.0.0.1'), 10, 30), Owner(), Owner()
        logged_in(kept, port, other, 3)
        kept.keep = 0                               # as a reload has it, before anything is pruned
        logged_in(kept, port, owner)
        assert kept.kept == kept.connections == 1 and list(kept._owned) == [other]
        kept.close_idle()


def test_a_connection_that_is_logged_in_and_ended_by_its_origin_is_forgotten():
    with listening(lambda sock: gone.wait(PATIENCE)) as (_host, port):
        gone, owner = gevent.event.Event(), Owner()
        kept = pool.Pool(Names('127.0.0.1'), 10, 30)
        logged_in(kept, port, owner)
        gone.set()
        with gevent.Timeout(PATIENCE):
            while kept.kept:
                gevent.sleep(0.01)
        assert not kept._owned


def test_a_connection_that_has_carried_a_request_body_is_closed():
    with listening(read_all) as (_host, port):
        kept = pool.Pool(Names('127.0.0.1'), 10, 30)
        connection = kept.connect(to(port), allow, LIMITS, False, ANYBODY)
        connection.clean = connection.bodies = True
        kept.release(connection, ANYBODY)
        assert kept.kept == kept.connections == 0


def test_a_connection_whose_exchange_did_not_end_cleanly_is_closed():
    with listening(read_all) as (_host, port):
        kept = pool.Pool(Names('127.0.0.1'), 10, 30)
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
    kept = pool.Pool(Names('127.0.0.1'), 10, 30)
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
        kept = pool.Pool(Names('127.0.0.1'), 10, 30)
        plain, secure = park(kept, to(port)), park(kept, to(port, scheme=b'https'))
        assert plain is not secure and kept.kept == 2
        assert park(kept, to(port)) is plain and park(kept, to(port, scheme=b'https')) is secure
        kept.close_idle()


def ask_parent(stream, hop, onward, limit, deadline):
    """The handshake of a kind of parent that there is only here: say where to, and read one word."""
    stream.send(b'TO %s %d\r\n\r\n' % (onward.host, onward.port), limit)
    if stream.read_head(100, limit, deadline, lambda octets, seen: None) != b'OK\r\n\r\n':
        raise errors.ConnectRefused('%s does not want to' % hop.host.decode('ascii'))
    return stream


class Parent(object):
    """The other end of that handshake: remembers where it was told to connect to, and answers with `word`."""

    def __init__(self, word=b'OK\r\n\r\n'):
        self.asked, self._word = [], word

    def __call__(self, sock):
        asked = b''
        while not asked.endswith(b'\r\n\r\n'):
            asked += sock.recv(100)
        self.asked.append(asked)
        sock.sendall(self._word)
        read_all(sock)


def test_a_route_dials_another_address_shakes_hands_and_shares_nothing_with_direct_requests(monkeypatch):
    monkeypatch.setitem(dialling.HANDSHAKES, b'fake', ask_parent)
    parent, judged = Parent(), []
    with listening(parent) as (_host, parent_port), listening(read_all) as (_host, port):
        names = Names('127.0.0.1')
        kept = pool.Pool(names, 10, 30)
        by_parent = to(port, route=Route((routes.Parent(b'fake', b'parent.test', parent_port, None, None),), ()))
        routed = kept.connect(by_parent, lambda *where: judged.append(where), LIMITS, True, ANYBODY)
        assert names.asked == [b'parent.test'] and judged == [('127.0.0.1', parent_port)]
        assert parent.asked == [b'TO a.test %d\r\n\r\n' % port]
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


def test_a_handshake_that_fails_leaves_nothing_behind(monkeypatch):
    monkeypatch.setitem(dialling.HANDSHAKES, b'fake', ask_parent)
    with listening(Parent(b'NO\r\n\r\n')) as (_host, port):
        kept, before = pool.Pool(Names('127.0.0.1'), 10, 30), len(os.listdir('/proc/self/fd'))
        with pytest.raises(errors.ConnectRefused):
            kept.connect(to(80, route=Route((routes.Parent(b'fake', b'parent.test', port, None, None),), ())), allow, LIMITS, True, ANYBODY)
        assert kept.connections == 0
        with gevent.Timeout(PATIENCE):
            while len(os.listdir('/proc/self/fd')) > before:    # until the other end has closed, too
                gevent.sleep(0.01)
