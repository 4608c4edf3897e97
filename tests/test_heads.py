"""The corpus in heads/: each file gets the verdict that its first line tells, whole and in pieces of any size."""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import glob
import os
import re
import resource

import pytest

from geproxy import errors
from geproxy.compat import monotonic, to_native
from geproxy.exchange import relay
from geproxy.http1 import chunks, framing, grammar, reading
from geproxy.net.deadlines import TimeLimit
from geproxy.net.stream import Stream

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'heads')
SIZES = (1, 2, 3, 7, 1 << 20)       # octets of the pieces; the last is all at once
NEXT = b'GET / HTTP/1.1\r\n'        # what stands behind a message that knows its end
PATIENCE = TimeLimit('head', 10, errors.HeadTimeout)
LIMITS = collections.namedtuple('Limits', 'head_size fields')(64 * 1024, 200)

# The comment: why, the section of an RFC, and the status that a bad one gets.
match_comment = re.compile(br'# (?:in answer to ([A-Z]+): )?[^;]+; RFC [0-9]{4}, [0-9.]+(?:; ([0-9]{3}))?\Z').match

Case = collections.namedtuple('Case', 'name kind method status octets')     # status: 0 if it is good
Message = collections.namedtuple('Message', 'head body content rest')

# A descriptor that is always readable, so that no wait takes time.
READABLE, _END = os.pipe()
os.write(_END, b'!')


class Pieces(object):
    """Stands where a socket does: gives octets in pieces of a size, and then the end."""

    def __init__(self, octets, size):
        self.left = octets
        self.size = size

    def recv(self, most):
        """The next piece."""
        piece, self.left = self.left[:min(most, self.size)], self.left[min(most, self.size):]
        return piece

    def recv_into(self, place, most):
        """The same, into a buffer."""
        piece = self.recv(most)
        place[:len(piece)] = piece
        return len(piece)

    def fileno(self):
        """Readable."""
        return READABLE

    def settimeout(self, _seconds):
        """Nothing here waits."""

    def setsockopt(self, *_option):
        """Nothing here has options."""


class Sink(object):
    """Stands where a stream does: remembers what is sent."""

    pace, at_once = None, 0

    def __init__(self):
        self.sent = b''

    def send(self, data, _limit):
        """Remember it."""
        self.sent += chunks.bytes_of(data)


def read_case(path):
    """A file of the corpus -> Case."""
    with open(path, 'rb') as opened:
        comment, _end, octets = opened.read().partition(b'\n')
    match = match_comment(comment)
    assert match, '%s: its first line is no comment as they are here' % path
    name = os.path.basename(path)[:-len('.http')]
    return Case(name, name.partition('-')[0], match.group(1) or b'GET', int(match.group(2) or 0), octets)


def read_cases(folder):
    """All cases in a folder of the corpus."""
    return [read_case(path) for path in sorted(glob.glob(os.path.join(FOLDER, folder, '*')))]


GOOD, BAD = read_cases('good'), read_cases('bad')


@contextlib.contextmanager
def arriving(octets, size, lost):
    """Give a Stream on which these octets arrive in pieces of `size`. It gives back the memory that it was charged."""
    stream = Stream(Pieces(octets, size), '', lost)
    try:
        yield stream
    finally:
        stream.hold(0)


def read_request(octets, size=SIZES[-1]):
    """Return the Message of octets that a client sends. Raises what is wrong with them."""
    with arriving(octets, size, errors.ClientLost) as stream:
        return _read_request(stream)


def _read_request(stream):
    while not stream.skip_empty_lines() and not stream.ended:
        stream.fill()
    head = stream.read_head(LIMITS.head_size, PATIENCE, monotonic() + 10, reading.check_request_start)
    if not head:
        raise errors.ClientLost('no end of the head')
    request = reading.parse_request(head)
    return read_body(request, framing.request_body(request, LIMITS), stream)


def read_response(octets, method, size=SIZES[-1]):
    """The same for octets that an origin sends in answer to `method`."""
    with arriving(octets, size, errors.UpstreamLost) as stream:
        return _read_response(stream, method)


def _read_response(stream, method):
    head = stream.read_head(LIMITS.head_size, PATIENCE, monotonic() + 10, reading.check_response_start)
    if not head:
        raise errors.UpstreamLost('no end of the head')
    response = reading.parse_response(head)
    stream.unread(response.behind)
    bodiless = response.status < 200 or method == b'CONNECT' and response.status < 300
    return read_body(response, None if bodiless else framing.response_body(response, method, LIMITS), stream)


def read_body(head, body, stream):
    """The rest of a message whose head has been read -> Message."""
    sink = Sink()
    if body is not None:
        chunked = body.framing == chunks.CHUNKED_LINE
        relay.copy_body(body, stream, sink, (PATIENCE, PATIENCE), chunked=chunked)
    return Message(head, body, sink.sent, stream.buffer + stream.transport.left)


def read_message(case, behind, size):
    """The message of a Case with `behind` behind it."""
    if case.kind == 'request':
        return read_request(case.octets + behind, size)
    return read_response(case.octets + behind, case.method, size)


def decode(content):
    """Chunks as we write them -> their data, all trailers left out."""
    data = b''
    while True:
        size, _end, content = content.partition(b'\r\n')
        if size == b'0':
            return data
        data, content = data + content[:int(size, 16)], content[int(size, 16) + 2:]


