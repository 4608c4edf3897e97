"""Octets go both ways until both directions have ended."""
from __future__ import absolute_import, division, print_function

import gc
import socket
import struct

import gevent
import pytest
import ways

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange.tunnel import Tunnel
from geproxy.http1.taps import DOWN, UP
from geproxy.limits import rates
from geproxy.net import deadlines, kernel_pipes, workers
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import Stream
from helpers import PATIENCE, read_all, stream_pair
from test_kernel_pipes import needs_splice, starving
from ways import behind, Flow, joined, MUCH, noise, paced, receive, same, stuck

ends = ways.ends
flows = ways.flows
splicing = ways.splicing
way = ways.way


def test_flows_share_a_rate_evenly_and_the_others_are_not_concerned(flows):
    rate, shared, letters = 500000, rates.Consumption(), (b'a', b'b', b'c', b'd', b'e')
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
    flows.append(Flow(**paced(rates.Consumption(), 'joe', rate)).flood(b'x' * 10000))
    (flow,) = flows
    flow.greenlets.append(gevent.spawn(flow.user.sendall, b'y' * 10 * rate))
    up, began = 0, monotonic()
    while monotonic() < began + 0.5:
        up += len(flow.server.recv(65536))
    seconds = monotonic() - began
    for total in (up, len(flow.got)):
        assert 0.5 * rate * seconds < total < rate * (seconds + 0.2)


def test_time_in_which_a_throttle_holds_octets_back_is_no_silence(flows):
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
    tunnel = Tunnel(client, origin, TimeLimit('tunnel', PATIENCE, errors.TunnelIdle),
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
    running = gevent.spawn(Tunnel(client, origin, limit, limit).run)
    assert server.recv(20) == b'to the origin' and user.recv(20) == b'to the client'
    server.close()
    user.close()
    running.get(timeout=PATIENCE)


@needs_splice
def test_a_pipe_does_not_grow_while_its_reader_sleeps(splicing, flows):
    flow = Flow(None, None)
    flows.append(stuck(flow, splicing))
    assert flow.origin.received - flow.client.sent <= kernel_pipes.SIZE
    before = splicing.moved
    flow.greenlets.append(gevent.spawn(flow._receive))
    while splicing.moved < before + MUCH:
        gevent.sleep(0.01)
    gevent.killall(flow.greenlets)


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
def test_without_a_pipe_octets_are_copied(splicing, flows, monkeypatch):
    monkeypatch.setattr(kernel_pipes, 'pool', kernel_pipes.Pool(splicing, most=1))
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
    sink = Greedy(ends[2].transport, '127.0.0.1', errors.UpstreamLost)
    source.buffer = bytes(bytearray(octets))
    tunnel = Tunnel(source, sink, limit, limit) if way == 'up' else Tunnel(sink, source, limit, limit)
    running = gevent.spawn(tunnel.run)
    with stream_pair() as (stream, other):
        other.sendall(b'x')             # it is woken at each look at the sockets
        while sink.sent < octets:
            wait_readable((stream,), monotonic() + PATIENCE)
            seen.append(sink.sent)
    running.kill()
    assert len(set(seen)) > 5


def test_a_client_that_resets_while_the_origin_takes_nothing_from_a_tunnel_is_noticed(ends):
    client, user, origin, _server = ends
    limit = TimeLimit('tunnel', PATIENCE, errors.TunnelIdle)
    running = gevent.spawn(Tunnel(client, origin, limit, limit).run)
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
    tunnel = Tunnel(client, origin, TimeLimit('tunnel', 3600, errors.TunnelIdle),
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
        each.transport.close()
    flow.client, flow.user = joined(errors.ClientLost)
    flow.origin, flow.server = joined(errors.UpstreamLost)
    flow.tunnel = gevent.spawn(Tunnel(
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


# --- tapped ----------------------------------------------------------------------------------------------------------

class Tap(object):
    """Remembers what went through a tunnel, each way."""

    def __init__(self):
        self.seen = {UP: [], DOWN: []}

    def tunnel(self, direction, octets):
        """See taps."""
        self.seen[direction].append(octets.tobytes())


def test_a_tap_sees_each_octet_of_a_tunnel_once_and_in_order(ends, splicing):
    client, user, origin, server = ends
    tap, limit = Tap(), TimeLimit('tunnel', PATIENCE, errors.TunnelIdle)
    client.buffer, origin.buffer = b'ahead', b'greeting'
    running = gevent.spawn(Tunnel(client, origin, limit, limit, tap).run)
    assert receive(server, 5) == b'ahead' and receive(user, 8) == b'greeting'
    up, down = noise(MUCH), noise(MUCH)
    sending = [gevent.spawn(user.sendall, up), gevent.spawn(server.sendall, down)]
    reading = [gevent.spawn(receive, server, len(up)), gevent.spawn(receive, user, len(down))]
    assert same(reading[0].get(timeout=PATIENCE), up) and same(reading[1].get(timeout=PATIENCE), down)
    gevent.joinall(sending)
    user.close()
    server.sendall(b'more')             # one direction has ended, the other goes on
    server.close()
    running.join(timeout=PATIENCE)
    assert same(b''.join(tap.seen[UP]), b'ahead' + up)
    assert same(b''.join(tap.seen[DOWN])[:8 + len(down)], b'greeting' + down)
    assert splicing.moved == 0


@needs_splice
def test_without_a_tap_much_in_a_tunnel_goes_through_pipes(splicing, flows):
    flow = Flow(None, None)
    flows.append(flow)
    sending = gevent.spawn(flow.server.sendall, b'x' * MUCH)
    assert same(receive(flow.user, MUCH), b'x' * MUCH)
    sending.get(timeout=PATIENCE)
    assert splicing.moved > MUCH // 10
