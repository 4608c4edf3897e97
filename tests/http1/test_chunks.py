"""Chunked coding, whole and cut at every octet: what passes, what is refused, and how it is written."""
from __future__ import absolute_import, division, print_function

import collections

import pytest

from geproxy import errors
from geproxy.http1 import chunks

SIZES = (1, 2, 3, 7, 1 << 20)           # octets of the pieces; the last is all at once
LIMITS = collections.namedtuple('Limits', 'head_size fields')(4096, 5)


class Bad(errors.ProxyError):
    """What a Chunked raises in these tests for what is wrong."""


class Incomplete(errors.ProxyError):
    """What a body raises in these tests for an end that comes too early."""


def short(value):
    """The name of a case."""
    return repr(value)[:40]


def chunked(options=()):
    """A body in chunked coding."""
    return chunks.Chunked(frozenset(options), LIMITS, Bad, Incomplete)


def feed(body, octets, size):
    """Feed it in pieces -> (content, what was not used). As a stream does: out of a buffer that is used again."""
    content, scratch = b'', bytearray(1 << 17)
    for at in range(0, len(octets), size):
        if body.done:
            return content, octets[at:]
        piece = octets[at:at + size]
        scratch[:len(piece)] = piece
        content += chunks.bytes_of(body.feed(scratch, len(piece)))
        if body.used is not None and body.used < len(piece):
            assert body.done
            return content, octets[at + body.used:]
    return content, b''


GOOD = [
    # (octets, content, trailers)
    (b'0\r\n\r\n', b'', b''),
    (b'000\r\n\r\n', b'', b''),
    (b'5\r\nhello\r\n0\r\n\r\n', b'hello', b''),
    (b'5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n', b'hello world', b''),
    (b'000000000000005\r\nhello\r\n0\r\n\r\n', b'hello', b''),
    (b'A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n', b'01234567890123456789', b''),
    (b'4\r\n\r\n\r\n\r\n0\r\n\r\n', b'\r\n\r\n', b''),
    (b'5\r\n0\r\n\r\n\r\n0\r\n\r\n', b'0\r\n\r\n', b''),
    (b'2\r\n\x00\xff\r\n0\r\n\r\n', b'\x00\xff', b''),
    (b'5\r\nhello\r\n5\r\nworld\r\n05\r\nagain\r\n5;5\r\nand\r\n\r\n5\r\n\r\n5\r\n\r\n0\r\n\r\n', b'helloworldagainand\r\n\r\n5\r\n', b''),
    (b'a05\r\n%s\r\n' % (b'x' * 2565) * 9 + b'0\r\n\r\n', b'x' * 2565 * 9, b''),
    (b'5;a=b;c="d;\\"\xff"\r\nhello\r\n0 ; e\r\n\r\n', b'hello', b''),
    (b'5;' + b'a' * 1020 + b'\r\nhello\r\n0\r\n\r\n', b'hello', b''),
    (b'0\r\nX-Sum: 1\r\n\r\n', b'', b'X-Sum: 1\r\n'),
    (b'1\r\na\r\n0\r\nX-Sum:1\r\nContent-Length: 5\r\nx:\r\n\r\n', b'a', b'X-Sum: 1\r\nx: \r\n'),
    (b'0\r\nX: ' + b'y' * 3000 + b'\r\n\r\n', b'', b'X: ' + b'y' * 3000 + b'\r\n'),
    (b'0\r\n' + b'a: b\r\n' * 5 + b'\r\n', b'', b'a: b\r\n' * 5),
    (b'0\r\nNamed: 1\r\nX: 2\r\n\r\n', b'', b'X: 2\r\n'),
]


@pytest.mark.parametrize('octets, content, trailers', GOOD, ids=short)
def test_a_chunked_body_ends_behind_its_trailer_section(octets, content, trailers):
    for size in SIZES:
        body = chunked([b'named'])
        assert feed(body, octets + b'GET /', size) == (content, b'GET /')
        assert body.done and body.trailers == trailers


@pytest.mark.parametrize('octets', [
    b'\r\n', b'\n', b'g\r\n', b'5\n', b'5\rhello\r\n', b'5\r\r\nhello', b' 5\r\nhello\r\n', b'5 \r\nhello\r\n',
    b'0x5\r\n', b'-1\r\n', b'+1\r\n', b'1_0\r\n', b'f' * 16 + b'\r\n', b'5;\r\n', b'5;a="b\r\n', b'5;a\x00\r\n',
    b'5;a\nb\r\n', b'5;' + b'a' * 1021 + b'\r\n', b'5;' + b'a' * 2000, b'0' * 2000,
    b'hello, this is no chunk at all\r\n',
    b'5\r\nhello!\r\n', b'5\r\nhello\n', b'5\r\nhello\r0\r\n\r\n', b'5\r\nhello0\r\n\r\n', b'5\r\nhell\r\n0\r\n\r\n',
    b'5\r\nhello\r\n\r\n', b'5\r\nhello' + b'!' * 2000, b'0\n', b'0\r\n\n', b'0\r\nX: y\n\r\n', b'0\r\nX\r\n\r\n',
    b'0\r\n X: y\r\n\r\n', b'0\r\nX: y\r\n z\r\n\r\n', b'0\r\nX : y\r\n\r\n', b'0\r\n: y\r\n\r\n',
    b'0\r\nX: \x00\r\n\r\n', b'0\r\nX: a\rb\r\n\r\n', b'0\r\n\r\r\n\r\n', b'0\r\nGET / HTTP/1.1\r\n\r\n',
], ids=short)
def test_a_doubtful_chunk_is_refused(octets):
    for size in SIZES:
        with pytest.raises(Bad):
            feed(chunked(), octets, size)


