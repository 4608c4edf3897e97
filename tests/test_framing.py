"""Where a message body ends: every case whole and in pieces of any size, out of octets and out of a scratch buffer."""
from __future__ import absolute_import, division, print_function

import collections

import pytest

from geproxy import errors, framing, message

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
    return framing.Chunked(frozenset(options), LIMITS, Bad, Incomplete)


def feed(body, octets, size):
    """Feed it in pieces -> (content, what was not used). As a stream does: out of a buffer that is used again."""
    content, scratch = b'', bytearray(1 << 17)
    for at in range(0, len(octets), size):
        if body.done:
            return content, octets[at:]
        piece = octets[at:at + size]
        scratch[:len(piece)] = piece
        content += framing.bytes_of(body.feed(scratch, len(piece)))
        if body.used is not None and body.used < len(piece):
            assert body.done
            return content, octets[at + body.used:]
    return content, b''


# --- chunked

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
    (b'1\r\nx\r\n', 6 * framing.LINES), (b'1\r\nx\r\n2\r\nxx\r\n', 7 * framing.LINES),
    (b'1;a\r\nx\r\n', 8 * framing.LINES), (b'1;' + b'a' * 900 + b'\r\nx\r\n' + b'2\r\nxx\r\n', 20 * framing.LINES)])
