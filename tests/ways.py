"""Ways for octets, for the tests of what copies them: pairs of Streams, tunnels, pipes that are watched."""
from __future__ import absolute_import, division, print_function

import errno
import os
import socket

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange.tunnel import Tunnel
from geproxy.http1 import chunks
from geproxy.limits import rates
from geproxy.net import kernel_pipes
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream
from helpers import PATIENCE
from test_kernel_pipes import descriptors
LIMITS = (TimeLimit('body', PATIENCE, errors.BodyTimeout), TimeLimit('body', PATIENCE, errors.DownloadTimeout))


class HeadLimits(object):
    """What chunks.Chunked asks of [limits]."""
    head_size, fields = 1000, 10


def joined(lost):
    """A Stream, and the socket at its other end."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    other = socket.create_connection(listener.getsockname())
    other.settimeout(PATIENCE)
    stream = Stream(listener.accept()[0], '127.0.0.1', lost)
    listener.close()
    return stream, other


@pytest.fixture
def ends():
    """(client Stream, the client's socket, origin Stream, the origin's socket)"""
    client, user = joined(errors.ClientLost)
    origin, server = joined(errors.UpstreamLost)
    yield client, user, origin, server
    for each in (client, user, origin, server):
        each.close()


def chunked():
    return chunks.Chunked(frozenset(), HeadLimits, errors.BadCoding, errors.ResponseIncomplete)


class Flow(object):
    """A tunnel between two sockets, and what came out at the client's end. Its server sends for ever, if told to."""

    def __init__(self, up, down, idle=PATIENCE):
        self.client, self.user = joined(errors.ClientLost)
        self.origin, self.server = joined(errors.UpstreamLost)
        self.origin.pace, self.client.pace = up, down
        self.got = b''
        limit = TimeLimit('tunnel', idle, errors.TunnelIdle)
        self.tunnel = gevent.spawn(self._run, Tunnel(self.client, self.origin, limit, limit))
        self.greenlets = [self.tunnel]

    @staticmethod
    def _run(tunnel):
        try:
            tunnel.run()
        except errors.ProxyError as error:
            return error

    def flood(self, octets):
        """The server sends `octets` again and again; what arrives is kept."""
        self.greenlets += [gevent.spawn(self._send, octets), gevent.spawn(self._receive)]
        return self

    def _send(self, octets):
        while True:
            self.server.sendall(octets)

    def _receive(self):
        while True:
            self.got += self.user.recv(65536)

    def close(self):
        """End it, whatever it does."""
        gevent.killall(self.greenlets)
        for each in (self.client, self.user, self.origin, self.server):
            each.close()


@pytest.fixture
def flows():
    """A list of Flows, which are closed in the end."""
    made = []
    yield made
    for flow in made:
        flow.close()


def paced(shared, key, rate):
    """Keyword arguments for a Flow: a Pace each way."""
    up, down = shared.paces([(key, rate)], None, monotonic())
    return {'up': up, 'down': down}


def behind(seconds):
    """A Pace of 1000 octets per second that has been given away for the next `seconds`."""
    meter = rates.Meter()
    meter.take('others', 1000 * seconds, 1000, monotonic())
    return rates.Pace([(meter, 1000)], None)


MUCH = 8000000      # octets; more than fits into all buffers on the way


class Splice(object):
    """splice(2), and how many octets it has moved. Refuses with `error` from a call on, if told to."""

    def __init__(self, call):
        self._call = call
        self.calls = self.moved = 0
        self.refuse_from, self.error = None, errno.EINVAL

    def __call__(self, source, sink, most):
        if self.calls == self.refuse_from:
            raise OSError(self.error, os.strerror(self.error))
        self.calls += 1
        moved = self._call(source, sink, most)
        self.moved += moved
        return moved


@pytest.fixture
def splicing(monkeypatch):
    """A Splice, by way of which the loops go; all its pipes must be given back, none left open that is not empty."""
    made = Splice(kernel_pipes.find())
    before = descriptors()
    monkeypatch.setattr(kernel_pipes, 'pool', kernel_pipes.Pool(made, most=4))
    yield made
    pool = kernel_pipes.pool
    pool.refuses(OSError(errno.ENOSYS, ''))     # closes those that are free
    assert descriptors() <= before


@pytest.fixture(params=['spliced', 'by ctypes', 'copied', 'refused', 'refused half-way'])
def way(request, monkeypatch):
    """Each way in which much may go: the Splice, or None. Nobody who looks from outside can tell which it was."""
    if request.param == 'by ctypes':
        monkeypatch.delattr(os, 'splice', raising=False)
    made = Splice(kernel_pipes.find())
    if 'refused' in request.param:
        made.refuse_from = 0 if request.param == 'refused' else 1
    pool = kernel_pipes.Pool(None if request.param == 'copied' else made, most=4)
    monkeypatch.setattr(kernel_pipes, 'pool', pool)
    before = descriptors()
    yield made if kernel_pipes.find() and request.param in ('spliced', 'by ctypes') else None
    pool.refuses(OSError(errno.ENOSYS, ''))
    assert descriptors() <= before


def noise(octets):
    """Octets that do not repeat soon."""
    return os.urandom(100003) * (octets // 100003)


def receive(sock, count):
    """That many octets, or what comes until the end."""
    pieces = []
    while count:
        piece = sock.recv(min(count, 1 << 18))
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b''.join(pieces)


def read_rest(stream, count):
    """That many octets out of a Stream."""
    rest = b''
    while len(rest) < count:
        data, got = stream.read(LIMITS[0])
        rest += bytes(data[:got])
    return rest


def same(octets, others):
    """True if they are equal: without a difference of megabytes on the screen if not."""
    return len(octets) == len(others) and octets == others


def stuck(flow, splicing):
    """Have the server of `flow` send until the client's side takes no more and octets are in a pipe."""
    flow.greenlets.append(gevent.spawn(flow._send, noise(1000030)))
    last = -1
    while splicing.moved != last or not splicing.moved:
        last = splicing.moved
        gevent.sleep(0.1)
    assert flow.origin.received > flow.client.sent
    return flow
