"""What nothing needs is read for a while, and then no more."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.limits import rates
from geproxy.net import unwanted
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import HEAD_PIECE, SCRATCH_SIZE
from helpers import PATIENCE, read_all, stream_pair


BODY = TimeLimit('body', PATIENCE, errors.BodyTimeout)


@pytest.fixture
def pair():
    """A Stream and the socket at its other end."""
    with stream_pair() as both:
        yield both


def test_lingering_lets_the_peer_read_its_answer_although_it_still_sends(pair):
    stream, other = pair
    stream.send(b'answer', BODY)
    other.sendall(b'x' * 100000)
    lingering = gevent.spawn(stream.linger, PATIENCE)
    assert read_all(other) == b'answer'
    other.sendall(b'x' * 100000)
    other.close()
    lingering.get(timeout=PATIENCE)


def flood(sock):
    """Send until the peer ends the connection."""
    try:
        while True:
            sock.sendall(b'x' * 100000)
    except socket.error:
        pass


@pytest.mark.parametrize('rate', [None, 1000000])
def test_unwanted_octets_after_the_last_response_are_bounded_and_paced(pair, rate):
    stream, other = pair
    meter = rates.Meter()

    flooding = gevent.spawn(flood, other)
    began = monotonic()
    stream.linger(PATIENCE if rate is None else 1.0, lambda: rate and rates.Pace([(meter, rate)], None))
    if rate is None:
        assert unwanted.MOST <= stream.received < unwanted.MOST + SCRATCH_SIZE
    else:
        assert stream.received <= HEAD_PIECE + rate * (monotonic() - began + rates.SLACK + rates.PIECE)
    stream.close()
    flooding.get(timeout=PATIENCE)


def test_lingering_ends_in_time_also_while_octets_keep_coming(pair, monkeypatch):
    stream, other = pair
    monkeypatch.setattr('geproxy.net.unwanted.MOST', float('inf'))
    flooding = gevent.spawn(flood, other)
    stream.linger(0.3)              # without its end this would last for ever
    stream.close()
    flooding.get(timeout=PATIENCE)


def test_a_flood_that_a_rate_holds_back_can_be_told_to_hurry(pair):
    stream, other = pair
    flooding = gevent.spawn(flood, other)
    lingering = gevent.spawn(stream.linger, 10 * PATIENCE, lambda: rates.Pace([(rates.Meter(), 10)], None))
    with gevent.Timeout(PATIENCE):
        while not stream.received:
            gevent.sleep(0.01)
    gevent.sleep(0)                 # now it waits for its rate, and for no socket
    stream.shorten_wait(monotonic(), TimeLimit('drain', 1, errors.IdleTimeout))
    lingering.get(timeout=PATIENCE)
    stream.close()
    flooding.get(timeout=PATIENCE)
