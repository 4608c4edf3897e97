"""Where a message body ends: every case whole and in pieces of any size, out of octets and out of a scratch buffer."""
from __future__ import absolute_import, division, print_function

import collections

import pytest

from geproxy import errors
from geproxy.http1 import chunks, framing, reading
from test_chunks import feed

SIZES = (1, 2, 3, 7, 1 << 20)           # octets of the pieces; the last is all at once
LIMITS = collections.namedtuple('Limits', 'head_size fields')(4096, 5)


class Incomplete(errors.ProxyError):
    """What a body raises in these tests for an end that comes too early."""


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
        content += chunks.bytes_of(body.feed(octets[at:], min(size, body.left)))
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
    parse = {'request': reading.parse_request, 'response': reading.parse_response}[kind]
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


WRONG = [(CL, b'Content-Length: 6'), (b'Content-Length: 5, 6',), (b'Content-Length: -1',), (b'Content-Length: +5',),
         (b'Content-Length:',), (b'Content-Length: ,',), (b'Content-Length: 5 6',), (b'Content-Length: ' + b'1' * 19,),
         (TE, TE), (b'Transfer-Encoding: gzip, chunked',), (b'Transfer-Encoding: gzip',), (b'Transfer-Encoding:',),
         (b'Transfer-Encoding: identity, chunked',), (b'Transfer-Encoding: chunked, identity',),
         (b'Transfer-Encoding: identity, identity',), (b'Transfer-Encoding: chunked;a=b', CL)]


@pytest.mark.parametrize('lines', WRONG)
def test_a_response_with_doubtful_framing_is_refused_unless_it_has_no_body(lines):
    for version in (b'1.0', b'1.1'):
        with pytest.raises(errors.BadResponse):
            response_body(b'GET', 200, version, *lines)
        for method, status in ((b'GET', 204), (b'GET', 304), (b'HEAD', 200)):
            assert response_body(method, status, version, *lines) is None
            found = head('response', b'HTTP/%s %d x' % (version, status), lines)
            assert framing.bodiless_framing(found, (1, 1)) == b''
            assert not framing.is_clean(found)


@pytest.mark.parametrize('version, lines, line', [
    (b'1.1', (CL, TE), CHUNKS), (b'1.1', (TE, CL), CHUNKS), (b'1.1', (TE, b'Content-Length: -1'), CHUNKS),
    (b'1.1', (TE, CL, b'Content-Length: 6'), CHUNKS), (b'1.0', (TE,), CHUNKS),
    (b'1.0', (TE, b'Connection: keep-alive'), CHUNKS),
    (b'1.1', (CL, CL), FIVE), (b'1.1', (b'Content-Length: 5, 5',), FIVE), (b'1.1', (b'Content-Length: 5,,05',), FIVE),
    (b'1.1', (CL, b'Content-Length: 005'), FIVE), (b'1.1', (b'Content-Length: ' + b'0' * 30 + b'5',), FIVE),
    (b'1.1', (b'Content-Length: 0, 00',), b'Content-Length: 0\r\n'),
    (b'1.1', (b'Transfer-Encoding: identity',), CLOSE), (b'1.1', (b'Transfer-Encoding: Identity', CL), FIVE),
])
def test_odd_framing_of_a_response_with_one_meaning_is_understood_and_spoils_its_connection(version, lines, line):
    body = response_body(b'GET', 200, version, *lines)
    assert body.framing == line and not body.delimited
    assert not framing.is_clean(head('response', b'HTTP/%s 200 x' % version, lines))


def test_sound_framing_of_a_response_leaves_its_connection_alone():
    for lines in ((CL,), (TE,), (b'Transfer-Encoding: Chunked',), (b'Content-Length: 0005',)):
        assert response_body(b'GET', 200, b'1.1', *lines).delimited


@pytest.mark.parametrize('octets, delimited', [
    (b'5\r\nhello\r\n0\r\n\r\n', True), (b'5;a=' + b'x' * 3000 + b'\r\nhello\r\n0\r\n\r\n', True),
    (b'5\r\nhello\r\n0\r\nA: b\r\n\r\n', True),
    (b'5\r\nhello\r\n0\r\n\n', False), (b'5\r\nhello\r\n0\r\nA: b\n\r\n', False),
    (b'5\r\nhello\r\n0\r\nA : b\r\n\r\n', False), (b'5\r\nhello\r\n0\r\nA:\r\n b\r\n\r\n', False),
    (b'5\r\nhello\r\n0\r\nA B: c\r\nA: b\r\n\r\n', False),       # a name that is no token: left out
])
def test_odd_trailers_of_a_response_spoil_its_connection(octets, delimited):
    body = response_body(b'GET', 200, b'1.1', TE)
    assert chunks.bytes_of(body.feed(octets, len(octets))) == b'hello' and body.done
    assert body.trailers in (b'', b'A: b\r\n')
    assert body.delimited is delimited


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
def test_a_response_without_a_body_still_has_the_framing_of_the_body(status, lines, version, line):
    assert framing.bodiless_framing(head('response', b'HTTP/1.1 %d x' % status, lines), version) == line


@pytest.mark.parametrize('status, lines, clean', [
    (200, (CL,), True), (304, (CL,), True), (304, (TE,), True), (204, (), True), (204, (b'Content-Length: 0',), True),
    (204, (CL,), False), (204, (TE,), False),
])
def test_a_204_that_claims_a_body_spoils_its_connection(status, lines, clean):
    assert bool(framing.is_clean(head('response', b'HTTP/1.1 %d x' % status, lines))) is clean
