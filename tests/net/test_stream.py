"""A socket with a buffer, a deadline and counters."""
from __future__ import absolute_import, division, print_function

import socket
import struct

import gevent
import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.net.deadlines import TimeLimit, wait_readable
from geproxy.net.stream import SCRATCH_SIZE
from helpers import PATIENCE, stream_pair

HEAD = TimeLimit('head', 0.3, errors.HeadTimeout)
BODY = TimeLimit('body', PATIENCE, errors.BodyTimeout)


@pytest.fixture
def pair():
    with stream_pair() as ends:
        yield ends


def read_head(stream, size=1000, seconds=0.3, check=lambda octets, checked: None):
    return stream.read_head(size, HEAD, monotonic() + seconds, check)


@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000])
def test_a_head_in_pieces_is_read_up_to_its_empty_line(pair, size):
    stream, other = pair
    data = b'GET / HTTP/1.1\r\nA: b\r\n\r\nrest'

    def send():
        for at in range(0, len(data), size):
            other.sendall(data[at:at + size])
            gevent.sleep(0)
    gevent.spawn(send)
    assert read_head(stream, seconds=PATIENCE) == data[:-4]
    while len(stream.buffer) < 4:
        stream.wait(BODY, monotonic() + PATIENCE)
        stream.fill()
    assert stream.buffer == b'rest' and stream.received == len(data)


@pytest.mark.parametrize('end', [b'\r\n\r\n', b'\n\n', b'\n\r\n'])
def test_any_empty_line_ends_a_head_so_that_its_parser_sees_it(pair, end):
    stream, other = pair
    other.sendall(b'A' + end)
    assert read_head(stream) == b'A' + end


def test_a_head_of_just_the_size_passes_and_one_more_does_not(pair):
    stream, other = pair
    other.sendall(b'A' * 96 + b'\r\n\r\n')
    assert len(read_head(stream, 100)) == 100
    other.sendall(b'A' * 97 + b'\r\n\r\n')
    assert read_head(stream, 100) is None


def test_a_late_head_raises_the_error_of_its_limit(pair):
    stream, other = pair
    other.sendall(b'half a he')
    with pytest.raises(errors.HeadTimeout) as caught:
        read_head(stream)
    assert str(caught.value) == 'waited 0.3 s ([timeouts] head)'


def test_the_end_of_a_connection_ends_a_head(pair):
    stream, other = pair
    other.sendall(b'half')
    other.close()
    assert read_head(stream) == b'' and stream.buffer == b'half'


def test_the_check_sees_the_beginning_of_an_incomplete_head(pair):
    stream, other = pair
    other.sendall(b'half')
    with pytest.raises(ZeroDivisionError):
        read_head(stream, check=lambda octets, checked: 1 // (len(octets) - 4))


def test_a_reset_is_the_error_of_that_side(pair):
    stream, other = pair
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    other.close()
    assert wait_readable((stream,), monotonic() + PATIENCE) is stream
    with pytest.raises(errors.ClientLost):
        stream.read(BODY)
    assert stream.ended


def test_reading_is_bounded_and_puts_nothing_aside(pair):
    stream, other = pair
    gevent.spawn(other.sendall, b'x' * (2 * SCRATCH_SIZE))
    total = 0
    while total < 2 * SCRATCH_SIZE:
        data, count = stream.read(BODY)
        assert 0 < count <= SCRATCH_SIZE and stream.buffer == b''
        total += count
    stream.buffer = b'abcdef'
    assert stream.read(BODY, 4) == (b'abcd', 4) and stream.buffer == b'ef'


def test_sending_waits_for_a_slow_reader_and_loses_nothing(pair):
    stream, other = pair
    data = bytes(bytearray(range(256))) * 20000
    sender = gevent.spawn(stream.send, data, BODY)
    got = b''
    while len(got) < len(data):
        got += other.recv(100000)
        gevent.sleep(0)
    sender.get(timeout=PATIENCE)
    assert got == data and stream.sent == len(data)


def test_a_peer_that_takes_nothing_is_given_up(pair):
    stream, _other = pair
    with pytest.raises(errors.DownloadTimeout):
        stream.send(b'x' * 50000000, TimeLimit('body', 0.3, errors.DownloadTimeout))


def test_a_quiet_connection_is_told_from_others(pair):
    stream, other = pair
    assert stream.is_quiet()
    other.sendall(b'x')
    assert wait_readable((stream,), monotonic() + PATIENCE) is stream
    assert not stream.is_quiet()
    stream.read(BODY)
    assert stream.is_quiet()
    other.close()
    assert wait_readable((stream,), monotonic() + PATIENCE) is stream
    assert not stream.is_quiet()


def test_empty_lines_are_skipped_and_half_of_one_is_waited_for(pair):
    stream, _other = pair
    for octets, rest, something in ((b'', b'', False), (b'\r\n\r\n', b'', False), (b'\r\n\r', b'\r', False),
                                    (b'\r\nGET', b'GET', True), (b'\n', b'\n', True)):
        stream.buffer = octets
        assert (stream.skip_empty_lines(), stream.buffer) == (something, rest)


def test_aborting_is_a_reset(pair):
    stream, other = pair
    stream.abort()
    with pytest.raises(socket.error):
        other.recv(1)


def test_octets_after_the_end_do_not_reopen_a_stream(pair):
    stream, other = pair
    stream.ended = True             # as of a load balancer whose PROXY header did not come in time
    other.send(b'GET / HTTP/1.1\r\n')
    wait_readable((stream,), monotonic() + PATIENCE)
    stream.fill()
    assert stream.ended


def test_a_head_that_comes_octet_by_octet_without_a_pause_has_its_time_too(pair):
    stream, other = pair
    sending = [True]

    def trickle():
        while sending:
            other.sendall(b'x')
            gevent.sleep(0)
    trickling = gevent.spawn(trickle)
    with pytest.raises(errors.HeadTimeout):
        stream.read_head(1 << 30, HEAD, monotonic() - 2, lambda octets, checked: None)
    del sending[:]
    trickling.get(timeout=PATIENCE)


def test_sixteen_kilobytes_of_empty_lines_are_skipped_at_once(pair):
    stream, _other = pair
    stream.buffer = b'\r\n' * 8000 + b'GET'
    assert stream.skip_empty_lines() and stream.buffer == b'GET'


def test_a_wait_that_was_shortened_names_the_limit_that_did(pair):
    stream, other = pair
    shorter = TimeLimit('linger', 7, errors.TunnelIdle)
    waiting = gevent.spawn(stream.wait, BODY, monotonic() + 3600)
    gevent.sleep(0)
    stream.shorten_wait(monotonic(), shorter)
    with pytest.raises(errors.TunnelIdle) as caught:
        waiting.get(timeout=PATIENCE)
    assert str(caught.value) == 'waited 7 s ([timeouts] linger)'
    with pytest.raises(BODY.error):     # and the next one its own again
        stream.wait(BODY, monotonic())
