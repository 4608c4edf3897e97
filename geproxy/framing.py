"""Where a message body ends (RFC 9112, 6 and 7.1). No I/O; everything doubtful is refused.

A body is told what has arrived (`feed`) and gives the content octets among it; chunked coding is checked octet by
octet and written anew by `encode_chunk`, so chunk extensions, and tricks with them, end here. Nothing is collected
but an unfinished line.
"""
from __future__ import absolute_import, division, print_function

from geproxy import errors, grammar, message

LINE_LIMIT = 1024           # octets of one chunk-size line; the longest seen in the wild has about 20
LINES = 1000                # of the chunked coding that are read at once: about a millisecond of work
LINE_WORK = 16              # octets of a chunk-size line with extensions that are as much work as a line
_small_sizes = dict((b'\r\n%s\r\n' % digits, size) for size in range(1, 256) for digits in (b'%x' % size, b'%X' % size))
_SMALL_LINE = 6             # octets of those at most
CHUNKED_LINE = b'Transfer-Encoding: chunked\r\n'
MOST = 256 * 1024           # octets; no read gives more (stream.SCRATCH_SIZE)
SMALL = 8 * 1024            # octets that may as well be copied

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
    __slots__ = ('done', 'used', 'trailers', 'chunk', '_left', '_line', '_again', '_next', '_bad', '_incomplete',
                 '_options', '_limits', '_trailers', '_size')
    left = None
    framing = CHUNKED_LINE
    delimited = True

    def __init__(self, options, limits, bad, incomplete):
        """`options`: the connection options of the message; `limits`: with `head_size` (octets) and `fields`, for
        the trailer section; `bad`, `incomplete`: the errors to raise."""
        self.done = False
        self.used = 0               # how many octets of the last feed belong to this body
        self.trailers = b''         # the trailer section to pass on, once done
        self.chunk = 0              # octets of the current chunk
        self._left = 0              # those of them that are yet to come
        self._line = b''            # unfinished
        self._again = None          # what leads from within a chunk to another of its size: mostly that comes
        self._next = Chunked._read_size
        self._bad, self._incomplete = bad, incomplete
        self._options, self._limits = options, limits
        self._trailers = []
        self._size = 0

    def feed(self, data, end):
        """Octets [0:end) of `data` have arrived -> the content among them; sets `used` and `done`.

        The content may be a view of memory that the next body needs: use it before anything that may wait. Behind
        LINES lines it stops, before the end of the body: what is behind `used` is to be fed again.
        """
        pieces = []
        at = lines = 0
        view = memoryview(data)
        while at < end and not self.done and lines < LINES:
            if self._left:
                size = min(self._left, end - at)
                pieces.append(view[at:at + size])
                self._left -= size
                at += size
                continue
            lines += 1
            start = at
            if self._again and not self._line:
                at = self._next_chunk(data, at, end)
            if at == start:
                at = self._read_line(data, at, end)
                lines += (at - start) // LINE_WORK
        self.used = at
        return pieces[0] if len(pieces) == 1 else _join(pieces)

    def _next_chunk(self, data, at, end):
        """Go from the end of a chunk to the next, if that is of the same size, or small -> where its octets begin."""
        if data.startswith(self._again, at, end):
            self._left = self.chunk
            return at + len(self._again)
        stop = data.find(b'\n', at + 2, min(end, at + _SMALL_LINE)) + 1
        line = bytes(data[at:stop])
        size = _small_sizes.get(line)
        if size is None:
            return at
        self._left = self.chunk = size
        self._again = line
        return stop

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
        most = self._limits.head_size if self._next == Chunked._read_trailer else LINE_LIMIT
        if len(line) > most:
            raise self._bad('a line of the chunked coding is longer than %d octets' % most)
        if line[-1:] != b'\n':
            self._line = line
            return stop
        if line[-2:] != b'\r\n':
            raise self._bad('a line of the chunked coding ends with a bare LF')
        self._line = b''
        self._next(self, line[:-2])
        return stop

    def _read_size(self, line):
        match = grammar.match_chunk_size(line)
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
            self.trailers = message.parse_trailers(self._trailers, self._options, self._bad)
            self.done = True
            return
        self._size += len(line) + 2
        if self._size > self._limits.head_size or len(self._trailers) >= self._limits.fields:
            raise self._bad('the trailer section is larger than [limits] head_size or fields')
        self._trailers.append(line)


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


