"""Bodies are copied: whole, in time, in any coding, and no octet further. For exchanges see test_fetch, test_deliver."""
from __future__ import absolute_import, division, print_function

import errno
import itertools
import socket

import gevent
import pytest
import ways

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.exchange import relay
from geproxy.exchange.tunnel import Tunnel
from geproxy.http1 import chunks, framing
from geproxy.http1.taps import Tapped
from geproxy.limits import rates
from geproxy.net import kernel_pipes
from geproxy.net.deadlines import TimeLimit, wait_readable
from helpers import PATIENCE, read_all, read_until
from test_kernel_pipes import needs_splice
from ways import behind, chunked, LIMITS, MUCH, noise, read_rest, receive, same

ends = ways.ends
splicing = ways.splicing
way = ways.way


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


def test_an_upload_records_how_it_ended_and_ends_the_wait_for_the_origin(ends):
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


def test_an_upload_can_be_stopped_at_any_time(ends):
    client, _user, origin, _server = ends
    upload = relay.BodyUpload(framing.Sized(5, errors.ClientLost), client, origin, LIMITS)
    gevent.sleep(0)
    upload.stop()
    assert not upload.wait(0)


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
def test_a_reader_that_takes_nothing_costs_one_piece_of_memory(ends, way, monkeypatch):
    client, user, origin, server = ends
    monkeypatch.setattr(kernel_pipes, 'pool', kernel_pipes.Pool(None))      # as for all but a few of many
    client.transport.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    user.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    origin.transport.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2000000)
    sending = gevent.spawn(server.sendall, b'x' * MUCH)
    gevent.sleep(0.1)                       # so that much is there when the first piece is read
    if way == 'body':
        copying = gevent.spawn(relay.copy_body, framing.UntilClose(), origin, client, LIMITS)
    else:
        copying = gevent.spawn(Tunnel(client, origin, *LIMITS).run)
    gevent.sleep(0.1)                       # what is waited for is that nothing happens any more
    kept = origin.received - client.sent
    gevent.killall([copying, sending])
    assert 0 < kept <= 64 * 1024


def decode(octets):
    """A whole chunked body -> its content."""
    body = chunked()
    content = chunks.bytes_of(body.feed(bytearray(octets), len(octets)))
    assert body.done and body.used == len(octets)
    return content


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


@needs_splice
def test_a_reader_that_takes_nothing_out_of_a_pipe_is_given_up(splicing, ends):
    client, _user, origin, server = ends
    sending = gevent.spawn(server.sendall, b'x' * 40000000)
    slow = (LIMITS[0], TimeLimit('body', 0.3, errors.DownloadTimeout))
    with pytest.raises(errors.DownloadTimeout) as caught:
        relay.copy_body(framing.UntilClose(), origin, client, slow)
    assert str(caught.value) == 'nothing taken for 0.3 s ([timeouts] body)' and splicing.moved
    sending.kill()


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
def test_throttled_octets_are_copied(splicing, ends):
    client, user, origin, server = ends
    splicing.refuse_from, splicing.error = 0, errno.EIO
    client.pace = rates.Pace([(rates.Meter(), 1e12)], None)
    sending = gevent.spawn(server.sendall, b'x' * MUCH)
    copying = gevent.spawn(
        relay.copy_body, framing.Sized(MUCH, errors.ResponseIncomplete), origin, client, LIMITS)
    assert len(receive(user, MUCH)) == MUCH
    copying.get(timeout=PATIENCE)
    sending.get(timeout=PATIENCE)


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


# --- tapped ----------------------------------------------------------------------------------------------------------

def tapped(body):
    """(the body, tapped; a list of what it shows, as octets)"""
    seen = []
    return Tapped(body, lambda content: seen.append(chunks.bytes_of(content))), seen


@pytest.mark.parametrize('tap', [True, False])
@pytest.mark.parametrize('out', [False, True])
@pytest.mark.parametrize('kind', ['sized', 'chunked', 'until close'])
def test_a_tap_sees_all_of_a_long_body_and_only_without_one_it_is_spliced(splicing, ends, kind, out, tap):
    client, user, origin, server = ends
    content = noise(MUCH)
    body, octets = {
        'sized': lambda: (framing.Sized(len(content), errors.ResponseIncomplete), content + b'NEXT'),
        'chunked': lambda: (chunked(), in_chunks(content, [100000]) + b'0\r\n\r\nNEXT'),
        'until close': lambda: (framing.UntilClose(), content),
    }[kind]()
    seen = None
    if tap:
        body, seen = tapped(body)
    copying = gevent.spawn(relay.copy_body, body, origin, client, LIMITS, lambda: b'START', out)
    sending = gevent.spawn(server.sendall, octets)
    sending.link(lambda _sent: server.shutdown(socket.SHUT_WR))
    copying.link(lambda _copied: client.end())
    got = read_all(user)
    copying.get(timeout=PATIENCE)
    assert got[:5] == b'START' and same(decode(got[5:]) if out else got[5:], content)
    if tap:
        assert same(b''.join(seen), content)
    assert (splicing.moved == 0) == tap or not kernel_pipes.find()


def test_a_tap_sees_an_upload(ends):
    client, user, origin, server = ends
    body, seen = tapped(framing.Sized(5, errors.ClientLost))
    upload = relay.BodyUpload(body, client, origin, LIMITS)
    user.sendall(b'he')
    assert server.recv(10) == b'he'
    user.sendall(b'lloNEXT')
    assert upload.wait(PATIENCE) and server.recv(10) == b'llo'
    assert seen == [b'he', b'llo']
