"""Where a message body ends (RFC 9112, 6). No I/O; everything doubtful is refused in requests. In responses that is
understood which curl, browsers and squid understand alike, and its connection is not used again.

A body is told what has arrived (`feed`) and gives the content octets among it. Chunked coding is in `chunks`.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors
from geproxy.http1 import grammar
from geproxy.http1.chunks import CHUNKED_LINE, Chunked, ChunkedResponse


class Sized(object):
    """A body of Content-Length octets."""
    __slots__ = ('left', 'framing', 'incomplete')
    chunk = None            # octets of the current chunk, where there are chunks
    used = None             # `feed` takes all that it is given: `left` says how much to read
    delimited = True        # the end does not need a closed connection
    trailers = b''
    splices = True          # octets may go by without being fed: see `unseen`

    def __init__(self, length, incomplete, line=None):
        """`length`: octets; `incomplete`: the error to raise; `line`: its Content-Length line, if that is at hand."""
        self.left = length
        self.framing = line or b'Content-Length: %d\r\n' % length
        self.incomplete = incomplete

    @property
    def done(self):
        """True once all of it has been fed."""
        return not self.left

    def feed(self, data, end):
        """Octets [0:end) of `data` (no more than `left`) have arrived -> the content among them."""
        self.left -= end
        return memoryview(data)[:end]

    @property
    def unseen(self):
        """How many octets may go by without being fed: they are content, whatever they are."""
        return self.left

    def skip(self, count):
        """That many octets have gone by."""
        self.left -= count

    def take(self, stream):
        """What is left, all of it, from the buffer of a stream.Stream, where it is."""
        octets, stream.buffer = stream.buffer[:self.left], stream.buffer[self.left:]
        self.left = 0
        return octets

    def ended(self):
        """The connection ended: raises the error that says what is missing."""
        raise self.incomplete('the connection ended %d octets before the body did' % self.left)


class DoubtfulSized(Sized):
    """The same, of a response that frames its body more than once or oddly: what follows it is not trusted."""
    __slots__ = ()
    delimited = False


class UntilClose(object):
    """A response body that only the end of the connection ends."""
    __slots__ = ('done',)
    left = used = chunk = None
    framing = b''
    delimited = False
    trailers = b''
    splices = True
    unseen = 1 << 30        # see Sized.unseen: there is always more

    def __init__(self):
        self.done = False

    def feed(self, data, end):
        """As Sized.feed."""
        return memoryview(data)[:end]

    def skip(self, count):
        """As Sized.skip."""

    def ended(self):
        """The connection ended, and so did the body."""
        self.done = True


def _length(request):
    """The value of a request's Content-Length, or None if there is none (RFC 9110, 8.6; RFC 9112, 6.3)."""
    values = request.index.get(b'content-length')
    if values is None:
        return None
    if len(values) > 1:
        raise errors.BadRequest('there are %d Content-Length fields' % len(values))
    if not grammar.is_length(values[0]):
        raise errors.BadRequest('Content-Length is not a number of up to 18 digits')
    return int(values[0])


def _is_chunked(request):
    """True if a request's Transfer-Encoding says chunked, False if there is none; all else is refused (RFC 9112, 6.1).
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
            "nobody here knows the transfer codings '%s'" % grammar.printable(values[0], 40))
    raise errors.BadRequest(
        "'%s' is not a Transfer-Encoding that ends with one chunked" % grammar.printable(values[0], 40))


def request_body(request, limits):
    """The body of a request, or None; raises BadRequest or NotImplementedHere (RFC 9112, 6.3)."""
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
    """Of a response -> (is it chunked?, the value of Content-Length or None, the line of that or b'', is it sound?,
    what is wrong or ''), found out once. Sound: it frames its body once and as it should."""
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
    """The same for other than one good Content-Length. `lengths`: the values of that, or None."""
    codings = b','.join(response.values(b'transfer-encoding')).lower()
    if codings == b'chunked':       # it counts, whatever Content-Length says (RFC 9112, 6.3)
        return True, None, b'', response.version >= (1, 1) and lengths is None, ''
    if response.values(b'transfer-encoding') and codings != b'identity':
        return False, None, b'', False, "'%s' is not a Transfer-Encoding that is known here" % (
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
    """The body of a final response to `method`, or None; raises BadResponse (RFC 9112, 6.3)."""
    if method == b'HEAD' or response.status in (204, 304):
        return None                 # whatever it says
    chunked, length, line, sound, wrong = response.framed or _framed(response)
    if wrong:
        raise errors.BadResponse(wrong)
    if chunked:
        return ChunkedResponse(response.options(), limits, sound)
    if length is None:
        return UntilClose()
    return (Sized if sound else DoubtfulSized)(length, errors.ResponseIncomplete, line)


def bodiless_framing(response, version):
    """The field line that a response without a body passes on to a client of that HTTP version: what the body would
    have been, for HEAD and 304; nothing for 204, and where it cannot be told (RFC 9110, 8.6; RFC 9112, 6.1)."""
    if response.status == 204:
        return b''
    chunked, _length, line, _sound, _wrong = _framed(response)
    return (CHUNKED_LINE if version >= (1, 1) else b'') if chunked else line


def is_clean(response):
    """False if a response without a body claims to have one, or frames it oddly: its connection is not to be trusted
    further."""
    chunked, length, _line, sound, _wrong = _framed(response)
    return sound and (response.status != 204 or not chunked and not length)