@pytest.mark.parametrize('case', GOOD, ids=lambda case: case.name)
def test_a_good_message_is_understood_to_its_last_octet_however_it_is_cut(case):
    whole = read_message(case, b'', SIZES[-1])
    delimited = not isinstance(whole.body, framing.UntilClose)
    for size in SIZES:
        read = read_message(case, NEXT if delimited else b'', size)
        assert read.rest == (NEXT if delimited else b'')
        assert read.head.fields == whole.head.fields
        if read.body is not None and read.body.framing == chunks.CHUNKED_LINE:
            assert decode(read.content) == decode(whole.content)
            assert read.body.trailers == whole.body.trailers
        else:
            assert read.content == whole.content


@pytest.mark.parametrize('case', BAD, ids=lambda case: case.name)
def test_a_bad_message_is_refused_however_it_is_cut(case):
    allowed = {'request': (errors.BadRequest, errors.NotImplementedHere, errors.VersionNotSupported),
               'response': (errors.BadResponse, errors.BadCoding)}[case.kind]
    for size in SIZES:
        with pytest.raises(errors.ProxyError) as raised:
            read_message(case, b'', size)
        assert isinstance(raised.value, allowed)
        assert raised.value.status == case.status, 'in pieces of %d: %s' % (size, raised.value)


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(GOOD) >= 40 and len(BAD) >= 60
    assert all(case.status for case in BAD) and not any(case.status for case in GOOD)
    assert set(case.kind for case in GOOD + BAD) == {'request', 'response'}
    assert all(case.method == b'GET' for case in GOOD + BAD if case.kind == 'request'), 'requests answer nothing'


def test_no_two_cases_are_the_same():
    seen = collections.Counter((case.kind, case.method, case.octets) for case in GOOD + BAD)
    twice = [to_native(octets) for (_kind, _method, octets), count in seen.items() if count > 1]
    assert not twice


def trickle(size):
    """Return the seconds of processor time that a head of `size` KiB costs, if it comes octet by octet."""
    head = b'GET / HTTP/1.1\r\nHost: example.com\r\nCookie: %s\r\n\r\n' % (b'x' * size * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF)
    assert read_request(head, 1).rest == b''
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_an_octet_of_a_large_head_that_trickles_in_costs_what_one_of_a_small_head_does():
    small = min(trickle(1) for _ in range(5))
    # If each octet costs a look at all that came before it, the large one costs 150 times as much, or more.
    assert any(trickle(40) < 100 * small for _ in range(3))     # what else runs here may disturb a measurement


START_LINES = [case.octets.partition(b'\r\n')[0] for case in GOOD + BAD] + [
    b'GET http://a.example/ HTTP/1.1', b'HTTP/1.1 200 OK', b'GET / HTTP/2.0', b'HTTP/1.1 999', b'', b'\r', b'a\nb']
SECTIONS = set(case.octets.partition(b'\r\n')[2].partition(b'\r\n\r\n')[0] for case in GOOD + BAD)
MEMOS = [memo for reader in (reading.requests, reading.responses) for memo in (reader.lines, reader.sections, reader.heads, reader.patterns)] + [
         grammar._field_lines, grammar._lower_names, grammar.parse_authority.__self__]


@pytest.mark.parametrize('line', sorted(set(START_LINES)) + [
    method + b' http://' + rest for method in (b'GET', b'CONNECT', b'OPTIONS') for rest in (
        b'a/ HTTP/1.0', b'a/b?c//d:e@f HTTP/1.1', b'[::1]:80/ HTTP/1.1', b'a:80/#b HTTP/1.1', b'a@b/ HTTP/1.1',
        b'a..b/ HTTP/1.1', b'a:0/ HTTP/1.1', b'a HTTP/1.1', b'a?b/c HTTP/1.1', b'a// HTTP/2.0', b'A/ HTTP/1.1 ',
        b'a]/ HTTP/1.1', b'a/\xc3 HTTP/1.1', b'a/ b HTTP/1.1', b'a/\x7f HTTP/1.1')])
def test_the_short_way_to_read_a_request_line_leads_where_the_long_one_does(line):
    assert outcome(reading._parse_request_line, line) == outcome(reading._parse_any_request_line, line)


def outcome(parse, octets):
    """What a parser makes of octets, or why nothing."""
    try:
        return parse(octets)
    except errors.ProxyError as error:
        return type(error), str(error)


def understand(parse, head):
    """What a head is found to be, all of it, or why not."""
    try:
        read = parse(head)
        written = None if getattr(read, 'method', b'') == b'CONNECT' else read.write(b'', b'1.1 x')
        return read.version, read.fields, sorted(read.index.items()), sorted(read.options()), written
    except errors.ProxyError as error:
        return type(error), str(error)


@pytest.mark.parametrize('parse', [reading.parse_request, reading.parse_response])
@pytest.mark.parametrize('step', [29, pytest.param(7, marks=pytest.mark.programs)])
def test_a_remembered_head_never_replaces_another(parse, step):
    heads = [start + b'\r\n' + section + b'\r\n\r\n' for section in sorted(SECTIONS) for start in START_LINES[::step]]
    heads += [start + b'\r\n' + section + b'\r\n\r\n' for section in sorted(SECTIONS)[::step] for start in START_LINES]
    fresh = []
    for head in heads:
        for memo in MEMOS:
            memo.clear()
        fresh.append(understand(parse, head))
    other = reading.parse_response if parse is reading.parse_request else reading.parse_request
    for _ in range(4):              # what is remembered is so from the second time on, and a whole head later
        for head, expected in zip(heads, fresh):
            understand(other, head)
            assert understand(parse, head) == expected
