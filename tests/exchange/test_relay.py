"""The copy loops. What they do in exchanges and tunnels stands in test_fetch, test_deliver and test_open_tunnel."""
from __future__ import absolute_import, division, print_function

import errno
import gc
import itertools
import os
import socket
import struct

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import relay
from geproxy.http1 import chunks, framing
from geproxy.limits import rates
from geproxy.net import deadlines, splice, workers
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import Stream
from helpers import PATIENCE, read_all, read_until, stream_pair
from test_splice import descriptors, needs_splice, starving

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


@pytest.mark.parametrize('make, sent, encoded, expected, rest', [
    (lambda: framing.Sized(5, errors.ResponseIncomplete), b'helloNEXT', False, b'START' b'hello', b'NEXT'),
    (chunked, b'5\r\nhello\r\n0\r\n\r\nNEXT', False, b'START' b'hello', b'NEXT'),
    (chunked, b'5\r\nhello\r\n0\r\nA: b\r\n\r\nNEXT', True, b'START' b'5\r\nhello\r\n0\r\nA: b\r\n\r\n', b'NEXT'),
])
def test_a_body_is_copied_to_its_end_and_no_further(ends, make, sent, encoded, expected, rest):
    client, user, origin, server = ends
    server.sendall(sent)
    relay.copy_body(make(), origin, client, LIMITS, lambda: b'START', encoded)
    client.end()
    assert read_all(user) == expected
    while len(origin.buffer) < len(rest):
        origin.wait(LIMITS[0], monotonic() + PATIENCE)
        origin.fill()
    assert origin.buffer == rest


def test_the_start_is_sent_at_once_even_if_the_body_is_not_there_yet(ends):
    client, user, origin, server = ends
    copying = gevent.spawn(relay.copy_body, framing.UntilClose(), origin, client, LIMITS, lambda: b'head\r\n\r\n')
    assert read_until(user, b'\r\n\r\n') == b'head\r\n\r\n'
    server.sendall(b'x')
    assert user.recv(10) == b'x'
    server.close()
    copying.get(timeout=PATIENCE)


def test_a_gigantic_chunk_is_passed_on_in_pieces_as_it_comes(ends):
    client, user, origin, server = ends
    copying = gevent.spawn(relay.copy_body, chunked(), origin, client, LIMITS, None, True)
    server.sendall(b'fffffffff\r\nabc')
    assert read_until(user, b'abc\r\n') == b'3\r\nabc\r\n'
    copying.kill()


def test_an_upload_tells_how_it_ended_and_wakes_who_waits_for_the_origin(ends):
    client, user, origin, server = ends
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    user.sendall(b'hello')
    assert upload.wait(PATIENCE) and upload.error is None
    assert server.recv(10) == b'hello'
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    user.sendall(b'he')
    user.shutdown(socket.SHUT_WR)
    origin.wait(LIMITS[0], monotonic() + PATIENCE)      # woken, though the origin said nothing
    assert origin.fill() == 0
    assert not upload.wait(PATIENCE) and isinstance(upload.error, errors.ClientLost)


def test_an_upload_can_be_stopped_whatever_it_does(ends):
    client, _user, origin, _server = ends
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    gevent.sleep(0)
    upload.stop()
    assert not upload.wait(0)


def test_a_watch_sees_a_client_that_has_gone_by_its_probe(ends):
    client, user, origin, _server = ends
    probes = []

    def probe():
        probes.append(client.send_now(b'H'))
    watch = relay.Watch(client, TimeLimit('linger', PATIENCE, errors.ClientLost), 1000)
    user.close()
    began = monotonic()
    with pytest.raises(errors.ClientLost):
        watch.wait(origin, monotonic() + PATIENCE, probe)
    assert probes == [1] and monotonic() - began < 1


def test_a_watch_reads_ahead_no_more_than_its_room(ends):
    client, user, origin, server = ends
    watch = relay.Watch(client, LIMITS[0], 1000)
    user.sendall(b'x' * 500000)
    assert not watch.wait(origin, monotonic() + 0.3)
    assert 1000 <= len(client.buffer) < 1000 + 16 * 1024
    server.sendall(b'x')
    assert watch.wait(origin, monotonic() + PATIENCE)


# --- throttled -----------------------------------------------------------------------------------------------------

