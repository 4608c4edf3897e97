"""Whatever geproxy forwards is read the same by an independent parser (h11) as by ours; cases nobody thought of."""
from __future__ import absolute_import, division, print_function

import collections
import re

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_heads import BAD, GOOD, decode, read_request, read_response

from geproxy import errors
from geproxy.http1 import chunks, framing, grammar

EVERY_TIME_THE_SAME = dict(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(max_examples=50, **EVERY_TIME_THE_SAME)
many = settings(max_examples=100, **EVERY_TIME_THE_SAME)

# What a parser says of a message: start line, (name in lower case, value) of each field, body, trailer fields.
Read = collections.namedtuple('Read', 'start fields body trailers')
VIA = b'1.1 geproxy-1'
find_high = re.compile(br'[\x80-\xff]').search


# --- what goes on, written as handler and forward do

def write_request(message):
    """A test_heads.Message that a client sent -> the octets that its origin gets."""
    line = b'' if message.body is None else message.body.framing
    return message.head.write(line, VIA) + message.content


def write_response(message, version):
    """A test_heads.Message that an origin sent -> the octets that a client of that version gets."""
    response, body, chunked = message.head, message.body, False
    if body is None:
        line = b'' if response.status < 200 else framing.bodiless_framing(response, version)
    elif isinstance(body, framing.Sized):
        line = body.framing
    else:
        chunked = version >= (1, 1)
        line = chunks.CHUNKED_LINE if chunked else b''
    content = message.content
    if body is not None and body.framing == chunks.CHUNKED_LINE and not chunked:
        content = decode(content)
    elif chunked and isinstance(body, framing.UntilClose):
        content = (chunks.encode_chunk(content) if content else b'') + chunks.last_chunk(b'')
    return response.write(line, VIA, b'Tue, 14 Nov 2023 22:13:20 GMT') + content


# --- the same octets, read twice

def read_by_h11(connection, octets):
    """Feed h11 one message and the end -> Read; whatever is left over is an error."""
    connection.receive_data(octets)
    connection.receive_data(b'')
    start, fields, body, trailers = None, None, b'', []
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            start, fields = (event.method, event.target), event.headers
        elif isinstance(event, (h11.Response, h11.InformationalResponse)):
            start, fields = (event.status_code, event.reason), event.headers
            if isinstance(event, h11.InformationalResponse):
                break
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            trailers = event.headers
            break
        else:
            raise AssertionError('h11 says %r' % (event,))
    assert connection.trailing_data[0] == b''
    return Read(start, [(bytes(name), bytes(value)) for name, value in fields], body,
                [(bytes(name), bytes(value)) for name, value in trailers])


def read_by_ours(message):
    """A test_heads.Message -> Read."""
    head, body, content, trailers = message.head, message.body, message.content, b''
    if body is not None and body.framing == chunks.CHUNKED_LINE:
        content, trailers = decode(content), body.trailers
    fields, _index = grammar.parse_fields(trailers.split(b'\r\n')[:-1], errors.BadRequest)
    start = (head.method, head.target) if hasattr(head, 'method') else (head.status, head.reason)
    return Read(start, [(lower, values[0]) for lower, values, _line in head.fields], content,
                [(lower, values[0]) for lower, values, _line in fields])


def check_request(octets):
    """What a client may send -> True if it went on, and was read alike; False if it was refused."""
    try:
        message = read_request(octets)
    except errors.ProxyError as error:
        check_refusal(error)
        return False
    if message.head.method == b'CONNECT' or message.head.hops == 0:
        return False                        # nothing of it goes on
    written = write_request(message)
    ours = read_request(written)
    if find_high(message.head.path):        # h11 refuses them
        assert ours.head.path == message.head.path and ours.head.fields[0] == message.head.fields[0]
        return True
    theirs = read_by_h11(h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), written)
    assert theirs == read_by_ours(ours)
    check_meaning(message, theirs)
    assert theirs.start == (message.head.method, message.head.path)
    assert [value for name, value in theirs.fields if name == b'host'] == [message.head.authority.text]
    assert ours.rest == b''
    return True


def check_response(octets, method, version):
    """The same for what an origin may send in answer to `method` of a client of that version."""
    try:
        message = read_response(octets, method)
    except errors.ProxyError as error:
        check_refusal(error)
        return False
    if message.head.status == 101 or method == b'CONNECT':
        return False                        # a tunnel follows
    if message.head.status > 599:
        return False                        # an old h11 knows none
    written = write_response(message, version)
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target=b'/', headers=[(b'Host', b'a')]))
    client.send(h11.EndOfMessage())
    theirs, ours = read_by_h11(client, written), read_response(written, method)
    assert theirs == read_by_ours(ours)
    check_meaning(message, theirs)
    assert theirs.start == (message.head.status, message.head.reason)
    assert ours.rest == b''
    return True


