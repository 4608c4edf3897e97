"""Request and response heads: what is understood, what is asked of them, and what goes on to the next hop."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import message, reading

GET = b'GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n'
OK = b'HTTP/1.1 200 OK\r\n'


def request(*lines):
    """A Request of a request line, or none for a plain GET, and field lines."""
    if not lines or b' HTTP/' not in lines[0]:
        lines = (b'GET http://a.example/x HTTP/1.1', b'Host: a.example') + lines
    return reading.parse_request(b'\r\n'.join(lines) + b'\r\n\r\n')


def response(*lines):
    """A Response of a status line, or none for a plain 200, and field lines."""
    if not lines or lines[0][:5] != b'HTTP/':
        lines = (b'HTTP/1.1 200 OK',) + lines
    return reading.parse_response(b'\r\n'.join(lines) + b'\r\n\r\n')


# --- what is understood

@pytest.mark.parametrize('line, host, form, authority, path, url', [
    (b'GET http://a.example/x HTTP/1.1', b'b.example', 'absolute', b'a.example', b'/x', b'http://a.example/x'),
    (b'GET http://A.example:81 HTTP/1.1', b'', 'absolute', b'a.example', b'/', b'http://A.example:81'),
    (b'GET /x HTTP/1.1', b'b.example', 'origin', b'b.example', b'/x', b'http://b.example/x'),
    (b'GET /x HTTP/1.0', b'B.example:', 'origin', b'b.example', b'/x', b'http://B.example/x'),
    (b'GET /x HTTP/1.1', b'[::1]:81', 'origin', b'::1', b'/x', b'http://[::1]:81/x'),
    (b'OPTIONS * HTTP/1.1', b'b.example:81', 'asterisk', b'b.example', b'*', b'http://b.example:81'),
    (b'OPTIONS http://a.example HTTP/1.1', b'b', 'absolute', b'a.example', b'*', b'http://a.example'),
    (b'CONNECT a.example:443 HTTP/1.1', b'b', 'authority', b'a.example', None, b'a.example:443'),
])
def test_a_request_goes_where_its_target_says_and_else_by_host(line, host, form, authority, path, url):
    found = request(line, b'Host: ' + host)
    assert (found.form, found.authority.host, found.path) == (form, authority, path)
    assert (found.url or found.url_for(b'http')) == url
    assert (found.method, found.target) == tuple(line.split(b' ')[:2])


@pytest.mark.parametrize('line, host, port', [
    (b'GET http://a/ HTTP/1.1', b'h:8080', 80), (b'GET http://a:/ HTTP/1.1', b'h:8080', 80),
    (b'GET http://a:0081/ HTTP/1.1', b'h:8080', 81), (b'CONNECT a:443 HTTP/1.1', b'h:8080', 443),
    (b'GET / HTTP/1.1', b'h:8080', 8080), (b'GET / HTTP/1.1', b'h', None), (b'OPTIONS * HTTP/1.1', b'h', None),
])
def test_the_port_is_that_of_the_target_or_of_host(line, host, port):
    assert request(line, b'Host: ' + host).port == port


def test_a_remembered_request_does_not_know_by_which_scheme_it_came():
    head = b'GET /x HTTP/1.1\r\nHost: b.example\r\n\r\n'
    again = [reading.parse_request(head) for _ in range(4)][-1]
    assert again is reading.parse_request(head)         # remembered by its octets
    assert again.url is again.port is None              # as it may come by TLS the next time
    assert again.url_for(b'http') == b'http://b.example/x' and again.url_for(b'https') == b'https://b.example/x'


@pytest.mark.parametrize('head, error', [
    (b'GET / HTTP/1.1\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.0\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\r\nHost:\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n', errors.BadRequest),
    (b'GET http://a/ HTTP/1.1\r\n\r\n', errors.BadRequest),
    (b'GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n', errors.BadRequest),
    (b'GET http://a/ HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n', errors.BadRequest),
    (b'GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n', errors.NotImplementedHere),
    (b'GET / HTTP/2.0\r\nHost: a\r\n\r\n', errors.VersionNotSupported),
    (b'GET / HTTP/0.9\r\nHost: a\r\n\r\n', errors.VersionNotSupported),
    (b'GET /\r\n\r\n', errors.BadRequest),
    (b'\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\nHost: a\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\r\nHost: a\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n', errors.BadRequest),
    (b'GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n', errors.BadRequest),
])
def test_a_doubtful_request_is_refused(head, error):
    with pytest.raises(errors.ProxyError) as raised:
        reading.parse_request(head)
    assert type(raised.value) is error


@pytest.mark.parametrize('line, version, status, reason', [
    (b'HTTP/1.1 200 OK', (1, 1), 200, b'OK'), (b'HTTP/1.0 404 Not Found', (1, 0), 404, b'Not Found'),
    (b'HTTP/1.9 100', (1, 9), 100, b''), (b'HTTP/1.1 999 \xff', (1, 1), 999, b'\xff'),
])
def test_a_response_has_a_version_a_status_and_a_reason(line, version, status, reason):
    found = response(line)
    assert (found.version, found.status, found.reason) == (version, status, reason)


@pytest.mark.parametrize('line', [
    b'HTTP/2.0 200 OK', b'HTTP/0.9 200 OK', b'HTTP/1.1 099 OK', b'HTTP/1.1 000 OK', b'HTTP/1.1 20 OK', b'HTTP/1.1 OK',
    b'HTTP/1.1 200 O\x00K',
])
def test_a_doubtful_response_is_refused(line):
    with pytest.raises(errors.BadResponse):
        response(line)


def test_blanks_before_a_colon_are_taken_away_in_responses():
    found = response(b'Content-Length : 5', b'X\t: y')
    assert found.values(b'content-length') == (b'5',)
    assert found.write(b'') == b'HTTP/1.1 200 OK\r\nX: y\r\n\r\n'


def test_a_refusal_is_printable_and_has_no_secrets():
    with pytest.raises(errors.BadRequest) as raised:
        request(b'GET http://user:secret@a/  HTTP/1.1')
    assert str(raised.value) == "invalid request line, which begins with 'GET'"


# --- what is asked

@pytest.mark.parametrize('lines, options', [
    ((), []), ((b'Connection:',), []), ((b'Connection: close',), [b'close']),
    ((b'Connection: Close, ,TE',), [b'close', b'te']), ((b'Connection: a', b'connection: b,A'), [b'a', b'b']),
])
def test_connection_options_are_one_list_in_lower_case(lines, options):
    assert sorted(request(*lines).options()) == options


@pytest.mark.parametrize('line, connection, persists', [
    (b'GET http://a/ HTTP/1.1', b'', True),
    (b'GET http://a/ HTTP/1.1', b'close', False),
    (b'GET http://a/ HTTP/1.1', b'x, CLOSE', False),
    (b'GET http://a/ HTTP/1.1', b'keep-alive', True),
    (b'GET http://a/ HTTP/1.2', b'', True),
    (b'GET http://a/ HTTP/1.0', b'', False),
    (b'GET http://a/ HTTP/1.0', b'keep-alive', False),
])
def test_a_clients_connection_persists_unless_it_says_close_or_is_old(line, connection, persists):
    assert request(line, b'Host: a', b'Connection: ' + connection).persists is persists


@pytest.mark.parametrize('line, connection, persists', [
    (b'HTTP/1.1 200 OK', b'', True), (b'HTTP/1.1 200 OK', b'Close', False), (b'HTTP/1.2 200 OK', b'', True),
    (b'HTTP/1.0 200 OK', b'', False), (b'HTTP/1.0 200 OK', b'Keep-Alive', True),
    (b'HTTP/1.1 200 OK', b'keep-alive, close', False),
    (b'HTTP/1.0 200 OK', b'keep-alive, close', False),
])
def test_an_origins_connection_persists_as_it_says(line, connection, persists):
    assert response(line, b'Connection: ' + connection).persists is persists


@pytest.mark.parametrize('method, repeatable', [
    (b'GET', True), (b'HEAD', True), (b'OPTIONS', True), (b'TRACE', True), (b'PUT', True), (b'DELETE', True),
    (b'POST', False), (b'PATCH', False), (b'get', False), (b'UNHEARD-OF', False),
])
def test_only_idempotent_methods_are_repeatable(method, repeatable):
    assert request(method + b' http://a/ HTTP/1.1', b'Host: a').repeatable is repeatable


@pytest.mark.parametrize('version, lines, expects', [
    (b'1.1', (), False), (b'1.1', (b'Expect: 100-continue',), True), (b'1.1', (b'expect: 100-CONTINUE',), True),
    (b'1.1', (b'Expect:',), False), (b'1.0', (b'Expect: 100-continue',), False),
    (b'1.1', (b'Expect: 100-continue', b'Expect: 100-continue'), True),
])
def test_only_http_1_1_expects_100(version, lines, expects):
    assert request(b'POST http://a/ HTTP/' + version, b'Host: a', *lines).expects is expects


@pytest.mark.parametrize('lines, unmet', [
    ((), None), ((b'Expect: 100-continue',), None), ((b'Expect: Magic',), b'magic'),
    ((b'Expect: 100-continue, magic',), b'magic'), ((b'Expect: 100 continue',), b'100 continue'),
])
def test_no_other_expectation_is_met(lines, unmet):
    assert request(*lines).unmet == unmet


@pytest.mark.parametrize('method, lines, hops', [
    (b'OPTIONS', (), None), (b'OPTIONS', (b'Max-Forwards: 0',), 0), (b'TRACE', (b'Max-Forwards: 010',), 10),
    (b'GET', (b'Max-Forwards: 0',), None), (b'GET', (b'Max-Forwards: x',), None),
])
def test_max_forwards_counts_for_options_and_trace(method, lines, hops):
    assert request(method + b' http://a/ HTTP/1.1', b'Host: a', *lines).hops == hops


@pytest.mark.parametrize('lines', [
    (b'Max-Forwards:',), (b'Max-Forwards: -1',), (b'Max-Forwards: 1, 1',), (b'Max-Forwards: 1', b'Max-Forwards: 1'),
    (b'Max-Forwards: 1_0',),
])
def test_max_forwards_is_one_number(lines):
    with pytest.raises(errors.BadRequest):
        request(b'TRACE http://a/ HTTP/1.1', b'Host: a', *lines)


@pytest.mark.parametrize('lines, names', [
    ((), []), ((b'Via: 1.1 a',), [b'a']), ((b'Via: 1.0 A, 1.1 b:80 (x)', b'Via: HTTP/1.1 c'), [b'a', b'b:80', b'c']),
    ((b'Via: broken', b'Via: 1.1\td'), [b'd']),
])
def test_via_names_the_proxy_that_passed_a_message_on(lines, names):
    found = request(*lines)
    assert [name for name in (b'1.1', b'a', b'b:80', b'c', b'd', b'broken') if found.passed_by(name)] == names


@pytest.mark.parametrize('version, lines, offers', [
    (b'1.1', (), b''),
    (b'1.1', (b'Upgrade: websocket',), b''),
    (b'1.1', (b'Upgrade: websocket', b'Connection: upgrade'), b'websocket'),
    (b'1.1', (b'Upgrade: websocket', b'Connection: keep-alive, Upgrade'), b'websocket'),
    (b'1.0', (b'Upgrade: websocket', b'Connection: upgrade'), b''),
    (b'1.1', (b'Upgrade: h2c', b'Connection: upgrade, http2-settings'), b''),
    (b'1.1', (b'Upgrade: a/1, H2C,b', b'Upgrade: c', b'Connection: upgrade'), b'a/1, b, c'),
    (b'1.1', (b'Connection: upgrade',), b''),
    (b'1.1', (b'Upgrade: h2c/1, "h2c", h2c-14, H2C-17, h2c/a/b', b'Connection: upgrade'), b''),
    (b'1.1', (b'Upgrade: "websocket"', b'Connection: upgrade'), b''),
    (b'1.1', (b'Upgrade: websocket, "a, b", c d, e/, /f, g/1', b'Connection: upgrade'), b'websocket, g/1'),
])
def test_an_upgrade_is_offered_by_two_fields_and_is_never_h2c(version, lines, offers):
    assert request(b'GET http://a/ HTTP/' + version, b'Host: a', *lines).wants_upgrade() == offers


@pytest.mark.parametrize('value, allowed, offers', [
    (b'WebSocket', {b'websocket'}, b'WebSocket'),
    (b'websocket/13, tls/1.0', {b'websocket'}, b'websocket/13'),
    (b'foo', {b'websocket'}, b''),
    (b'foo, websocket', {b'websocket', b'foo'}, b'foo, websocket'),
    (b'foo, websocket', frozenset(), b''),
    (b'foo', None, b'foo'),
    (b'"websocket", web socket, websocket/, /1, websocket/1/2', None, b''),
    (b'h2c/1, "h2c", h2c-14, H2C, h2c/"1", "a, h2c", h2c;x, websocket', None, b'websocket'),
])
def test_protocols_are_offered_that_may_be_and_are_some(value, allowed, offers):
    asked = request(b'GET http://a/ HTTP/1.1', b'Host: a', b'Connection: upgrade', b'Upgrade: ' + value)
    assert asked.wants_upgrade(allowed) == offers
    head = asked.write(b'', upgrades=allowed)
    assert (b'\r\nUpgrade: %s\r\n' % offers in head) if offers else b'pgrade' not in head


def test_of_many_protocols_in_upgrade_only_the_first_are_looked_at():
    asked = request(b'GET http://a/ HTTP/1.1', b'Host: a', b'Connection: upgrade',
                    b'Upgrade: ' + b'x,' * (message.OFFERS - 1) + b'websocket, late')
    assert asked.wants_upgrade(frozenset([b'websocket', b'late'])) == b'websocket'


# --- what goes on

def written(lines, framing=b'', via=b'', settled=frozenset()):
    """The field lines that a plain GET with these goes on with, Host left out."""
    head = request(*lines).write(framing, via, settled)
    start, end = b'GET /x HTTP/1.1\r\nHost: a.example\r\n', b'\r\n'
    assert head.startswith(start) and head.endswith(end)
    return head[len(start):-len(end)].split(b'\r\n')[:-1]


@pytest.mark.parametrize('lines, passed', [
    ([], []),
    ([b'X-A:1', b'x-a: 2 ', b'X-A:\t1'], [b'X-A: 1', b'x-a: 2', b'X-A: 1']),
    ([b'X-E:'], [b'X-E: ']),
    ([b'X-O: \xff\x80'], [b'X-O: \xff\x80']),
    ([b'Connection: close', b'Proxy-Connection: keep-alive', b'Keep-Alive: timeout=5'], []),
    ([b'Connection: X-A', b'X-A: 1', b'x-a: 2', b'X-B: 3'], [b'X-B: 3']),
    ([b'X-A: 1', b'Connection: x-a'], []),
    ([b'TE: trailers', b'Connection: TE'], []),
    ([b'TE: trailers'], []),
    ([b'Trailer: X-Sum'], [b'Trailer: X-Sum']),
    ([b'Proxy-Authorization: Basic x', b'Authorization: Basic y'], [b'Authorization: Basic y']),
    ([b'Upgrade: websocket'], []),
    ([b'Upgrade: websocket', b'Connection: Upgrade, X', b'X: y'], [b'Upgrade: websocket', b'Connection: Upgrade']),
    ([b'Connection: Upgrade', b'Upgrade: h2c'], []),
    ([b'Max-Forwards: 3'], [b'Max-Forwards: 3']),
    ([b'Expect: 100-continue'], [b'Expect: 100-continue']),
    ([b'Via: 1.0 b'], [b'Via: 1.0 b']),
])
def test_fields_go_on_but_those_of_one_hop(lines, passed):
    assert written(lines) == passed


@pytest.mark.parametrize('lines, framing, passed', [
    ([b'Content-Length: 005'], b'Content-Length: 5\r\n', [b'Content-Length: 5']),
    ([b'X: y', b'Content-Length: 5', b'Z: z'], b'Content-Length: 5\r\n', [b'X: y', b'Content-Length: 5', b'Z: z']),
    ([b'Content-Length: 5', b'Connection: content-length'], b'Content-Length: 5\r\n', [b'Content-Length: 5']),
    ([b'Transfer-Encoding: Chunked', b'Connection: transfer-encoding'], b'Transfer-Encoding: chunked\r\n',
     [b'Transfer-Encoding: chunked']),
    ([b'Content-Length: 5'], b'', []),
    ([b'X: y'], b'Transfer-Encoding: chunked\r\n', [b'X: y', b'Transfer-Encoding: chunked']),
])
def test_framing_is_written_anew_even_if_connection_names_it(lines, framing, passed):
    assert written(lines, framing) == passed


def test_via_is_added_behind_the_others():
    assert written([b'Via: 1.0 a', b'X: y'], via=b'1.1 geproxy') == [b'Via: 1.0 a', b'X: y', b'Via: 1.1 geproxy']


def test_settled_fields_do_not_go_on():
    assert written([b'Expect: 100-continue', b'X: y'], settled=frozenset([b'expect'])) == [b'X: y']


@pytest.mark.parametrize('lines, head', [
    ((b'GET http://A.example:81/b HTTP/1.0',), b'GET /b HTTP/1.1\r\nHost: A.example:81\r\n\r\n'),
    ((b'GET http://a.example:/ HTTP/1.1', b'X: y', b'hOST: b.example'),
     b'GET / HTTP/1.1\r\nX: y\r\nHost: a.example\r\n\r\n'),
    ((b'GET / HTTP/1.1', b'Host: a.example:0080', b'Connection: host'),
     b'GET / HTTP/1.1\r\nHost: a.example:80\r\n\r\n'),
    ((b'GET //b.example/ HTTP/1.1', b'Host: a.example'), b'GET //b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n'),
    ((b'OPTIONS http://a HTTP/1.1', b'Host: b'), b'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n'),
    ((b'OPTIONS * HTTP/1.1', b'Host: b', b'Max-Forwards: 3'),
     b'OPTIONS * HTTP/1.1\r\nHost: b\r\nMax-Forwards: 2\r\n\r\n'),
    ((b'TRACE http://a/ HTTP/1.1', b'Max-Forwards: 1', b'Host: a', b'Connection: max-forwards'),
     b'TRACE / HTTP/1.1\r\nMax-Forwards: 0\r\nHost: a\r\n\r\n'),
])
def test_a_request_is_written_in_origin_form_for_the_host_it_goes_to(lines, head):
    assert request(*lines).write(b'') == head


@pytest.mark.parametrize('lines, head', [
    ((b'GET http://A.example:81/b HTTP/1.0',), b'GET http://A.example:81/b HTTP/1.1\r\n%sHost: A.example:81\r\n\r\n'),
    ((b'GET http://a.example?b HTTP/1.1', b'X: y', b'Host: b', b'Proxy-Authorization: Basic x'),
     b'GET http://a.example/?b HTTP/1.1\r\n%sX: y\r\nHost: a.example\r\n\r\n'),
    ((b'GET //b/ HTTP/1.1', b'Host: [::1]:80'), b'GET http://[::1]:80//b/ HTTP/1.1\r\n%sHost: [::1]:80\r\n\r\n'),
    ((b'OPTIONS http://a HTTP/1.1', b'Host: b'), b'OPTIONS http://a HTTP/1.1\r\n%sHost: a\r\n\r\n'),
    ((b'OPTIONS * HTTP/1.1', b'Host: b:81'), b'OPTIONS http://b:81 HTTP/1.1\r\n%sHost: b:81\r\n\r\n'),
    ((b'OPTIONS http://a/ HTTP/1.1', b'Host: b'), b'OPTIONS http://a/ HTTP/1.1\r\n%sHost: a\r\n\r\n'),
])
@pytest.mark.parametrize('line', [b'', b'Proxy-Authorization: Basic secret\r\n'])
def test_for_a_parent_a_request_is_written_in_absolute_form(lines, head, line):
    made = request(*lines)
    for _ in range(2):
        assert made.write_absolute(line, b'') == head % line
    assert not any(b'secret' in part for part in made._written if isinstance(part, bytes))      # it is not remembered


def test_for_a_parent_the_secrets_of_the_client_go_on_and_the_rest_is_written_as_for_an_origin():
    made = request(b'POST http://a/x HTTP/1.1', b'Host: a', b'Cookie: c', b'Content-Length: 5', b'Expect: 100-continue')
    for arguments in ((b'Content-Length: 5\r\n', b'1.1 me'), (b'Content-Length: 5\r\n', b'', frozenset([b'expect']))):
        plain = made.write(*arguments)
        assert made.write_absolute(b'', *arguments) == plain.replace(b'POST /x', b'POST http://a/x')
        assert b'Cookie: c\r\n' in plain


@pytest.mark.parametrize('lines, arguments, head', [
    ((), {}, OK),
    ((b'HTTP/1.0 404 Not Found',), {}, b'HTTP/1.1 404 Not Found\r\n'),
    ((b'HTTP/1.1 200',), {}, b'HTTP/1.1 200 \r\n'),
    ((b'Set-Cookie: a', b'Set-Cookie: b'), {}, OK + b'Set-Cookie: a\r\nSet-Cookie: b\r\n'),
    ((b'Connection: close', b'Keep-Alive: x', b'Content-Length: 5'), {}, OK),
    ((b'Content-Length: 05', b'X: y'), {'framing': b'Content-Length: 5\r\n'}, OK + b'Content-Length: 5\r\nX: y\r\n'),
    ((b'Connection: close',), {'close': True}, OK + b'Connection: close\r\n'),
    ((b'X: y',), {'close': True}, OK + b'X: y\r\nConnection: close\r\n'),
    ((b'X: y',), {'via': b'1.1 g'}, OK + b'X: y\r\nVia: 1.1 g\r\n'),
    ((b'X: y',), {'date': b'now'}, OK + b'X: y\r\nDate: now\r\n'),
    ((b'Date: then',), {'date': b'now'}, OK + b'Date: then\r\n'),
    ((b'Date: then', b'Connection: date'), {'date': b'now'}, OK + b'Date: now\r\n'),
    ((b'Upgrade: websocket', b'Connection: upgrade'), {}, OK),
    ((b'Upgrade: websocket', b'Connection: upgrade'), {'upgrade': b'websocket'},
     OK + b'Upgrade: websocket\r\nConnection: Upgrade\r\n'),
    ((b'Upgrade: a',), {'upgrade': b'a', 'close': True}, OK + b'Upgrade: a\r\nConnection: close, Upgrade\r\n'),
    ((b'Proxy-Authenticate: Basic', b'WWW-Authenticate: Basic'), {}, OK + b'WWW-Authenticate: Basic\r\n'),
    ((b'Proxy-Authentication-Info: x',), {}, OK),
])
def test_a_response_is_written_anew(lines, arguments, head):
    assert response(*lines).write(**dict({'framing': b''}, **arguments)) == head + b'\r\n'


def test_a_head_is_written_again_for_other_arguments():
    lines = b'Host: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n'
    one, other = (reading.parse_request(b'POST http://%s/ HTTP/1.1\r\n' % host + lines) for host in (b'h', b'other'))
    length, expect = b'Content-Length: 1\r\n', frozenset([b'expect'])
    for _ in range(2):                      # whichever was the last
        assert b'\r\nHost: h\r\nContent-Length: 1\r\nExpect: ' in one.write(length)
        assert b'\r\nHost: other\r\nContent-Length: 1\r\nExpect: ' in other.write(length)
        assert b'\r\nHost: other\r\nExpect: ' in other.write(b'')
        assert b'Expect' in other.write(length) and b'Expect' not in other.write(length, settled=expect)