class Flow(object):
    """A tunnel between two sockets, and what came out at the client's end. Its server sends for ever, if told to."""

    def __init__(self, up, down, idle=PATIENCE):
        self.client, self.user = joined(errors.ClientLost)
        self.origin, self.server = joined(errors.UpstreamLost)
        self.origin.pace, self.client.pace = up, down
        self.got = b''
        limit = TimeLimit('tunnel', idle, errors.TunnelIdle)
        self.tunnel = gevent.spawn(self._run, relay.Tunnel(self.client, self.origin, limit, limit))
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


def test_flows_share_a_rate_evenly_and_the_others_are_not_concerned(flows):
    rate, shared, letters = 500000, rates.Limits(), (b'a', b'b', b'c', b'd', b'e')
    flows.extend(Flow(**paced(shared, key, rate)).flood(letter * 10000)
                 for key, letter in zip(('joe', 'joe', 'joe', 'joe', 'ann'), letters))
    free = Flow(None, None)
    flows.append(free)
    began = monotonic()
    free.greenlets += [gevent.spawn(free.server.sendall, b'f' * 4 * rate), gevent.spawn(free._receive)]
    gevent.sleep(1.0)
    got, seconds = [len(flow.got) for flow in flows], monotonic() - began
    # On a busy host all of them stand still at times, for longer than is made up for; test_limits has the exact shares.
    for total in (sum(got[:4]), got[4]):
        assert 0.5 * rate * seconds < total < rate * (seconds + 0.2)
    assert max(got[:4]) - min(got[:4]) < 0.25 * rate and got[5] == 4 * rate
    # A piece that waits is not overwritten by those that others read meanwhile.
    assert [flow.got.strip(letter) for flow, letter in zip(flows, letters)] == [b''] * 5


def test_each_direction_has_its_own_budget(flows):
    rate = 200000
    flows.append(Flow(**paced(rates.Limits(), 'joe', rate)).flood(b'x' * 10000))
    (flow,) = flows
    flow.greenlets.append(gevent.spawn(flow.user.sendall, b'y' * 10 * rate))
    up, began = 0, monotonic()
    while monotonic() < began + 0.5:
        up += len(flow.server.recv(65536))
    seconds = monotonic() - began
    for total in (up, len(flow.got)):
        assert 0.5 * rate * seconds < total < rate * (seconds + 0.2)


@pytest.mark.parametrize('make, chunked_out, expected', [
    (lambda: framing.Sized(4000, errors.ResponseIncomplete), False, b'HEAD' + b'x' * 4000),
    (framing.UntilClose, False, b'HEAD' + b'x' * 4000),
    (framing.UntilClose, True, b'HEAD' b'400\r\n' + b'x' * 1024),
], ids=['sized', 'until close', 'chunked'])
def test_a_throttled_body_goes_in_small_pieces_with_its_head_counted(ends, make, chunked_out, expected):
    client, user, origin, server = ends
    counted = []
    client.pace = rates.Pace([(rates.Meter(), 20000)], counted.append)
    server.sendall(b'x' * 4000)
    server.shutdown(socket.SHUT_WR)
    relay.copy_body(make(), origin, client, LIMITS, lambda: b'HEAD', chunked_out)
    client.end()
    data = read_all(user)
    assert data.startswith(expected) and sum(counted) == len(data) == client.sent
    assert max(counted) <= 1024 + len(b'HEAD400\r\n\r\n')


def test_what_a_throttle_holds_back_is_no_silence(flows):
    flows.append(Flow(None, behind(0.8), idle=0.2))
    (flow,) = flows
    flow.server.sendall(b'late')
    began = monotonic()
    assert flow.user.recv(10) == b'late'
    assert monotonic() - began > 0.7
    assert isinstance(flow.tunnel.get(timeout=PATIENCE), errors.TunnelIdle)     # and then there is one


def test_a_flow_that_is_held_back_ends_when_its_client_breaks(flows):
    flows.append(Flow(None, behind(1000)))
    (flow,) = flows
    flow.server.sendall(b'never')
    gevent.sleep(0.1)
    flow.user.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    flow.user.close()
    began = monotonic()
    assert isinstance(flow.tunnel.get(timeout=PATIENCE), errors.ClientLost)
    assert monotonic() - began < 2