def test_many_small_chunks_are_not_read_at_once(chunk, most):
    body, count, rest = chunked(), 0, chunk * (500000 // len(chunk)) + b'0\r\n\r\n'
    content = []
    while not body.done:
        content.append(framing.bytes_of(body.feed(rest, len(rest))))
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
    assert body.repeats(b'\r\n3\r\n') and body.unseen == 3
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
    assert framing.encode_chunk(content) == octets


@pytest.mark.parametrize('trailers, octets', [(b'', b'0\r\n\r\n'), (b'X: y\r\n', b'0\r\nX: y\r\n\r\n')])
def test_the_last_chunk_carries_the_trailers(trailers, octets):
    assert framing.last_chunk(trailers) == octets


# --- sized, and until close

@pytest.mark.parametrize('size', SIZES[:-1])
@pytest.mark.parametrize('length', [1, 5, 7, 8])
def test_a_sized_body_ends_with_its_last_octet(length, size):
    body, octets = framing.Sized(length, Incomplete), b'hello, world'[:length]
    content = b''
    for at in range(0, length, size):
        assert not body.done and body.left == length - at
        with pytest.raises(Incomplete) as raised:
            body.ended()
        assert 'ended %d octets before' % (length - at) in str(raised.value)
        content += framing.bytes_of(body.feed(octets[at:], min(size, body.left)))
    assert body.done and content == octets and body.delimited


def test_an_empty_body_is_done_at_once():
    body = framing.Sized(0, Incomplete)
    assert body.done and body.framing == b'Content-Length: 0\r\n'


@pytest.mark.parametrize('size', SIZES)
def test_a_body_without_framing_ends_with_its_connection_only(size):
    body = framing.UntilClose()
    assert feed(body, b'HTTP/1.1 200 OK\r\n\r\n', size) == (b'HTTP/1.1 200 OK\r\n\r\n', b'')
    assert not body.done and not body.delimited
    body.ended()
    assert body.done


# --- which it is

def head(kind, start, lines):
    """A head with these field lines, parsed."""
    parse = {'request': message.parse_request, 'response': message.parse_response}[kind]
    return parse(start + b'\r\n' + b''.join(line + b'\r\n' for line in lines) + b'\r\n')


def request_body(method, version, *lines):
    """The body of such a request."""
    target = b'a:443' if method == b'CONNECT' else b'/'
    start = b'%s %s HTTP/%s' % (method, target, version)
    return framing.request_body(head('request', start, (b'Host: a',) + lines), LIMITS)


def response_body(method, status, version, *lines):
    """The body of such a response to `method`."""
    return framing.response_body(head('response', b'HTTP/%s %d x' % (version, status), lines), method, LIMITS)


CL, TE = b'Content-Length: 5', b'Transfer-Encoding: chunked'
FIVE, CHUNKS, CLOSE = b'Content-Length: 5\r\n', b'Transfer-Encoding: chunked\r\n', b''


@pytest.mark.parametrize('method, version, lines, line', [
    (b'GET', b'1.1', (), None),
    (b'POST', b'1.1', (), None),
    (b'POST', b'1.0', (), None),
    (b'POST', b'1.1', (CL,), FIVE),
    (b'POST', b'1.0', (CL,), FIVE),
    (b'GET', b'1.1', (CL,), FIVE),
    (b'HEAD', b'1.1', (CL,), FIVE),
    (b'POST', b'1.1', (b'content-length:\t005 ',), FIVE),
    (b'POST', b'1.1', (b'Content-Length: 0',), b'Content-Length: 0\r\n'),
    (b'POST', b'1.1', (CL, b'Connection: content-length'), FIVE),
    (b'POST', b'1.1', (TE,), CHUNKS),
    (b'POST', b'1.1', (b'transfer-encoding:\tCHUNKED ',), CHUNKS),
    (b'POST', b'1.2', (TE,), CHUNKS),
    (b'CONNECT', b'1.1', (), None),
    (b'CONNECT', b'1.1', (b'Content-Length: 0',), b'Content-Length: 0\r\n'),
    (b'TRACE', b'1.1', (b'Content-Length: 0',), b'Content-Length: 0\r\n'),
])
def test_a_request_has_the_body_that_it_frames(method, version, lines, line):
    body = request_body(method, version, *lines)
    assert (body and body.framing) == line


@pytest.mark.parametrize('method, version, lines, error', [
    (b'POST', b'1.1', (CL, TE), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length: 0', TE), errors.BadRequest),
    (b'POST', b'1.1', (CL, CL), errors.BadRequest),
    (b'POST', b'1.1', (CL, b'Content-Length: 6'), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length: 5, 5',), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length:',), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length: +5',), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length: 1_0',), errors.BadRequest),
    (b'POST', b'1.1', (b'Content-Length: ' + b'1' * 19,), errors.BadRequest),
    (b'POST', b'1.0', (TE,), errors.BadRequest),
    (b'POST', b'1.1', (TE, TE), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding:',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: identity',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: gzip',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: chunked, gzip',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: chunked, chunked',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: identity, chunked',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: , chunked',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: chunked;q=1',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: xchunked',), errors.BadRequest),
    (b'POST', b'1.1', (b'Transfer-Encoding: gzip, chunked',), errors.NotImplementedHere),
    (b'POST', b'1.1', (b'Transfer-Encoding: gzip, br,Chunked',), errors.NotImplementedHere),
    (b'CONNECT', b'1.1', (CL,), errors.BadRequest),
    (b'CONNECT', b'1.1', (TE,), errors.BadRequest),
    (b'TRACE', b'1.1', (CL,), errors.BadRequest),
    (b'TRACE', b'1.1', (TE,), errors.BadRequest),
])
def test_a_request_with_doubtful_framing_is_refused(method, version, lines, error):
    with pytest.raises(errors.ProxyError) as raised:
        request_body(method, version, *lines)
    assert type(raised.value) is error


@pytest.mark.parametrize('method, status, version, lines, line', [
    (b'GET', 200, b'1.1', (), CLOSE),
    (b'GET', 200, b'1.0', (), CLOSE),
    (b'GET', 200, b'1.1', (CL,), FIVE),
    (b'GET', 200, b'1.0', (CL,), FIVE),
    (b'GET', 200, b'1.1', (TE,), CHUNKS),
    (b'GET', 404, b'1.1', (TE,), CHUNKS),
    (b'GET', 200, b'1.1', (TE, b'Connection: close, transfer-encoding'), CHUNKS),
    (b'POST', 205, b'1.1', (CL,), FIVE),
    (b'HEAD', 200, b'1.1', (), None),
    (b'HEAD', 200, b'1.1', (CL,), None),
    (b'HEAD', 200, b'1.1', (TE,), None),
    (b'GET', 204, b'1.1', (), None),
    (b'GET', 204, b'1.1', (CL,), None),
    (b'GET', 304, b'1.1', (CL,), None),
    (b'GET', 304, b'1.1', (TE,), None),
    (b'head', 200, b'1.1', (CL,), FIVE),
])
def test_a_response_has_the_body_that_status_and_method_leave_it(method, status, version, lines, line):
    body = response_body(method, status, version, *lines)
    assert (body and body.framing) == line


@pytest.mark.parametrize('version, lines', [
    (b'1.1', (CL, TE)), (b'1.1', (CL, CL)), (b'1.1', (b'Content-Length: 5, 5',)), (b'1.1', (b'Content-Length: -1',)),
    (b'1.0', (TE,)), (b'1.1', (TE, TE)), (b'1.1', (b'Transfer-Encoding: gzip, chunked',)),
    (b'1.1', (b'Transfer-Encoding: gzip',)), (b'1.1', (b'Transfer-Encoding: identity',)),
])
def test_a_response_with_doubtful_framing_is_refused_even_without_a_body(version, lines):
    for method, status in ((b'GET', 200), (b'GET', 204), (b'GET', 304), (b'HEAD', 200)):
        with pytest.raises(errors.BadResponse):
            response_body(method, status, version, *lines)


@pytest.mark.parametrize('body, bad, incomplete', [
    (request_body(b'POST', b'1.1', TE), errors.BadRequest, errors.ClientLost),
    (response_body(b'GET', 200, b'1.1', TE), errors.BadCoding, errors.ResponseIncomplete),
])
def test_a_broken_chunked_body_is_the_fault_of_its_sender(body, bad, incomplete):
    with pytest.raises(incomplete):
        body.ended()
    with pytest.raises(bad):
        body.feed(b'g\r\n', 3)


@pytest.mark.parametrize('body, incomplete', [
    (request_body(b'POST', b'1.1', CL), errors.ClientLost),
    (response_body(b'GET', 200, b'1.1', CL), errors.ResponseIncomplete),
])
def test_a_short_body_is_the_fault_of_its_sender(body, incomplete):
    with pytest.raises(incomplete):
        body.ended()


def test_trailers_that_connection_names_do_not_go_on():
    body = response_body(b'GET', 200, b'1.1', TE, b'Connection: X-Sum')
    octets = b'0\r\nX-Sum: 1\r\nY: 2\r\n\r\n'
    body.feed(octets, len(octets))
    assert body.trailers == b'Y: 2\r\n'


@pytest.mark.parametrize('status, lines, version, line', [
    (200, (), (1, 1), b''),
    (200, (CL,), (1, 1), FIVE),
    (200, (CL,), (1, 0), FIVE),
    (200, (TE,), (1, 1), CHUNKS),
    (200, (TE,), (1, 0), b''),
    (304, (CL,), (1, 1), FIVE),
    (304, (TE,), (1, 1), CHUNKS),
    (204, (CL,), (1, 1), b''),
    (204, (TE,), (1, 1), b''),
])
def test_a_response_without_a_body_still_says_what_it_would_have_been(status, lines, version, line):
    assert framing.bodiless_framing(head('response', b'HTTP/1.1 %d x' % status, lines), version) == line


@pytest.mark.parametrize('status, lines, clean', [
    (200, (CL,), True), (304, (CL,), True), (304, (TE,), True), (204, (), True), (204, (b'Content-Length: 0',), True),
    (204, (CL,), False), (204, (TE,), False),
])
def test_a_204_that_claims_a_body_spoils_its_connection(status, lines, clean):
    assert bool(framing.is_clean(head('response', b'HTTP/1.1 %d x' % status, lines))) is clean
