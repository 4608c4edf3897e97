"""Waits for sockets, each until its deadline."""
from __future__ import absolute_import, division, print_function

import socket
import struct

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net import deadlines
from geproxy.net.deadlines import TimeLimit, look_again, wait_connected, wait_readable, watching
from geproxy.net.stream import Stream
from helpers import PATIENCE, connect, stream_pair

LINGER = TimeLimit('linger', 7, errors.TunnelIdle)


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


def test_shorten_wait_moves_the_deadline_of_a_waiting_greenlet(pair):
    stream, _other = pair
    waiting = gevent.spawn(wait_readable, (stream,), monotonic() + 3600)
    gevent.sleep(0)
    stream.shorten_wait(monotonic(), LINGER)
    assert waiting.get(timeout=PATIENCE) is None


def test_shorten_wait_does_not_touch_a_greenlet_that_waits_for_another_stream(pair):
    stream, other = pair
    with stream_pair() as (second, _silent):
        def wait_for_both():
            first = wait_readable((stream,), monotonic() + PATIENCE)
            return first, wait_readable((second,), monotonic() + 0.5)
        began = monotonic()
        waiting = gevent.spawn(wait_for_both)
        gevent.sleep(0)
        other.sendall(b'x')
        while second.reading is None:
            gevent.sleep(0)
        stream.shorten_wait(began - 1, LINGER)
        assert waiting.get(timeout=PATIENCE) == (stream, None)
        assert monotonic() - began > 0.5


@pytest.mark.parametrize('what', [None, 1, 'stream', object()])
def test_a_late_switch_for_an_earlier_wait_ends_no_other_wait(pair, what):
    stream, other = pair
    stream.transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reading = gevent.spawn(wait_readable, (stream,), monotonic() + PATIENCE)
    sending = gevent.spawn(stream.send, b'x' * 1000000, TimeLimit('body', PATIENCE, errors.DownloadTimeout))
    gevent.sleep(0)
    for waiting in (reading, sending):
        gevent.get_hub().loop.run_callback(waiting.switch, what)
    gevent.sleep(0.01)
    assert not reading.ready() and not sending.ready()
    other.sendall(b'x')
    assert reading.get(timeout=PATIENCE) is stream
    left = 1000000
    while left:
        left -= len(other.recv(65536))
    assert sending.get(timeout=PATIENCE) is None


def test_octets_that_arrived_before_the_deadline_win_over_it(pair):
    stream, other = pair
    waiting = gevent.spawn(wait_readable, (stream,), monotonic() - 1)
    gevent.sleep(0)
    other.sendall(b'x')
    deadlines.sweep()                            # before the loop has seen it, as behind a SIGSTOP
    assert waiting.get(timeout=PATIENCE) is stream


def test_room_that_is_there_when_the_time_is_over_goes_first(pair):
    stream, other = pair
    stream.transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sending = gevent.spawn(stream.send, b'x' * 100000, TimeLimit('body', -1, errors.DownloadTimeout))
    gevent.sleep(0)
    left = 100000
    while left:
        left -= len(other.recv(65536))
        deadlines.sweep()
    assert sending.get(timeout=PATIENCE) is None


def test_a_connection_that_is_there_when_the_time_is_over_is_one(pair):
    stream, _other = pair
    for _ in range(20):
        assert wait_connected([stream.transport], monotonic() - 1) is stream.transport


def test_the_reset_of_a_watched_stream_ends_a_wait_for_another(pair):
    stream, other = pair
    with stream_pair() as (second, _silent):
        other.sendall(b'unread')
        waiting = gevent.spawn(watching, stream, wait_readable, (second,), monotonic() + 3600)
        writing = gevent.spawn(watching, stream, wait_readable, (), monotonic() + 3600)
        gevent.sleep(0)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        other.close()
        assert waiting.get(timeout=PATIENCE) is None and writing.get(timeout=PATIENCE) is None
        assert stream.is_gone()


def test_look_again_ends_the_wait_that_watches_a_stream(pair):
    stream, other = pair
    waiting = gevent.spawn(watching, stream, wait_readable, (), monotonic() + 3600)
    gevent.sleep(0)
    look_again(stream)
    assert waiting.get(timeout=PATIENCE) is None and not stream.is_gone()
    look_again(stream)                  # nobody is there


def test_no_greenlet_runs_while_a_watched_stream_is_not_reset(pair):
    stream, _other = pair
    looks = []

    def wait():
        looks.append(watching(stream, wait_readable, (), monotonic() + 3 * deadlines.SWEEP))
    gevent.spawn(wait).get(timeout=PATIENCE)
    assert looks == [None] and not deadlines._watched