def test_a_flow_that_is_held_back_ends_when_the_other_direction_does(flows):
    enough = errors.QuotaExceeded('enough', 60)

    def charge(_octets):
        raise enough
    flows.append(Flow(rates.Pace([], charge), behind(1000)))
    (flow,) = flows
    flow.server.sendall(b'never')
    gevent.sleep(0.1)
    flow.user.sendall(b'too much')
    assert flow.tunnel.get(timeout=PATIENCE) is enough      # the reason, not what it led to
    assert flow.server.recv(10) == b''


def test_an_upload_that_is_held_back_can_be_stopped(ends):
    client, user, origin, _server = ends
    origin.pace = behind(1000)
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    user.sendall(b'hello')
    gevent.sleep(0.1)
    began = monotonic()
    upload.stop()
    assert monotonic() - began < 1 and not upload.wait(0)


def test_an_upload_that_is_too_much_says_so(ends):
    client, user, origin, server = ends
    enough = errors.QuotaExceeded('enough', 60)

    def charge(_octets):
        raise enough
    origin.pace = rates.Pace([], charge)
    user.sendall(b'hello')
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    assert not upload.wait(PATIENCE) and upload.error is enough
    assert server.recv(10) == b''


@pytest.mark.parametrize('way', ['body', 'tunnel'])
def test_who_reads_nothing_costs_a_piece_of_memory_and_no_more(ends, way, monkeypatch):
    client, user, origin, server = ends
    monkeypatch.setattr(splice, 'pool', splice.Pool(None))      # as for all but a few of many
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    origin.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2000000)
    sending = gevent.spawn(server.sendall, b'x' * MUCH)
    gevent.sleep(0.1)                       # so that much is there when the first piece is read
    if way == 'body':
        copying = gevent.spawn(relay.copy_body, framing.UntilClose(), origin, client, LIMITS)
    else:
        copying = gevent.spawn(relay.Tunnel(client, origin, *LIMITS).run)
    gevent.sleep(0.1)                       # what is waited for is that nothing happens any more
    kept = origin.received - client.sent
    gevent.killall([copying, sending])
    assert 0 < kept <= 64 * 1024


# --- through pipes -------------------------------------------------------------------------------------------------

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
    made = Splice(splice.find())
    before = descriptors()
    monkeypatch.setattr(splice, 'pool', splice.Pool(made, most=4))
    yield made
    pool = splice.pool
    pool.refuses(OSError(errno.ENOSYS, ''))     # closes those that are free
    assert descriptors() <= before


@pytest.fixture(params=['spliced', 'by ctypes', 'copied', 'refused', 'refused half-way'])
def way(request, monkeypatch):
    """Each way in which much may go: the Splice, or None. Nobody who looks from outside can tell which it was."""
    if request.param == 'by ctypes':
        monkeypatch.delattr(os, 'splice', raising=False)
    made = Splice(splice.find())
    if 'refused' in request.param:
        made.refuse_from = 0 if request.param == 'refused' else 1
    pool = splice.Pool(None if request.param == 'copied' else made, most=4)
    monkeypatch.setattr(splice, 'pool', pool)
    before = descriptors()
    yield made if splice.find() and request.param in ('spliced', 'by ctypes') else None
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


def decode(octets):
    """A whole chunked body -> its content."""
    body = chunked()
    content = chunks.bytes_of(body.feed(bytearray(octets), len(octets)))
    assert body.done and body.used == len(octets)
    return content


def same(octets, others):
    """True if they are equal: without a difference of megabytes on the screen if not."""
    return len(octets) == len(others) and octets == others


MIXED = (40000, 40000, 16384, 16384, 1, 1, 5000, 3, 70000, 9000, 9001) + (20,) * 3000     # octets of chunks in turn


def in_chunks(octets, sizes):
    """`octets` in chunked coding, in chunks of these sizes in turn."""
    pieces, at = [], 0
    for size in itertools.cycle(sizes):
        if at >= len(octets):
            return b''.join(pieces) + b'0\r\n\r\n'
        pieces.append(b'%x\r\n%s\r\n' % (len(octets[at:at + size]), octets[at:at + size]))
        at += size


