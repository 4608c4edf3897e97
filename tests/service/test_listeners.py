"""Listening sockets: open them, take them over, refuse in one line; and recognise our own addresses."""
from __future__ import absolute_import, division, print_function

import contextlib
import errno
import fcntl
import os
import socket

import pytest

from geproxy.net.address import parse_ip
from geproxy.service import listeners
from geproxy.settings.option_types import Listener


@contextlib.contextmanager
def opened(*places):
    """Give the sockets of `listeners.open_all`, and close them after the block."""
    sockets = listeners.open_all([Listener(*place) for place in places])
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def refused(*places):
    """Return the message that says why these cannot be opened, one line."""
    with pytest.raises(listeners.ListenError) as raised:
        with opened(*places):
            pass
    assert '\n' not in raised.value.args[0]
    return raised.value.args[0]


def has_ipv6():
    try:
        probe = socket.socket(socket.AF_INET6)
    except socket.error:
        return False
    try:
        return probe.connect_ex(('::1', 9)) in (0, errno.ECONNREFUSED)
    finally:
        probe.close()


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason='this host has no IPv6')


def connects(host, port):
    sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    try:
        return sock.connect_ex((host, port)) == 0
    finally:
        sock.close()


def test_a_listener_keeps_its_mark_for_tls():
    with opened(('127.0.0.1', 0, None, True), ('127.0.0.1', 0, None), ('', 0, None, True)) as sockets:
        marks = [listeners.is_tls(sock) for sock in sockets]
        assert marks[:3] == [True, False, True] and all(marks[2:])
        descriptor = sockets[1].fileno()
        with opened(('', 0, descriptor, True)) as (taken,):
            assert listeners.is_tls(taken)
    with opened(*[('127.0.0.1', 0, None)] * 8) as sockets:          # with the same numbers
        assert not any(listeners.is_tls(sock) for sock in sockets)


# --- opening ---------------------------------------------------------------------------------------------------------

@needs_ipv6
def test_a_star_is_one_port_in_both_families():
    with opened(('', 0, None)) as sockets:
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
        ports = set(sock.getsockname()[1] for sock in sockets)
        assert len(ports) == 1
        port = ports.pop()
        assert connects('127.0.0.1', port) and connects('::1', port)


@needs_ipv6
def test_an_ipv4_client_of_a_star_has_an_ipv4_address():
    with opened(('', 0, None)) as sockets:
        client = socket.create_connection(('127.0.0.1', sockets[0].getsockname()[1]))
        accepted, peer = sockets[0].accept()
        accepted.close()
        client.close()
        assert peer[0] == '127.0.0.1'


@pytest.mark.parametrize('host', ['127.0.0.1', pytest.param('::1', marks=needs_ipv6)])
def test_a_host_is_that_address_only(host):
    with opened((host, 0, None)) as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == [host]


def test_a_name_is_looked_up():
    with opened(('localhost', 0, None)) as sockets:
        assert sockets and set(sock.getsockname()[0] for sock in sockets) <= set(['127.0.0.1', '::1'])


def test_sockets_are_closed_again_when_a_later_one_cannot_be_opened():
    with opened(('127.0.0.1', 0, None)) as taken:
        port = taken[0].getsockname()[1]
        before = sorted(os.listdir('/proc/self/fd'))
        refused(('127.0.0.1', 0, None), ('127.0.0.1', port, None))
        assert sorted(os.listdir('/proc/self/fd')) == before


def test_a_port_can_be_opened_again_at_once():
    with opened(('127.0.0.1', 0, None)) as sockets:
        port = sockets[0].getsockname()[1]
        client = socket.create_connection(('127.0.0.1', port))
        accepted = sockets[0].accept()[0]
        accepted.close()                # first, so that this side has TIME_WAIT
        client.close()
    with opened(('127.0.0.1', port, None)):
        pass


def test_a_client_that_has_begun_to_connect_is_accepted_and_a_later_one_is_ignored():
    with opened(('127.0.0.1', 0, None)) as sockets:
        begun = socket.create_connection(sockets[0].getsockname())
        if not listeners.refuse_new(sockets[0]):
            pytest.skip('no kernel that filters for a listener')
        with pytest.raises(socket.timeout):
            socket.create_connection(sockets[0].getsockname(), 0.2)
        accepted = sockets[0].accept()[0]
        begun.sendall(b'x')
        assert accepted.recv(10) == b'x'
        accepted.close()
        begun.close()


def test_a_listener_of_several_processes_goes_on_to_take_new_clients():
    with opened(('127.0.0.1', 0, None)) as theirs, opened((None, 0, theirs[0].fileno())) as ours:
        assert not listeners.refuse_new(ours[0])
        socket.create_connection(theirs[0].getsockname(), 0.2).close()