def _length(head, error):
    """The value of Content-Length, or None if there is none (RFC 9110, 8.6; RFC 9112, 6.3)."""
    values = head.index.get(b'content-length')
    if values is None:
        return None
    if len(values) > 1:
        raise error('there are %d Content-Length fields' % len(values))
    if not grammar.is_length(values[0]):
        raise error('Content-Length is not a number of up to 18 digits')
    return int(values[0])


def _is_chunked(head, error, unknown):
    """True if Transfer-Encoding says chunked, False if there is none; all else is refused (RFC 9112, 6.1)."""
    values = head.index.get(b'transfer-encoding')
    if values is None:
        return False
    if head.version < (1, 1):
        raise error('Transfer-Encoding in HTTP/1.0')
    if head.values(b'content-length'):
        raise error('both Transfer-Encoding and Content-Length')
    if len(values) > 1:
        raise error('there are %d Transfer-Encoding fields' % len(values))
    codings = [coding.strip(b' \t').lower() for coding in values[0].split(b',')]
    if codings == [b'chunked']:
        return True
    if codings[-1] == b'chunked' and all(
            grammar.is_token(coding) and coding not in (b'chunked', b'identity') for coding in codings[:-1]):
        raise unknown("nobody here knows the transfer codings '%s'" % grammar.printable(values[0], 40))
    raise error("'%s' is not a Transfer-Encoding that ends with one chunked" % grammar.printable(values[0], 40))


def _framed(head, error, unknown):
    """Of a head -> (is it chunked?, the value of Content-Length or None, the line of that or b''), found out once."""
    if head.framed is None:
        chunked, length = _is_chunked(head, error, unknown), _length(head, error)
        head.framed = chunked, length, b'' if length is None else b'Content-Length: %d\r\n' % length
    return head.framed


def request_body(request, limits):
    """The body of a request, or None; raises BadRequest or NotImplementedHere (RFC 9112, 6.3)."""
    if b'content-length' not in request.index and b'transfer-encoding' not in request.index:
        return None
    chunked, length, line = _framed(request, errors.BadRequest, errors.NotImplementedHere)
    if request.method in (b'CONNECT', b'TRACE') and (chunked or length):
        raise errors.BadRequest('%s has no body (RFC 9110, 9.3.6 and 9.3.8)' % grammar.printable(request.method))
    if chunked:
        return Chunked(request.options(), limits, errors.BadRequest, errors.ClientLost)
    return None if length is None else Sized(length, errors.ClientLost, line)


def response_body(response, method, limits):
    """The body of a final response to `method`, or None; raises BadResponse (RFC 9112, 6.3)."""
    chunked, length, line = response.framed or _framed(response, errors.BadResponse, errors.BadResponse)
    if method == b'HEAD' or response.status in (204, 304):
        return None
    if chunked:
        return Chunked(response.options(), limits, errors.BadCoding, errors.ResponseIncomplete)
    return UntilClose() if length is None else Sized(length, errors.ResponseIncomplete, line)


def bodiless_framing(response, version):
    """The field line that a response without a body passes on to a client of that HTTP version: what the body would
    have been, for HEAD and 304; nothing for 204 (RFC 9110, 8.6; RFC 9112, 6.1)."""
    if response.status == 204:
        return b''
    if response.values(b'transfer-encoding'):
        return CHUNKED_LINE if version >= (1, 1) else b''
    return _framed(response, errors.BadResponse, errors.BadResponse)[2]


def is_clean(response):
    """False if a response without a body claims to have one: its connection is not to be trusted further."""
    return response.status != 204 or not (
        response.values(b'transfer-encoding') or _framed(response, errors.BadResponse, errors.BadResponse)[1])
