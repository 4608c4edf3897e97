"""A body that is tapped is the same body, and shows its content once and in order."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import chunks, framing
from geproxy.http1.taps import Tapped


class HeadLimits(object):
    """What chunks.Chunked asks of [limits]."""
    head_size, fields = 1000, 10


class Buffered(object):
    """Stands where a stream does, with octets in its buffer."""
    buffer = b'hello, NEXT'


def sized():
    return framing.Sized(6, errors.ResponseIncomplete)


def chunked():
    return chunks.Chunked(frozenset(), HeadLimits, errors.BadCoding, errors.ResponseIncomplete)


def tapped(body):
    """(the body, tapped; a list of what it shows, as octets)"""
    seen = []
    return Tapped(body, lambda content: seen.append(chunks.bytes_of(content))), seen


@pytest.mark.parametrize('make, octets', [
    (sized, b'hello,'),
    (chunked, b'2\r\nhe\r\n4\r\nllo,\r\n0\r\nA: b\r\nC: d\r\n\r\nNEXT'),
    (framing.UntilClose, b'hello,'),
])
@pytest.mark.parametrize('size', [1, 2, 3, 7, 1000])
def test_a_tapped_body_is_the_same_body(make, octets, size):
    plain, (body, seen) = make(), tapped(make())
    content = b''
    for start in range(0, len(octets), size):
        piece = octets[start:start + size]
        while piece and not body.done:
            expected = chunks.bytes_of(plain.feed(piece, len(piece)))
            assert chunks.bytes_of(body.feed(piece, len(piece))) == expected
            content += expected
            assert (body.used, body.left, body.chunk, body.done) == (plain.used, plain.left, plain.chunk, plain.done)
            piece = b'' if body.used is None else piece[body.used:]
    assert b''.join(seen) == content == b'hello,' and b'' not in seen
    assert (body.framing, body.delimited, body.trailers) == (plain.framing, plain.delimited, plain.trailers)
    if make is chunked:
        assert body.trailers == b'A: b\r\nC: d\r\n'


def test_a_small_body_that_goes_along_with_its_head_is_shown():
    body, seen = tapped(sized())
    assert body.take(Buffered) == b'hello,' and body.done
    assert seen == [b'hello,'] and Buffered.buffer == b' NEXT'


def test_a_body_that_breaks_off_says_so_when_it_is_tapped():
    body, seen = tapped(sized())
    body.feed(b'hel', 3)
    with pytest.raises(errors.ResponseIncomplete):
        body.ended()
    assert seen == [b'hel']


def test_nothing_of_a_tapped_body_may_go_by_unseen():
    body, _seen = tapped(sized())
    assert not body.splices and not body.skippable
    assert all(each.splices for each in (sized(), chunked(), framing.UntilClose()))


def test_policy_removes_trailers_of_a_tapped_body_too():
    body, _seen = tapped(chunked())
    body.dropped = body.dropped | frozenset([b'a'])
    octets = b'0\r\nA: b\r\nC: d\r\n\r\n'
    body.feed(octets, len(octets))
    assert body.trailers == b'C: d\r\n'
