"""Taking connections. How it lives through the end of descriptors, in a process, is in test_server."""
from __future__ import absolute_import, division, print_function

import contextlib
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, connect, read_all

from geproxy import acceptor, kinds, listeners, turns


@contextlib.contextmanager
def accepting(handle, starved=None, take_reserve=None):
    """An Acceptor that hands connections to `handle`, not started yet."""
    sock, = listeners.open_all([kinds.Listener('127.0.0.1', 0, None)])
    made = acceptor.Acceptor(sock, handle, starved or (lambda: None), take_reserve or (lambda: False))
    made.place = sock.getsockname()
    try:
        yield made
    finally:
        made.finish()


def test_a_connection_is_handed_over_with_its_peer():
    came = []

    def handle(sock, peer):
        came.append(peer)
        sock.close()
        done.set()
    done = Event()
    with accepting(handle) as made:
        made.start()
        client = connect(made.place)
        assert done.wait(PATIENCE) and came == [client.getsockname()]
        client.close()


def test_who_waits_already_is_served_before_it_closes():
    served = []

    def handle(sock, _peer):
        served.append(1)
        sock.close()
    with accepting(handle) as made:             # which is never started: all of them wait
        clients = [connect(made.place) for _ in range(5)]
        made.finish()
        made.finish()                           # once more does nothing
        gevent.sleep(0)
        assert len(served) == 5 and [read_all(client) for client in clients] == [b''] * 5
        with pytest.raises(socket.error):
            connect(made.place)
        for client in clients:
            client.close()


def test_more_are_taken_at_once_while_others_work_for_whole_turns():
    def work():
        while not over.is_set():
            turns.give_way()
    with accepting(lambda _sock, _peer: None) as made:
        assert made.max_accept == 1
        over = Event()
        working = gevent.spawn(work)
        gevent.sleep(0.01)
        assert made.max_accept == acceptor.MOST_AT_ONCE
        over.set()
        working.get()
        assert made.max_accept == 1