def check_meaning(message, read):
    """What goes on means what came: its body, and its fields but those of one hop."""
    assert read.body == read_by_ours(message).body
    own = {b'connection', b'upgrade', b'content-length', b'transfer-encoding', b'host', b'via', b'date',
           b'max-forwards'}
    named = message.head.options()
    came = [(lower, values[0]) for lower, values, _line in message.head.fields if lower not in own | named]
    went = [field for field in read.fields if field[0] not in own]
    hop = (b'proxy-connection', b'keep-alive', b'te', b'proxy-authorization', b'proxy-authenticate',
           b'proxy-authentication-info')
    assert went == [field for field in came if field[0] not in hop]
    assert not [name for name, _value in read.fields if name in named - own]


def check_refusal(error):
    """What is said about octets from elsewhere is one line of plain text."""
    assert re.match(r'[ -~]+\Z', str(error))


# --- plausible messages

TOKEN = b"!#$%&'*+-.^_`|~09azAZ"


def octets_of(alphabet, least=0, most=12):
    """Octets made of these."""
    table = (alphabet * 256)[:256]          # faster than drawing each from the alphabet
    # One more than asked for: hypothesis compares choices, and under -bb may not meet b'' where 0 was.
    return st.binary(min_size=least + 1, max_size=most + 1).map(lambda octets: octets[1:].translate(table))


tokens = octets_of(TOKEN, 1)
values = st.one_of(octets_of(b'ab,;="\\ \t:/\x21\x7e\x80\x85\xa0\xff'), st.sampled_from([
    b'close', b'keep-alive, X-Name', b'upgrade', b'TE, Host', b'content-length', b'transfer-encoding, Connection',
    b'websocket', b'h2c, websocket', b'gzip', b'1.1 geproxy', b'0', b'3', b'100-continue', b'trailers',
    b'a\x00b', b'\x7f']))
names = st.one_of(tokens, st.sampled_from([
    b'X-Name', b'x-name', b'Connection', b'connection', b'Proxy-Connection', b'Keep-Alive', b'TE', b'Trailer',
    b'Upgrade', b'Via', b'Expect', b'Max-Forwards', b'Proxy-Authorization', b'Proxy-Authenticate', b'Cookie', b'Date',
    b'Content-Type', b'Content_Length', b'Content-Length-', b'Transfer-Encoding-X', b'X-Transfer-Encoding']))
blanks = st.sampled_from([b'', b' ', b'\t', b' \t '])
a_line = st.tuples(names, st.just(b':'), blanks, values, blanks, st.just(b'\r\n')).map(b''.join)
field_lines = st.lists(a_line, max_size=5)
anything = octets_of(bytes(bytearray(range(256))), most=60)
bodies = st.one_of(anything, st.sampled_from([b'0\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', b'\n' * 300]))
paths = octets_of(b'/?:@%&=+$,;!*\'()~"<>\\^`{|}[]._-aZ0').map(lambda octets: b'/' + octets)
hosts = st.sampled_from([
    b'a.example', b'A.Example:8080', b'[::1]:81', b'192.0.2.1', b'a.example:', b'x_y.example.:00080'])
reasons = octets_of(b'aZ \t\x80\xff:').map(lambda octets: b' ' + octets)
framings = st.sampled_from(['none', 'length', 'chunked'])


@st.composite
def framed(draw, start, lines):
    """A message of this start line and these field lines, with a body framed in one way or the other."""
    kind, content = draw(framings), draw(bodies)
    lines = list(lines)
    if lines and draw(st.booleans()):
        lines.append(b'Connection: %s\r\n' % draw(st.sampled_from(lines)).partition(b':')[0])
    if kind == 'length':
        lines.append(draw(st.sampled_from([b'Content-Length: %d\r\n', b'content-length:0%d\r\n'])) % len(content))
    elif kind == 'chunked':
        lines.append(draw(st.sampled_from([b'Transfer-Encoding: chunked\r\n', b'transfer-encoding:CHUNKED\t\r\n'])))
        cut = draw(st.integers(0, len(content)))
        extension = draw(st.sampled_from([b'', b';a', b' ; a = "b;\\"c" ;d=e']))
        pieces = filter(None, (content[:cut], content[cut:]))
        chunks = [b'%X%s\r\n%s\r\n' % (len(piece), extension, piece) for piece in pieces]
        content = b''.join(chunks + [b'00', extension, b'\r\n'] + draw(field_lines) + [b'\r\n'])
    else:
        content = b''
    return b''.join([start] + draw(st.permutations(lines)) + [b'\r\n', content])


