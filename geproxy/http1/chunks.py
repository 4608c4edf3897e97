"""Reads and writes the chunked transfer coding (RFC 9112, 7.1). No I/O.

Each octet is checked, and chunks are written anew (`encode_chunk`). So chunk extensions, and attacks by them, do not go
on. Only an incomplete line is kept. framing says what all kinds of bodies have in common.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy import errors
from geproxy.http1 import grammar, leniency, trailers

LINE_LIMIT = 1024           # octets of one chunk-size line; the longest ones in practice have about 20
LINES = 1000                # lines that are read at once: about a millisecond of work
LINE_WORK = 16              # octets of a chunk-size line with extensions that are as much work as a short line
_small_sizes = dict((b'\r\n%s\r\n' % digits, size) for size in range(1, 256) for digits in (b'%x' % size, b'%X' % size))
_SMALL_LINE = 6             # octets of these lines at most
CHUNKED_LINE = b'Transfer-Encoding: chunked\r\n'
MOST = 256 * 1024           # octets; no read gives more (stream.SCRATCH_SIZE)
SMALL = 8 * 1024            # octets: content up to this size is simply copied
_begins_with_16_digits = re.compile(br'0[0-9A-Fa-f]{15}').match

# One buffer for the whole process, in which large content of several chunks, or a large chunk, is put together. Objects
# of that size would take new memory each time (2570 -> 670 ms per GiB of chunks of 16 KiB, 3.13, 2026).
_HEAD = 16                  # octets of room for a chunk-size line
_room = memoryview(bytearray(_HEAD + MOST + 2))


class Chunked(object):
    """A body in chunked coding (RFC 9112, 7.1)."""
    __slots__ = ('done', 'used', 'trailers', 'chunk', 'dropped', '_left', '_line', '_separator', '_next',
                 '_bad', '_incomplete', '_limits', '_trailers', '_size')
    left = None
    framing = CHUNKED_LINE
    delimited = splices = True
    line_limit = LINE_LIMIT

    def __init__(self, options, limits, bad, incomplete):
        """Make a body in chunked coding.

        `options`: the connection options of the message, a frozenset; `limits`: has `head_size`, in octets, and
        `fields`, for the trailer section; `bad`: the class to raise for invalid coding; `incomplete`: the class to
        raise if the connection ends too early.
        """
        self.dropped = options      # names of trailer fields that do not go on; see trailers.parse
        self.done = False
        self.used = 0               # how many octets of the last `feed` belong to this body
        self.trailers = b''         # the trailer section for the next hop, when done
        self.chunk = 0              # octets of the current chunk
        self._left = 0              # octets of the current chunk that are still to come
        self._line = b''            # the octets of an incomplete line
        self._separator = None      # the octets between this chunk and another of the same size, which often follows
        self._next = Chunked._read_size
        self._bad, self._incomplete = bad, incomplete
        self._limits = limits
        self._trailers = []
        self._size = 0

    def feed(self, data, end):
        """Feed octets that have arrived. Return the content among them; set `used` and `done`.

        `data`: a buffer; `end`: how many of its octets are meant. The content may be a view of memory that all bodies
        share: use it before anything that may wait. After LINES lines it stops early: feed the octets after `used`
        again.
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
            if self._separator and not self._line:
                at = self._next_chunk(data, at, end)
            if at == start:
                at = self._read_line(data, at, end)
                lines += (at - start) // LINE_WORK
        self.used = at
        return pieces[0] if len(pieces) == 1 else _join(pieces)

    def _next_chunk(self, data, at, end):
        """Skip the line between two chunks if the next chunk has the same size or is small. Return where that begins.
        """
        if data.startswith(self._separator, at, end):
            self._left = self.chunk
            return at + len(self._separator)
        stop = data.find(b'\n', at + 2, min(end, at + _SMALL_LINE)) + 1
        line = bytes(data[at:stop])
        size = _small_sizes.get(line)
        if size is None:
            return at
        self._left = self.chunk = size
        self._separator = line
        return stop

    @property
    def skippable(self):
        """How many octets of this chunk may be passed on without `feed`."""
        return self._left

    def skip(self, count):
        """Note that `count` octets were passed on without `feed`."""
        self._left -= count

    @property
    def separator(self):
        """The octets that separate this chunk from another of the same size; None outside of chunks."""
        return self._separator

    def skip_run(self, left):
        """Note that chunks of the same size were passed on without `feed`. `left`: octets of the last one that are
        still to come."""
        self._left = left

    def repeats(self, octets):
        """Return True if `octets` are the separator between two chunks of the same size. Then the next chunk begins.

        `octets`: those that follow the chunk, and that were not fed yet.
        """
        if octets != self._separator or self._left or self._line:
            return False
        self._left = self.chunk
        return True

    def ended(self):
        """Raise the error for a connection that ended before the body did."""
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
        """Return a line that ends with LF alone as one that ends with CRLF. Raises if that is not allowed."""
        raise self._bad('a line of the chunked coding ends with a bare LF')

    def _match_odd_size(self, line):
        return None

    def _read_size(self, line):
        match = grammar.match_chunk_size(line) or self._match_odd_size(line)
        if match is None:
            raise self._bad("invalid chunk size '%s'" % grammar.printable(line, 40))
        self._left = self.chunk = int(match.group(1), 16)
        self._separator = b'\r\n%s\r\n' % line if self._left else None
        self._next = Chunked._read_data_end if self._left else Chunked._read_trailer

    def _read_data_end(self, line):
        if line:
            raise self._bad('a chunk is longer than its size says')
        self._separator = None
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
    """A body in chunked coding of a response. Accepts unusual coding that has only one meaning.

    It accepts long chunk extensions, which are ignored in any case (RFC 9112, 7.1.1), and a size of 16 digits that
    begins with 0. In the trailer section it accepts folds, blanks before a colon, names that are no token, and LF
    alone. The connection is not used again after an unusual trailer section. It refuses blanks after a size, and LF
    alone between chunks, because squid refuses them.
    """
    __slots__ = ('delimited', 'line_limit')

    def __init__(self, options, limits, sound):
        """Make the body of a response.

        `options`, `limits`: see Chunked; `sound`: False if the head framed the body more than once or oddly.
        """
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
        # A field whose name is no token is dropped; neither curl, browsers nor squid refuse the body because of it.
        mended = [line for line in leniency.mend_fields(self._trailers, self._bad)
                  if b':' not in line or grammar.is_token(line.partition(b':')[0])]
        self.delimited = self.delimited and mended == self._trailers
        return mended


def _join(pieces):
    """Return views of octets as one view, or as octets."""
    size = sum(map(len, pieces))
    if not SMALL < size <= MOST:
        return b''.join([piece.tobytes() for piece in pieces])
    at = _HEAD
    for piece in pieces:
        _room[at:at + len(piece)] = piece
        at += len(piece)
    return _room[_HEAD:at]


def encode_chunk(content):
    """Return content as one chunk.

    `content`: octets or a view of them. The result is octets, or a view of shared memory as of Chunked.feed.
    """
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
    """Return `content`, octets or a view of them, as octets."""
    return content if isinstance(content, bytes) else content.tobytes()


def last_chunk(trailers):
    """Return the end of a chunked body. `trailers`: its trailer section, octets."""
    return b'0\r\n%s\r\n' % trailers
