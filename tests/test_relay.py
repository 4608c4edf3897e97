"""The copy loops. What they do in exchanges and tunnels stands in test_forward and test_handler."""
from __future__ import absolute_import, division, print_function

import socket

import gevent
import pytest

from geproxy import errors, framing, relay
from geproxy.compat import monotonic
from geproxy.stream import Limit, Stream
from helpers import PATIENCE, read_all, read_until

LIMITS = (Limit('body', PATIENCE, errors.BodyTimeout), Limit('body', PATIENCE, errors.DownloadTimeout))


class HeadLimits(object):
    """What framing.Chunked asks of [limits]."""
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
    return framing.Chunked(frozenset(), HeadLimits, errors.BadCoding, errors.ResponseIncomplete)


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
    gevent.spawn(relay.copy_body, chunked(), origin, client, LIMITS, None, True)
    server.sendall(b'fffffffff\r\nabc')
    assert read_until(user, b'abc\r\n') == b'3\r\nabc\r\n'


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
    watch = relay.Watch(client, Limit('linger', PATIENCE, errors.ClientLost), 1000)
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