@pytest.mark.parametrize('sizes', [(1000,), (16384,), (70000,), (3000000,), MIXED], ids=lambda sizes: str(sizes[0]))
@pytest.mark.parametrize('out', [False, True], ids=['plain', 'chunked'])
def test_a_long_chunked_body_arrives_as_it_is(way, ends, sizes, out):
    client, user, origin, server = ends
    data = noise(MUCH)
    sending = gevent.spawn(server.sendall, in_chunks(data, sizes) + b'NEXT')
    copying = gevent.spawn(relay.copy_body, chunked(), origin, client, LIMITS, lambda: b'START', out)
    copying.link(lambda _: client.end())
    got = read_all(user)
    copying.get(timeout=PATIENCE)
    assert got[:5] == b'START' and same(decode(got[5:]) if out else got[5:], data)
    sending.get(timeout=PATIENCE)
    assert read_rest(origin, 4) == b'NEXT'
    assert client.sent == len(got) and origin.received == len(in_chunks(data, sizes)) + 4
    if way is not None and len(sizes) == 1 and sizes[0] >= 16384:
        assert way.moved > MUCH / 2


@pytest.mark.parametrize('out', [False, True], ids=['plain', 'chunked'])
def test_a_long_body_arrives_as_it_is_and_nothing_behind_it(way, ends, out):
    client, user, origin, server = ends
    data = noise(MUCH)
    sending = gevent.spawn(server.sendall, data + b'NEXT')
    body = framing.Sized(len(data), errors.ResponseIncomplete)
    copying = gevent.spawn(relay.copy_body, body, origin, client, LIMITS, lambda: b'START', out)
    copying.link(lambda _: client.end())
    got = read_all(user)
    copying.get(timeout=PATIENCE)
    assert got[:5] == b'START' and same(decode(got[5:]) if out else got[5:], data)
    sending.get(timeout=PATIENCE)
    assert read_rest(origin, 4) == b'NEXT' and body.done
    assert client.sent == len(got) and origin.received == len(data) + 4
    if way is not None:
        assert way.moved > MUCH / 2


@pytest.mark.parametrize('rest, expected', [
    (b'\r\n2\r\nab\r\n0\r\nA: b\r\n\r\nNEXT', b'ab'),
    (b'\r\n4E20\r\n' + b'y' * 20000 + b'\r\n0;x=y\r\n\r\nNEXT', b'y' * 20000),
    (b'\r', errors.ResponseIncomplete),
    (b'', errors.ResponseIncomplete),
    (b'\n', errors.BadCoding),
    (b'x\n', errors.BadCoding),
    (b'\r\n0x1\r\n', errors.BadCoding),
    (b'\r\n4E20\r\n' + b'y' * 20001 + b'\r\n', errors.BadCoding),
    (b'\r\n' + b'0' * 5000, errors.BadCoding),
    (b'\r\n0\r\n' + b'A: bcd\r\n' * 500, errors.BadCoding),
], ids=lambda value: repr(value)[:20])
def test_chunks_are_checked_to_the_octet_however_they_are_passed_on(way, ends, rest, expected):
    client, user, origin, server = ends
    copying = gevent.spawn(relay.copy_body, chunked(), origin, client, LIMITS)
    sending = gevent.spawn(server.sendall, (b'4E20\r\n' + b'x' * 20000 + b'\r\n') * 400 + b'4E20\r\n' + b'x' * 20000)
    assert len(receive(user, 401 * 20000)) == 401 * 20000       # up to where a chunk ends
    sending.get(timeout=PATIENCE)
    assert way is None or way.moved
    server.sendall(rest)
    server.shutdown(socket.SHUT_WR)
    if isinstance(expected, bytes):
        assert receive(user, len(expected)) == expected
        copying.get(timeout=PATIENCE)
        assert read_rest(origin, 4) == b'NEXT'
    else:
        with pytest.raises(expected):
            copying.get(timeout=PATIENCE)


def test_a_long_body_ends_with_its_connection(way, ends):
    client, user, origin, server = ends
    data = noise(MUCH)
    copying = gevent.spawn(relay.copy_body, framing.UntilClose(), origin, client, LIMITS, lambda: b'', True)
    copying.link(lambda _: client.end())
    sending = gevent.spawn(server.sendall, data)
    sending.link(lambda _: server.close())
    assert same(decode(read_all(user)), data)
    copying.get(timeout=PATIENCE)
    assert way is None or way.moved > MUCH / 2


def test_a_long_body_that_breaks_off_is_not_whole(way, ends):
    client, user, origin, server = ends
    data = noise(MUCH)
    body = framing.Sized(len(data) + 1, errors.ResponseIncomplete)
    copying = gevent.spawn(relay.copy_body, body, origin, client, LIMITS)
    gevent.spawn(server.sendall, data).link(lambda _: server.close())
    assert same(receive(user, len(data)), data)
    with pytest.raises(errors.ResponseIncomplete) as caught:
        copying.get(timeout=PATIENCE)
    assert str(caught.value) == 'the connection ended 1 octets before the body did'