def test_sockets_are_closed_on_exec():
    with opened(('127.0.0.1', 0, None)) as sockets:
        assert fcntl.fcntl(sockets[0].fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC


# --- refusals --------------------------------------------------------------------------------------------------------

def test_a_port_in_use_names_its_holder():
    with opened(('127.0.0.1', 0, None)) as taken:
        port = taken[0].getsockname()[1]
        said = refused(('127.0.0.1', port, None))
    assert said.startswith('cannot listen on 127.0.0.1 port %d: the port is in use by process %d (' % (port, os.getpid()))
    assert said.endswith('; stop that program, or choose another port in [proxy] listen')


@needs_ipv6
def test_a_port_in_use_in_one_family_is_in_use():
    with opened(('::1', 0, None)) as taken:
        port = taken[0].getsockname()[1]
        assert 'port %d: the port is in use' % port in refused(('', port, None))
        assert not connects('127.0.0.1', port)


@pytest.mark.parametrize('host,why', [
    ('192.0.2.1', 'cannot listen on 192.0.2.1 port 9: this host does not have that address; choose another one in [proxy] listen'),      # RFC 5737: no host has it
    ('no..such.name', "cannot listen on 'no..such.name': "),
])
def test_an_address_that_this_host_does_not_have_is_reported(host, why):
    assert refused((host, 9, None)).startswith(why)


def test_a_port_that_no_process_listens_on_has_no_holder():
    with opened(('127.0.0.1', 0, None)) as sockets:
        port = sockets[0].getsockname()[1]
        assert listeners.who_listens(port).startswith('process %d (' % os.getpid())
    assert listeners.who_listens(port) == ''


# --- handed over -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('host', ['127.0.0.1', pytest.param('::1', marks=needs_ipv6)])
def test_a_listening_socket_is_taken_over(host):
    with opened((host, 0, None)) as given:
        with opened(('', 0, given[0].fileno())) as taken:
            assert [sock.family for sock in taken] == [given[0].family]
            assert taken[0].getsockname() == given[0].getsockname()
            client = socket.create_connection(taken[0].getsockname()[:2])
            accepted, peer = taken[0].accept()
            assert peer[:2] == client.getsockname()[:2]
            accepted.close()
            client.close()


def test_a_descriptor_that_is_not_a_listening_socket_is_refused():
    folder = os.open('/', os.O_RDONLY)
    pair = socket.socketpair()
    bound = socket.socket()
    bound.bind(('127.0.0.1', 0))
    datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        assert 'is not a socket (' in refused(('', 0, folder))
        for sock in (pair[0], bound, datagram):
            assert refused(('', 0, sock.fileno())) == 'fd:%d is not a listening TCP socket' % sock.fileno()
    finally:
        os.close(folder)
        for sock in pair + (bound, datagram):
            sock.close()


def test_a_listening_unix_socket_is_no_tcp_socket(tmpdir):
    local = socket.socket(socket.AF_UNIX)
    try:
        local.bind(os.path.relpath(str(tmpdir.join('s'))))       # relative: the path of a UNIX socket must be short
        local.listen(1)
        assert refused(('', 0, local.fileno())) == 'fd:%d is not a listening TCP socket' % local.fileno()
    finally:
        local.close()


@pytest.mark.parametrize('pid,count,expected', [
    ('ours', '2', [3, 4]), ('ours', '0', []), ('1', '2', []), ('', '2', []),
    ('ours', '', []), ('ours', '-1', []), ('ours', 'two', []),
])
def test_sockets_from_systemd_are_only_for_the_process_that_it_names(monkeypatch, pid, count, expected):
    pid = pid.replace('ours', str(os.getpid()))
    for name, value in (('LISTEN_PID', pid), ('LISTEN_FDS', count), ('LISTEN_FDNAMES', 'a:b')):
        monkeypatch.setenv(name, value)
    assert listeners.handed_over() == expected
    assert [name for name in os.environ if name.startswith('LISTEN_')] == []
    assert listeners.handed_over() == []


def test_without_sockets_from_systemd_the_message_says_what_to_do(monkeypatch):
    monkeypatch.delenv('LISTEN_FDS', raising=False)
    assert refused(('', 0, 'systemd')).startswith('systemd has handed over no sockets: ')


def test_a_descriptor_that_is_not_open_is_reported():
    said = refused(('', 0, 9999))
    assert said.startswith('fd:9999 is not a socket (%s)' % os.strerror(errno.EBADF))


# --- our own ---------------------------------------------------------------------------------------------------------

OWN = [     # listening on, asked for, with port, is it ours
    ('127.0.0.1', '127.0.0.1', 0, True),
    ('127.0.0.1', '127.0.0.1', 1, False),
    ('127.0.0.1', '127.0.0.2', 0, False),
    ('127.0.0.1', '0.0.0.0', 0, True),          # which connects to this host
    ('', '127.0.0.1', 0, True),
    ('', '127.9.9.9', 0, True),
    ('', '0.0.0.0', 0, True),
    ('', '127.0.0.1', 1, False),
    ('', '192.0.2.1', 0, False),
    ('', '::1', 0, True),
    ('', '::', 0, True),
]


@needs_ipv6
@pytest.mark.parametrize('host,asked,further,expected', OWN)
def test_our_own_listeners_are_recognised_by_every_address_of_this_host(host, asked, further, expected):
    with opened((host, 0, None)) as sockets:
        port = sockets[0].getsockname()[1] + further
        assert listeners.own_test(sock.getsockname()[:2] for sock in sockets)(parse_ip(asked), port) is expected


@needs_ipv6
def test_a_listener_on_one_ipv6_address_is_recognised_by_all_zeros_too():
    with opened(('::1', 0, None)) as sockets:
        is_own = listeners.own_test(sock.getsockname()[:2] for sock in sockets)
        port = sockets[0].getsockname()[1]
        assert is_own(parse_ip('::1'), port) and is_own(parse_ip('::'), port)
        assert not is_own(parse_ip('127.0.0.1'), port)
