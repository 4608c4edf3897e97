"""Accept connections. What happens in a process without file descriptors is in test_server."""
from __future__ import absolute_import, division, print_function

import contextlib
import socket

import gevent
import pytest
from gevent.event import Event
from helpers import PATIENCE, connect, read_all

from geproxy.net import turns
from geproxy.service import acceptor, listeners
from geproxy.settings import option_types


@contextlib.contextmanager
def accepting(handle, report_shortage=None, free_reserve=None, shared=False):
    """Give an Acceptor that calls `handle`, and is not started. `shared`: its listener was opened elsewhere, so other
    processes may have it, too."""
    sock, = opened = listeners.open_all([option_types.Listener('127.0.0.1', 0, None)])
    if shared:
        sock, = listeners.open_all([option_types.Listener(None, None, opened[0].fileno())])
    made = acceptor.Acceptor(sock, handle, report_shortage or (lambda: None), free_reserve or (lambda: False))
    made.place = sock.getsockname()
    try:
        yield made
    finally:
        made.finish()


@pytest.mark.parametrize('shared', [False, True])
def test_a_new_client_does_not_wait_for_many_costly_ones_before_it(shared):
    ended = []

    def handle(_sock, peer):
        if peer != last.getsockname():
            turns.wait_turn()               # as for a large head
        ended.append(peer)
        if len(ended) == len(clients):
            done.set()
    done = Event()
    with accepting(handle, shared=shared) as made:
        clients = [connect(made.place) for _ in range(50)]
        last = clients[-1]
        made.start()
        assert done.wait(PATIENCE)
        assert (ended.index(last.getsockname()) < 10) is not shared
        for client in clients:
            client.close()


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


def test_clients_that_have_connected_are_served_before_the_listener_closes():
    served = []

    def handle(sock, _peer):
        served.append(1)
        sock.close()
    with accepting(handle) as made:             # it is never started, so all clients wait
        clients = [connect(made.place) for _ in range(5)]
        made.finish()
        made.finish()                           # a second time does nothing
        gevent.sleep(0)
        assert len(served) == 5 and [read_all(client) for client in clients] == [b''] * 5
        with pytest.raises(socket.error):
            connect(made.place)
        for client in clients:
            client.close()