def test_a_tunnel_carries_much_both_ways_at_once(way, flows):
    flow = Flow(None, None)
    flows.append(flow)
    up, down = noise(MUCH), noise(MUCH)
    gevent.spawn(flow.user.sendall, up).link(lambda _: flow.user.shutdown(socket.SHUT_WR))
    gevent.spawn(flow.server.sendall, down).link(lambda _: flow.server.shutdown(socket.SHUT_WR))
    both = [gevent.spawn(read_all, flow.user), gevent.spawn(read_all, flow.server)]
    gevent.joinall(both, timeout=PATIENCE)
    assert same(both[0].value, down) and same(both[1].value, up)
    assert flow.tunnel.get(timeout=PATIENCE) is None
    for stream, octets in ((flow.client, (len(up), len(down))), (flow.origin, (len(down), len(up)))):
        assert (stream.received, stream.sent) == octets
    assert way is None or way.moved > MUCH


def greenlets():
    """How many there are."""
    return sum(isinstance(each, gevent.Greenlet) and not each.dead for each in gc.get_objects())


def test_a_tunnel_has_one_greenlet_until_a_direction_has_to_wait(flows):
    workers.end()
    gevent.sleep(0.01)
    before = greenlets()
    flow = Flow(None, None)
    flows.append(flow)
    for word in (b'one', b'two', b'three'):
        flow.user.sendall(word)
        assert flow.server.recv(10) == word
        flow.server.sendall(word)
        assert flow.user.recv(10) == word
    assert greenlets() == before + 1
    down = noise(MUCH)
    sending = gevent.spawn(flow.server.sendall, down)
    while flow.client.sent < 1000:
        gevent.sleep(0)
    flow.user.sendall(b'meanwhile')
    assert flow.server.recv(10) == b'meanwhile'
    assert same(receive(flow.user, len(down)), down)
    sending.get(timeout=PATIENCE)
    assert greenlets() == before + 2
    flow.user.shutdown(socket.SHUT_WR)
    assert flow.server.recv(10) == b''
    flow.server.sendall(b'last')
    flow.server.close()
    assert read_all(flow.user) == b'last' and flow.tunnel.get(timeout=PATIENCE) is None


@pytest.mark.parametrize('first, then', [('user', 'server'), ('server', 'user')])
def test_the_silence_of_a_half_closed_tunnel_may_be_shorter(ends, first, then):
    client, user, origin, server = ends
    ends = {'user': user, 'server': server}
    tunnel = relay.Tunnel(client, origin, TimeLimit('tunnel', PATIENCE, errors.TunnelIdle),
                          TimeLimit('linger', 0.3, errors.TunnelIdle))
    running = gevent.spawn(tunnel.run)
    ends[first].shutdown(socket.SHUT_WR)
    assert ends[then].recv(10) == b''
    ends[then].sendall(b'still here')
    assert receive(ends[first], 10) == b'still here'
    with pytest.raises(errors.TunnelIdle) as caught:
        running.get(timeout=PATIENCE)
    assert str(caught.value) == 'nothing went through for 0.3 s ([timeouts] linger)'


def test_early_octets_on_both_sides_of_a_tunnel_go_first(ends):
    client, user, origin, server = ends
    client.buffer, origin.buffer = b'to the origin', b'to the client'
    limit = TimeLimit('tunnel', PATIENCE, errors.TunnelIdle)
    running = gevent.spawn(relay.Tunnel(client, origin, limit, limit).run)
    assert server.recv(20) == b'to the origin' and user.recv(20) == b'to the client'
    server.close()
    user.close()
    running.get(timeout=PATIENCE)


def stuck(flow, splicing):
    """Have the server of `flow` send until the client's side takes no more and octets are in a pipe."""
    flow.greenlets.append(gevent.spawn(flow._send, noise(1000030)))
    last = -1
    while splicing.moved != last or not splicing.moved:
        last = splicing.moved
        gevent.sleep(0.1)
    assert flow.origin.received > flow.client.sent
    return flow