@st.composite
def requests(draw):
    """The octets of a request that is mostly good."""
    method = draw(st.one_of(st.sampled_from([b'GET', b'POST', b'HEAD', b'OPTIONS', b'TRACE', b'DELETE']), tokens))
    host, path = draw(hosts), draw(paths)
    target = draw(st.sampled_from([
        path, b'http://' + host + path, b'HTTP://' + host, b'http://' + host + b'?' + path, b'*']))
    start = b'%s %s HTTP/1.%d\r\n' % (method, target, draw(st.sampled_from([0, 1, 1, 1, 2])))
    return draw(framed(start, [b'Host: ' + host + b'\r\n'] + draw(field_lines)))


@st.composite
def responses(draw):
    """The octets of a response that is mostly good."""
    status = draw(st.sampled_from([100, 103, 200, 201, 204, 205, 206, 301, 304, 404, 426, 500, 599]))
    reason = draw(st.one_of(st.sampled_from([b'', b' ', b' OK']), reasons))
    start = b'HTTP/1.%d %d%s\r\n' % (draw(st.sampled_from([0, 1, 1, 2])), status, reason)
    return draw(framed(start, draw(field_lines)))


# --- and what has been tampered with

INSERTED = [
    b'\r', b'\n', b'\r\n', b'\x00', b' ', b'\t', b':', b',', b';', b'"', b'\\', b'0', b'1', b'9', b'f', b'g', b'\x80',
    b'\xff', b'\x0b', b'\x85', b'\xa0', b'@', b'#', b'//', b'[', b'-', b'_', b'+', b'chunked', b'Content-Length: 5\r\n',
    b'Transfer-Encoding: chunked\r\n', b'Connection: close\r\n', b'Host: b.example\r\n', b'\r\n x', b'HTTP/1.1',
    b'0\r\n\r\n', b'GET /b HTTP/1.1\r\nHost: b.example\r\n\r\n']


@st.composite
def tampered(draw, kind):
    """A case of the corpus, in which pieces were put in, left out, doubled or taken from another case."""
    cases = [case.octets for case in draw(st.sampled_from([GOOD, GOOD, GOOD, BAD]))
             if case.kind == kind and len(case.octets) < 1000]

    def number(most):
        return draw(st.integers(0, 0xffff)) % (most + 1)        # anywhere: alone it would mostly be near to 0
    octets = cases[number(len(cases) - 1)]
    for _ in range(draw(st.integers(1, 2))):
        at = number(len(octets))
        end = min(len(octets), at + number(3))
        how = draw(st.sampled_from(['put', 'put', 'leave', 'double', 'line', 'line', 'splice']))
        if how == 'put':
            octets = octets[:at] + INSERTED[number(len(INSERTED) - 1)] + octets[end:]
        elif how == 'leave':
            octets = octets[:at] + octets[end:]
        elif how == 'double':
            octets = octets[:end] + octets[at:end] + octets[end:]
        elif how == 'line':
            lines = octets.split(b'\r\n')
            others = cases[number(len(cases) - 1)].split(b'\r\n')
            lines.insert(1 + number(len(lines) - 1), others[number(len(others) - 1)])
            octets = b'\r\n'.join(lines)
        else:
            other = cases[number(len(cases) - 1)]
            octets = octets[:at] + other[number(len(other)):]
    return octets


# --- the properties

def test_the_corpus_goes_on_as_both_read_it():
    went_on = collections.Counter()
    for case in GOOD:
        if case.kind == 'request':
            went_on[case.kind] += check_request(case.octets)
        else:
            went_on[case.kind] += check_response(case.octets, case.method, (1, 1))
    assert went_on['request'] > 70 and went_on['response'] > 30


@many
@given(requests())
def test_a_request_goes_on_as_both_read_it(octets):
    check_request(octets)


@many
@given(responses(), st.sampled_from([b'GET', b'HEAD', b'POST']), st.sampled_from([(1, 0), (1, 1)]))
def test_a_response_goes_on_as_both_read_it(octets, method, version):
    check_response(octets, method, version)


@many
@given(tampered('request'))
def test_a_request_that_was_tampered_with_is_refused_or_goes_on_as_both_read_it(octets):
    check_request(octets)


@many
@given(tampered('response'), st.sampled_from([b'GET', b'HEAD', b'POST']), st.sampled_from([(1, 0), (1, 1)]))
def test_a_response_that_was_tampered_with_is_refused_or_goes_on_as_both_read_it(octets, method, version):
    check_response(octets, method, version)


@few
@given(anything)
def test_random_octets_are_only_refused(octets):
    check_request(octets)
    check_response(octets, b'GET', (1, 1))
