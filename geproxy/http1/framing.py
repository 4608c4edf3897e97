"""Finds where a message body ends (RFC 9112, 6). No I/O.

In requests, all doubtful framing is refused. In responses, framing that curl, browsers and squid understand alike is
accepted, but that connection is not used again.

A body is an object that is fed with the octets that arrive (`feed`) and returns the content among them. The chunked
coding is in `chunks`. All bodies have these attributes: `done`; `left`, the octets that are still to come, None if
unknown; `chunk`, the octets of the current chunk, None without chunks; `used`, how many octets of the last feed belong
to the body, None if all; `framing`, the field line that says how it is framed; `delimited`, True if its end does not
need a closed connection; `trailers`, the trailer section; `splices`, True if octets may go through a pipe in the
kernel; `skippable`, how many octets of content may be passed on without `feed` (then call `skip`).
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.http1 import grammar
from geproxy.http1.chunks import CHUNKED_LINE, Chunked, ChunkedResponse


class Sized(object):
    """A body whose length Content-Length says."""
    __slots__ = ('left', 'framing', 'incomplete')
    chunk = None
    used = None             # the reader reads no more than `left`, so all that is fed belongs to the body
    delimited = splices = True
    trailers = b''

    def __init__(self, length, incomplete, line=None):
        """Make a body of `length` octets.

        `incomplete`: the class to raise if the connection ends too early; `line`: its Content-Length line as octets, if
        the caller has it, else None.
        """
        self.left = length
        self.framing = line or b'Content-Length: %d\r\n' % length
        self.incomplete = incomplete

    @property
    def done(self):
        """True when all of the body has been fed."""
        return not self.left

    def feed(self, data, end):
        """Feed octets that have arrived. Return a view of the content among them.

        `data`: a buffer; `end`: how many of its octets are meant, `left` at most.
        """
        self.left -= end
        return memoryview(data)[:end]

    @property
    def skippable(self):
        """How many octets may be passed on without `feed`."""
        return self.left

    def skip(self, count):
        """Note that `count` octets were passed on without `feed`."""
        self.left -= count

    def take(self, stream):
        """Take the rest of the body out of the buffer of `stream`, a Stream that has all of it. Return the octets."""
        octets, stream.buffer = stream.buffer[:self.left], stream.buffer[self.left:]
        self.left = 0
        return octets

    def ended(self):
        """Raise the error for a connection that ended before the body did."""
        raise self.incomplete('the connection ended %d octets before the body did' % self.left)


class DoubtfulSized(Sized):
    """A Sized body of a response with odd or repeated framing: the connection is not used again."""
    __slots__ = ()
    delimited = False


class UntilClose(object):
    """A response body that ends with its connection."""
    __slots__ = ('done',)
    left = used = chunk = None
    framing = b''
    delimited = False
    trailers = b''
    splices = True
    skippable = 1 << 30        # more than is ever read at once

    def __init__(self):
        self.done = False

    def feed(self, data, end):
        """Return a view of the content among octets that have arrived. `data`, `end`: as for Sized.feed."""
        return memoryview(data)[:end]

    def skip(self, count):
        """Do nothing: a body without a length does not count. `count`: octets that were passed on without `feed`."""

    def ended(self):
        """Note that the connection has ended, and so the body is complete."""
        self.done = True


def _length(request):
    """Return the Content-Length of a request, or None without one (RFC 9110, 8.6; RFC 9112, 6.3). Raises BadRequest."""
    values = request.index.get(b'content-length')
    if values is None:
        return None
    if len(values) > 1:
        raise errors.BadRequest('there are %d Content-Length fields' % len(values))
    if not grammar.is_length(values[0]):
        raise errors.BadRequest('Content-Length is not a number of up to 18 digits')
    return int(values[0])


def _is_chunked(request):
    """Return True if the Transfer-Encoding of a request is chunked, False without one (RFC 9112, 6.1).

    Raises BadRequest or NotImplementedHere for everything else.
    """
    values = request.index.get(b'transfer-encoding')
    if values is None:
        return False
    if request.version < (1, 1):
        raise errors.BadRequest('Transfer-Encoding in HTTP/1.0')
    if request.values(b'content-length'):
        raise errors.BadRequest('both Transfer-Encoding and Content-Length')
    if len(values) > 1:
        raise errors.BadRequest('there are %d Transfer-Encoding fields' % len(values))
    codings = [coding.strip(b' \t').lower() for coding in values[0].split(b',')]
    if codings == [b'chunked']:
        return True
    if codings[-1] == b'chunked' and all(
            grammar.is_token(coding) and coding not in (b'chunked', b'identity') for coding in codings[:-1]):
        raise errors.NotImplementedHere(
            "unknown transfer coding '%s': this proxy knows only chunked" % grammar.printable(values[0], 40))
    raise errors.BadRequest(
        "invalid Transfer-Encoding '%s': it must end with chunked, once" % grammar.printable(values[0], 40))


def request_body(request, limits):
    """Return the body of a request, or None if it has none (RFC 9112, 6.3).

    `request`: a message.Request; `limits`: [limits], for trailers: see chunks.Chunked. Raises BadRequest or
    NotImplementedHere.
    """
    if b'content-length' not in request.index and b'transfer-encoding' not in request.index:
        return None
    if request.framed is None:
        chunked, length = _is_chunked(request), _length(request)
        request.framed = chunked, length, b'' if length is None else b'Content-Length: %d\r\n' % length
    chunked, length, line = request.framed
    if request.method in (b'CONNECT', b'TRACE') and (chunked or length):
        raise errors.BadRequest('%s has no body (RFC 9110, 9.3.6 and 9.3.8)' % grammar.printable(request.method))
    if chunked:
        return Chunked(request.options(), limits, errors.BadRequest, errors.ClientLost)
    return None if length is None else Sized(length, errors.ClientLost, line)


def _framed(response):
    """Return how a response frames its body. The result is kept in the response.

    It is (True if chunked, Content-Length or None, its field line or b'', True if the body is framed once and
    correctly, the mistake in native text or '').
    """
    if response.framed is None:
        index = response.index
        values = index.get(b'content-length')
        if b'transfer-encoding' in index or values is not None and (
                len(values) > 1 or not grammar.is_length(values[0])):
            response.framed = _odd_framing(response, values)
        elif values is None:
            response.framed = False, None, b'', True, ''
        else:
            response.framed = False, int(values[0]), b'Content-Length: %d\r\n' % int(values[0]), True, ''
    return response.framed


def _odd_framing(response, lengths):
    """Return what `_framed` does, for a response with other fields than one valid Content-Length.

    `lengths`: the values of Content-Length, or None.
    """
    codings = b','.join(response.values(b'transfer-encoding')).lower()
    if codings == b'chunked':       # it counts even if there is a Content-Length (RFC 9112, 6.3)
        return True, None, b'', response.version >= (1, 1) and lengths is None, ''
    if response.values(b'transfer-encoding') and codings != b'identity':
        return False, None, b'', False, "unknown Transfer-Encoding '%s': this proxy knows only chunked" % (
            grammar.printable(codings, 40))
    if lengths is None:
        return False, None, b'', False, ''
    # The same value several times is that value (RFC 9110, 8.6).
    values = set(value.lstrip(b'0') or b'0' for value in grammar.split_list(lengths))
    if len(values) != 1 or not all(lengths):
        return False, None, b'', False, 'Content-Length has %s' % ('several values' if values else 'no value')
    value = values.pop()
    if not grammar.is_length(value):
        return False, None, b'', False, 'Content-Length is not a number of up to 18 digits'
    return False, int(value), b'Content-Length: %s\r\n' % value, False, ''


def response_body(response, method, limits):
    """Return the body of a final response, or None if it has none (RFC 9112, 6.3). Raises BadResponse.

    `response`: a message.Response; `method`: of its request, octets; `limits`: as for `request_body`.
    """
    if method == b'HEAD' or response.status in (204, 304):
        return None                 # whatever its fields say
    chunked, length, line, sound, wrong = response.framed or _framed(response)
    if wrong:
        raise errors.BadResponse(wrong)
    if chunked:
        return ChunkedResponse(response.options(), limits, sound)
    if length is None:
        return UntilClose()
    return (Sized if sound else DoubtfulSized)(length, errors.ResponseIncomplete, line)


def bodiless_framing(response, version):
    """Return the framing field line of a response without a body, as octets (RFC 9110, 8.6; RFC 9112, 6.1).

    For HEAD and 304 it describes the body of the same response to GET. It is b'' for 204, and if that is not known.
    `response`: a message.Response; `version`: of the client's HTTP, as (1, minor).
    """
    if response.status == 204:
        return b''
    chunked, _length, line, _sound, _wrong = _framed(response)
    return (CHUNKED_LINE if version >= (1, 1) else b'') if chunked else line


def is_clean(response):
    """Return True if the connection can be used again after a response without a body.

    False if the response claims to have a body, or frames it oddly. `response`: a message.Response.
    """
    chunked, length, _line, sound, _wrong = _framed(response)
    return sound and (response.status != 204 or not chunked and not length)
