"""Sockets in the file system: for their owner alone, stale ones replaced, living ones left alone."""
from __future__ import absolute_import, division, print_function

import contextlib
import os
import socket
import stat

import pytest
from processes import folder, write

from geproxy.net import unix_sockets
from geproxy.net.unix_sockets import ListenError, open_listener


@contextlib.contextmanager
def opened(path):
    """A listening socket, closed behind the block, and its name left where it is."""
    sock = open_listener(path)
    try:
        yield sock
    finally:
        sock.close()


def refusal(path):
    """Why a socket cannot be opened."""
    with pytest.raises(ListenError) as raised:
        open_listener(path)
    return raised.value.args[0]


def test_it_is_for_its_owner_alone_and_answers():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        before = os.umask(0)
        try:
            with opened(path) as sock:
                assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
                assert unix_sockets.answers(path) and unix_sockets.path_of(sock) == path
                assert os.listdir(here) == ['a.sock']
            assert os.umask(0) == 0             # as it was
        finally:
            os.umask(before)


def test_one_that_was_left_behind_is_replaced():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        with opened(path):
            pass
        assert os.path.exists(path) and not unix_sockets.answers(path)
        with opened(path):
            assert unix_sockets.answers(path)


def test_one_that_lives_is_left_alone():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        with opened(path):
            assert 'another process listens there; with several, write {pid}' in refusal(path)
            assert unix_sockets.answers(path)


def test_a_busy_one_lives_as_well():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        with opened(path) as sock:
            sock.listen(0)
            clients = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
            for client in clients:
                client.settimeout(0.0)
                client.connect_ex(path)
            assert unix_sockets.answers(path)
            for client in clients:
                client.close()


def test_a_file_is_not_taken_for_one():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        write(path, 'precious')
        assert refusal(path) == 'cannot listen on unix:%s: it exists and is no socket: remove it or choose another path' % path
        with open(path) as kept:
            assert kept.read() == 'precious'


def test_a_folder_that_is_not_there_is_told():
    assert refusal('/nowhere/at/all.sock') == (
        'cannot listen on unix:/nowhere/at/all.sock: there is no folder /nowhere/at: make it, for the user that runs geproxy')


def test_each_process_has_its_own_and_those_of_the_dead_go():
    with folder() as here:
        pattern = os.path.join(here, 'geproxy-{pid}.sock')
        own = pattern.replace('{pid}', '%d' % os.getpid())
        for name in ('geproxy-1.sock', 'geproxy-x.sock'):
            with opened(os.path.join(here, name)):
                pass
        write(os.path.join(here, 'geproxy-2.sock'), '')
        with opened(os.path.join(here, 'geproxy-3.sock')), opened(pattern):
            assert sorted(os.listdir(here)) == sorted([
                'geproxy-2.sock', 'geproxy-3.sock', 'geproxy-x.sock', os.path.basename(own)])
            assert unix_sockets.matches(pattern) == sorted([os.path.join(here, 'geproxy-3.sock'), own])


def test_they_are_found_by_pattern_and_by_folder():
    with folder() as here:
        with opened(os.path.join(here, 'a.sock')), opened(os.path.join(here, 'b.sock')):
            write(os.path.join(here, 'c.sock'), '')
            both = [os.path.join(here, name) for name in ('a.sock', 'b.sock')]
            assert unix_sockets.matches(here) == unix_sockets.matches(os.path.join(here, '*.sock')) == both
            assert unix_sockets.matches(both[0]) == both[:1] and unix_sockets.matches(os.path.join(here, 'd.sock')) == []


def test_a_successors_name_is_not_removed():
    with folder() as here:
        path = os.path.join(here, 'a.sock')
        with opened(path):
            pass
        with opened(path):
            unix_sockets.remove(path)
            assert os.path.exists(path)
        unix_sockets.remove(path)
        assert not os.path.exists(path)