@pytest.mark.parametrize('octets', [
    b'0\r\n' + b'a: b\r\n' * 6 + b'\r\n',
    b'0\r\nX: ' + b'y' * 4100 + b'\r\n\r\n',
    b'0\r\nX: ' + b'y' * 5000,
    b'0\r\n' + (b'X: ' + b'y' * 1500 + b'\r\n') * 3 + b'\r\n',
], ids=short)
def test_a_trailer_section_has_the_limits_of_a_head(octets):
    for size in SIZES:
        with pytest.raises(Bad):
            feed(chunked(), octets, size)


@pytest.mark.parametrize('octets', [octets for octets, _content, _trailers in GOOD if len(octets) < 100], ids=short)
def test_a_chunked_body_that_lacks_any_octet_is_not_done(octets):
    for end in range(len(octets)):
        body = chunked()
        feed(body, octets[:end], SIZES[-1])
        assert not body.done
        with pytest.raises(Incomplete):
            body.ended()


def test_a_chunk_of_any_size_is_passed_on_before_its_end():
    body = chunked()
    data = b'fffffffff\r\n' + b'x' * 100
    assert body.feed(data, len(data)) == b'x' * 100
    assert body.feed(b'y' * 50, 40) == b'y' * 40 and body.used == 40


@pytest.mark.parametrize('chunk, most', [
    (b'1\r\nx\r\n', 6 * chunks.LINES), (b'1\r\nx\r\n2\r\nxx\r\n', 7 * chunks.LINES),
    (b'1;a\r\nx\r\n', 8 * chunks.LINES), (b'1;' + b'a' * 900 + b'\r\nx\r\n' + b'2\r\nxx\r\n', 20 * chunks.LINES)])
def test_many_small_chunks_are_not_read_at_once(chunk, most):
    body, count, rest = chunked(), 0, chunk * (500000 // len(chunk)) + b'0\r\n\r\n'
    content = []
    while not body.done:
        content.append(chunks.bytes_of(body.feed(rest, len(rest))))
        assert 0 < body.used <= most
        rest = rest[body.used:]
        count += 1
    assert rest == b'' and len(b''.join(content)) == chunk.count(b'x') * (500000 // len(chunk)) and count > 10


@pytest.mark.parametrize('line', [b'\r\nG\r\n', b'\r\n\r\n', b'\n1\r\n', b'\r\r1\r\n', b'x\n1\r\n', b'\r\n1\n',
                                  b'\r\n1\r\r\n'])
def test_between_small_chunks_nothing_else_passes(line):
    data = b'2\r\nab\r\n1\r\nx' + line + b'yyyyyyyy'
    with pytest.raises(Bad):
        chunked().feed(data, len(data))


def test_the_line_to_another_chunk_of_the_same_size_is_known_at_once():
    body = chunked()
    assert not body.repeats(b'') and not body.repeats(b'\r\n3\r\n')
    body.feed(b'3\r\nab', 5)
    assert not body.repeats(b'\r\n3\r\n')            # within a chunk it is content
    body.feed(b'c', 1)
    for other in (b'\r\n4\r\n', b'\r\n3\r', b'\r\n3\r\nx', b'\n3\r\n', b'\r\n03\r\n', b''):
        assert not body.repeats(other)
    assert body.repeats(b'\r\n3\r\n') and body.skippable == 3
    body.skip(3)
    body.feed(b'\r', 1)
    assert not body.repeats(b'\r\n3\r\n')            # half of it is there already
    body.feed(b'\n', 1)
    assert not body.repeats(b'\r\n3\r\n')
    assert body.feed(b'0\r\n\r\n', 5) == b'' and body.done and not body.repeats(b'\r\n3\r\n')


@pytest.mark.parametrize('content, octets', [
    (b'a', b'1\r\na\r\n'),
    (b'\r\n' * 8, b'10\r\n' + b'\r\n' * 9),
    (memoryview(bytearray(b'hello'))[1:3], b'2\r\nel\r\n'),
    (memoryview(b'x' * 256 * 1024), b'40000\r\n' + b'x' * 256 * 1024 + b'\r\n'),
], ids=short)
def test_content_is_written_as_one_chunk(content, octets):
    assert chunks.encode_chunk(content) == octets


@pytest.mark.parametrize('trailers, octets', [(b'', b'0\r\n\r\n'), (b'X: y\r\n', b'0\r\nX: y\r\n\r\n')])
def test_the_last_chunk_carries_the_trailers(trailers, octets):
    assert chunks.last_chunk(trailers) == octets
