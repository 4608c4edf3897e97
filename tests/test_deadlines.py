"""Waits for sockets, each until its deadline."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest

from geproxy import deadlines, errors
from geproxy.compat import monotonic
from geproxy.deadlines import Limit, wait_connected, wait_readable
from geproxy.stream import Stream
from helpers import PATIENCE, connect, stream_pair


@pytest.fixture
def pair():
    with stream_pair() as ends:
        yield ends


def test_of_two_streams_the_one_that_is_readable_is_told(pair):
    stream, other = pair
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    silent = connect(listener.getsockname())
    second = Stream(silent, '127.0.0.1', errors.UpstreamLost)
    assert wait_readable((second, stream), monotonic() + 0.01) is None
    gevent.spawn(other.sendall, b'x')
    assert wait_readable((second, stream), monotonic() + PATIENCE) is stream
    second.close()
    listener.close()


def test_hurry_moves_the_deadline_of_whoever_waits(pair):
    stream, _other = pair
    waiting = gevent.spawn(wait_readable, (stream,), monotonic() + 3600)
    gevent.sleep(0)
    stream.hurry(monotonic())
    assert waiting.get(timeout=PATIENCE) is None


def test_what_has_come_when_the_time_is_over_goes_first(pair):
    stream, other = pair
    waiting = gevent.spawn(wait_readable, (stream,), monotonic() - 1)
    gevent.sleep(0)
    other.sendall(b'x')
    deadlines.sweep()                            # before the loop has seen it, as behind a SIGSTOP
    assert waiting.get(timeout=PATIENCE) is stream


def test_room_that_is_there_when_the_time_is_over_goes_first(pair):
    stream, other = pair
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sending = gevent.spawn(stream.send, b'x' * 100000, Limit('body', -1, errors.DownloadTimeout))
    gevent.sleep(0)
    left = 100000
    while left:
        left -= len(other.recv(65536))
        deadlines.sweep()
    assert sending.get(timeout=PATIENCE) is None


def test_a_connection_that_is_there_when_the_time_is_over_is_one(pair):
    stream, _other = pair
    for _ in range(20):
        assert wait_connected([stream.socket], monotonic() - 1) is stream.socket