@needs_splice
def test_a_pipe_does_not_grow_while_its_reader_sleeps(splicing, flows):
    flow = Flow(None, None)
    flows.append(stuck(flow, splicing))
    assert flow.origin.received - flow.client.sent <= splice.SIZE
    before = splicing.moved
    flow.greenlets.append(gevent.spawn(flow._receive))
    while splicing.moved < before + MUCH:
        gevent.sleep(0.01)
    gevent.killall(flow.greenlets)


@needs_splice
def test_who_takes_nothing_out_of_a_pipe_is_given_up(splicing, ends):
    client, _user, origin, server = ends
    sending = gevent.spawn(server.sendall, b'x' * 40000000)
    slow = (LIMITS[0], TimeLimit('body', 0.3, errors.DownloadTimeout))
    with pytest.raises(errors.DownloadTimeout) as caught:
        relay.copy_body(framing.UntilClose(), origin, client, slow)
    assert str(caught.value) == 'nothing taken for 0.3 s ([timeouts] body)' and splicing.moved
    sending.kill()


@needs_splice
def test_a_client_that_breaks_while_octets_wait_for_it_in_a_pipe(splicing, flows):
    flow = stuck(Flow(None, None), splicing)
    flows.append(flow)
    flow.user.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    flow.user.close()
    assert isinstance(flow.tunnel.get(timeout=PATIENCE), errors.ClientLost)


@needs_splice
def test_an_origin_that_breaks_while_octets_wait_in_a_pipe(splicing, flows):
    flow = stuck(Flow(None, None), splicing)
    flows.append(flow)
    gevent.killall(flow.greenlets[1:])
    flow.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    flow.server.close()
    flow.greenlets.append(gevent.spawn(flow._receive))
    assert isinstance(flow.tunnel.get(timeout=PATIENCE), errors.UpstreamLost)


@needs_splice
def test_an_upload_is_stopped_while_octets_wait_in_a_pipe(splicing, ends):
    client, user, origin, _server = ends
    upload = relay.BodyUpload(framing.Sized(40000000, errors.ClientLost), client, origin, LIMITS)
    sending = gevent.spawn(user.sendall, b'x' * 40000000)
    while upload.wait(0.1) or not splicing.moved:
        pass
    upload.stop()
    sending.kill()


@needs_splice
def test_who_gets_no_pipe_copies(splicing, flows, monkeypatch):
    monkeypatch.setattr(splice, 'pool', splice.Pool(splicing, most=1))
    flows.append(stuck(Flow(None, None), splicing))
    check_copied(Flow(None, None), splicing, flows)


@needs_splice
def test_without_descriptors_all_is_copied(splicing, flows):
    flow = Flow(None, None)
    with starving():
        check_copied(flow, splicing, flows)


def check_copied(flow, splicing, flows):
    """Have much go through that flow; nothing is spliced."""
    flows.append(flow)
    data, before = noise(MUCH), splicing.moved
    sending = gevent.spawn(flow.server.sendall, data)
    assert same(receive(flow.user, len(data)), data) and splicing.moved == before
    sending.get(timeout=PATIENCE)


@needs_splice
def test_what_is_throttled_is_copied(splicing, ends):
    client, user, origin, server = ends
    splicing.refuse_from, splicing.error = 0, errno.EIO
    client.pace = rates.Pace([(rates.Meter(), 1e12)], None)
    sending = gevent.spawn(server.sendall, b'x' * MUCH)
    copying = gevent.spawn(
        relay.copy_body, framing.Sized(MUCH, errors.ResponseIncomplete), origin, client, LIMITS)
    assert len(receive(user, MUCH)) == MUCH
    copying.get(timeout=PATIENCE)
    sending.get(timeout=PATIENCE)


# --- others have their turn ----------------------------------------------------------------------------------------

SMALL = {'same': b'1\r\nx\r\n' * 2, 'alternating': b'1\r\nx\r\n2\r\nxx\r\n', 'extended': b'1;a\r\nx\r\n2;b=c\r\nxx\r\n'}


