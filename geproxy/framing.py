"""Where a message body ends (RFC 9112, 6 and 7.1). No I/O; everything doubtful is refused in requests. In responses
that is understood which curl, browsers and squid understand alike, and its connection is not used again.

A body is told what has arrived (`feed`) and gives the content octets among it; chunked coding is checked octet by
octet and written anew by `encode_chunk`, so chunk extensions, and tricks with them, end here. Nothing is collected
but an unfinished line.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import errors, grammar, leniency, trailers

LINE_LIMIT = 1024           # octets of one chunk-size line; the longest seen in the wild has about 20
CHUNKED_LINE = b'Transfer-Encoding: chunked\r\n'
MOST = 256 * 1024           # octets; no read gives more (stream.SCRATCH_SIZE)
SMALL = 8 * 1024            # octets that may as well be copied
_begins_with_16_digits = re.compile(br'0[0-9A-Fa-f]{15}').match

# Large content of several chunks is put together here, for the whole process, and so is a large chunk: objects of that
# size would be new memory each time (2570 -> 670 ms per GiB of chunks of 16 KiB, 3.13, 2026).
_HEAD = 16                  # octets of room for a chunk-size line
_room = memoryview(bytearray(_HEAD + MOST + 2))


class Sized(object):
    """A body of Content-Length octets."""
    __slots__ = ('left', 'framing', 'incomplete')
    chunk = None            # octets of the current chunk, where there are chunks
    used = None             # `feed` takes all that it is given: `left` says how much to read
    delimited = True        # the end does not need a closed connection
    trailers = b''

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


class Chunked(object):
    """A body in chunked coding (RFC 9112, 7.1)."""
    __slots__ = ('done', 'used', 'trailers', 'chunk', 'dropped', '_left', '_line', '_again', '_next', '_bad',
                 '_incomplete', '_limits', '_trailers', '_size')
    left = None
    framing = CHUNKED_LINE
    delimited = True
    line_limit = LINE_LIMIT

    def __init__(self, options, limits, bad, incomplete):
        """`options`: the connection options of the message; `limits`: with `head_size` (octets) and `fields`, for
        the trailer section; `bad`, `incomplete`: the errors to raise."""
        self.dropped = options      # names of trailer fields that do not go on; see trailers.parse
        self.done = False
        self.used = 0               # how many octets of the last feed belong to this body
        self.trailers = b''         # the trailer section to pass on, once done
        self.chunk = 0              # octets of the current chunk
        self._left = 0              # those of them that are yet to come
        self._line = b''            # unfinished
        self._again = None          # what leads from within a chunk to another of its size: mostly that comes
        self._next = Chunked._read_size
        self._bad, self._incomplete = bad, incomplete
        self._limits = limits
        self._trailers = []
        self._size = 0

    def feed(self, data, end):
        """Octets [0:end) of `data` have arrived -> the content among them; sets `used` and `done`.

        The content may be a view of memory that the next body needs: use it before anything that may wait.
        """
        pieces = []
        at = 0
        view = memoryview(data)
        while at < end and not self.done:
            if self._left:
                size = min(self._left, end - at)
                pieces.append(view[at:at + size])
                self._left -= size
                at += size
            elif self._again and not self._line and data.startswith(self._again, at, end):
                at += len(self._again)
                self._left = self.chunk
            else:
                at = self._read_line(data, at, end)
        self.used = at
        return pieces[0] if len(pieces) == 1 else _join(pieces)

    @property
    def unseen(self):
        """As Sized.unseen: what is still to come of a chunk."""
        return self._left

    def skip(self, count):
        """As Sized.skip."""
        self._left -= count

    def repeats(self, octets):
        """True if these octets, not fed yet, lead from the end of a chunk to another of its size, which begins."""
        if octets != self._again or self._left or self._line:
            return False
        self._left = self.chunk
        return True

    def ended(self):
        """The connection ended too early: raises."""
        raise self._incomplete('the connection ended before the last chunk')

    def _read_line(self, data, at, end):
        stop = data.find(b'\n', at, end) + 1 or end
        line = self._line + bytes(data[at:stop])
        most = self._limits.head_size if self._next == Chunked._read_trailer else self.line_limit
        if len(line) > most:
            raise self._bad('a line of the chunked coding is longer than %d octets' % most)
        if line[-1:] != b'\n':
            self._line = line
            return stop
        if line[-2:] != b'\r\n':
            line = self._end_line(line)
        self._line = b''
        self._next(self, line[:-2])
        return stop

    def _end_line(self, line):
        """What ends with LF alone, as a line that ends with CRLF; raises if it must not."""
        raise self._bad('a line of the chunked coding ends with a bare LF')

    def _match_odd_size(self, line):
        return None

    def _read_size(self, line):
        match = grammar.match_chunk_size(line) or self._match_odd_size(line)
        if match is None:
            raise self._bad("'%s' is not a chunk size" % grammar.printable(line, 40))
        self._left = self.chunk = int(match.group(1), 16)
        self._again = b'\r\n%s\r\n' % line if self._left else None
        self._next = Chunked._read_data_end if self._left else Chunked._read_trailer

    def _read_data_end(self, line):
        if line:
            raise self._bad('a chunk is longer than its size says')
        self._again = None
        self._next = Chunked._read_size

    def _read_trailer(self, line):
        if not line:
            self.trailers = trailers.parse(self._mend_trailers(), self.dropped, self._bad)
            self.done = True
            return
        self._size += len(line) + 2
        if self._size > self._limits.head_size or len(self._trailers) >= self._limits.fields:
            raise self._bad('the trailer section is larger than [limits] head_size or fields')
        self._trailers.append(line)

    def _mend_trailers(self):
        return self._trailers


class ChunkedResponse(Chunked):
    """The same in a response: what is odd and has one meaning is understood, and ends the use of the connection.

    Understood are long chunk extensions, which are ignored in any case (RFC 9112, 7.1.1), a size of 16 digits of which
    the first is 0, and folds, blanks before a colon and LF alone in the trailer section. Not understood are blanks
    behind a size and LF alone between chunks: squid takes them for broken.
    """
    __slots__ = ('delimited', 'line_limit')

    def __init__(self, options, limits, sound):
        """`sound`: false if the head framed the body more than once or oddly; the others: see Chunked."""
        Chunked.__init__(self, options, limits, errors.BadCoding, errors.ResponseIncomplete)
        self.delimited, self.line_limit = sound, limits.head_size

    def _end_line(self, line):
        if self._next != Chunked._read_trailer:
            return Chunked._end_line(self, line)
        self.delimited = False
        return line[:-1] + b'\r\n'

    def _match_odd_size(self, line):
        return grammar.match_chunk_size(line[1:]) if _begins_with_16_digits(line) else None

    def _mend_trailers(self):
        mended = leniency.mend_fields(self._trailers, self._bad)
        self.delimited = self.delimited and mended == self._trailers
        return mended


def _join(pieces):
    """Views of octets -> one view, or octets."""
    size = sum(map(len, pieces))
    if not SMALL < size <= MOST:
        return b''.join([piece.tobytes() for piece in pieces])
    at = _HEAD
    for piece in pieces:
        _room[at:at + len(piece)] = piece
        at += len(piece)
    return _room[_HEAD:at]


def encode_chunk(content):
    """Content octets, or a view of them -> one chunk, or a view of it: as Chunked.feed."""
    size = len(content)
    if not SMALL < size <= MOST:
        return b'%x\r\n%s\r\n' % (size, bytes_of(content))
    head = b'%x\r\n' % size
    start, end = _HEAD - len(head), _HEAD + size
    _room[_HEAD:end] = content
    _room[start:_HEAD] = head
    _room[end:end + 2] = b'\r\n'
    return _room[start:end + 2]


def bytes_of(content):
    """Octets or a view of them -> octets."""
    return content if isinstance(content, bytes) else content.tobytes()


def last_chunk(trailers):
    """The end of a chunked body, with the trailer section given."""
    return b'0\r\n%s\r\n' % trailers


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
    if len(values) != 1:
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