@pytest.mark.parametrize('encoded', [False, True])
@pytest.mark.parametrize('kind', sorted(SMALL))
def test_a_body_of_tiny_chunks_that_are_all_there_lets_others_run(ends, kind, encoded):
    client, user, origin, server = ends
    pairs = 30000
    origin.buffer = SMALL[kind] * pairs + b'0\r\n\r\nNEXT'
    seen = []                           # how much was sent at each turn of another greenlet

    def other():
        while True:
            wait_readable((origin,), monotonic() + PATIENCE)
            seen.append(client.sent)
    server.sendall(b'x')                # it is woken at each look at the sockets
    others = gevent.spawn(other)
    reading = gevent.spawn(read_all, user)
    relay.copy_body(chunked(), origin, client, LIMITS, None, encoded)
    others.kill()
    client.end()
    assert origin.buffer == b'NEXT'
    assert len(reading.get(timeout=PATIENCE)) >= len(SMALL[kind].replace(b'\r\n', b'')) // 3 * pairs
    assert len(set(seen)) > 5


class Greedy(Stream):
    """A stream whose peer takes all at once."""
    def send(self, data, limit):
        """As Stream.send."""
        self.sent += len(data)

    def send_now(self, data):
        """As Stream.send_now."""
        self.sent += len(data)
        return len(data)


@pytest.mark.parametrize('way', ['up', 'down'])
def test_a_tunnel_in_which_octets_never_cease_lets_others_run(ends, way):
    octets, seen = 30000000, []
    limit = TimeLimit('tunnel', PATIENCE, errors.TunnelIdle)
    source = ends[0]
    sink = Greedy(ends[2].socket, '127.0.0.1', errors.UpstreamLost)
    source.buffer = bytes(bytearray(octets))
    running = gevent.spawn((relay.Tunnel(source, sink, limit, limit) if way == 'up'
                            else relay.Tunnel(sink, source, limit, limit)).run)
    with stream_pair() as (stream, other):
        other.sendall(b'x')             # it is woken at each look at the sockets
        while sink.sent < octets:
            wait_readable((stream,), monotonic() + PATIENCE)
            seen.append(sink.sent)
    running.kill()
    assert len(set(seen)) > 5


# --- who leaves is noticed while another has to wait ----------------------------------------------------------------

def test_a_client_that_resets_while_the_origin_takes_nothing_from_a_tunnel_is_noticed(ends):
    client, user, origin, _server = ends
    limit = TimeLimit('tunnel', PATIENCE, errors.TunnelIdle)
    running = gevent.spawn(relay.Tunnel(client, origin, limit, limit).run)
    user.settimeout(0.3)
    with pytest.raises(socket.timeout):
        while True:
            user.sendall(b'x' * 1000000)
    user.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    began = monotonic()
    user.close()
    with pytest.raises(errors.ClientLost):
        running.get(timeout=PATIENCE)
    assert monotonic() - began < PATIENCE / 2


def test_the_end_of_one_direction_gives_a_silent_tunnel_new_time(ends):
    client, user, origin, server = ends
    tunnel = relay.Tunnel(client, origin, TimeLimit('tunnel', 3600, errors.TunnelIdle),
                          TimeLimit('linger', PATIENCE, errors.TunnelIdle))
    tunnel._active -= 2 * PATIENCE      # silence for longer than a half-closed tunnel may have it
    running = gevent.spawn(tunnel.run)
    user.shutdown(socket.SHUT_WR)
    assert server.recv(10) == b''
    gevent.sleep(2 * deadlines.SWEEP + 0.1)     # in which the silence of before would be seen
    server.sendall(b'late')
    server.close()
    assert read_all(user) == b'late' and running.get(timeout=PATIENCE) is None


def test_a_wait_that_another_limit_ends_names_that_one(flows):
    flow = Flow(None, None)
    flows.append(flow)
    flow.tunnel.kill()
    for each in (flow.client, flow.origin):
        each.socket.close()
    flow.client, flow.user = joined(errors.ClientLost)
    flow.origin, flow.server = joined(errors.UpstreamLost)
    flow.tunnel = gevent.spawn(relay.Tunnel(
        flow.client, flow.origin, TimeLimit('tunnel', PATIENCE, errors.TunnelIdle),
        TimeLimit('linger', 0.4, errors.TunnelIdle)).run)
    flow.greenlets = [flow.tunnel]
    flow.server.settimeout(0.3)
    with pytest.raises(socket.timeout):
        while True:
            flow.server.sendall(b'x' * 1000000)     # the user takes nothing
    flow.user.shutdown(socket.SHUT_WR)
    with pytest.raises(errors.TunnelIdle) as caught:
        flow.tunnel.get(timeout=PATIENCE)
    assert str(caught.value) == 'nothing taken for 0.4 s ([timeouts] linger)'
