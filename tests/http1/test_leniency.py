"""What breaks the grammar and has one meaning: what becomes of it, and what its connection is good for afterwards."""
from __future__ import absolute_import, division, print_function

import base64
import gc
import re
import socket

import pytest

from geproxy import errors
from geproxy.http1 import grammar, leniency, reading
from helpers import ask, listening, proxying, read_until

OK = b'HTTP/1.1 200 OK\r\n'
DATE = b'Date: Tue, 14 Nov 2023 22:13:20 GMT'
CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'
SECOND = OK + DATE + b'\r\nContent-Length: 6\r\n\r\nsecond'
VIA = re.compile(br'(?:Date|Via): [^\r]*\r\n')
FIVE = b'Content-Length: 5\r\n\r\nhello'


def next_request(sock):
    """The octets of a request without a body; b'' at the end, which may be a reset."""
    try:
        return read_until(sock, b'\r\n\r\n')
    except socket.timeout:
        raise
    except socket.error:
        return b''


def exchange(first, request=b'GET'):
    """Two requests on one client connection; `first` is what the origin answers to the first -> (what the client got
    before the second answer, as lines without Date and Via; requests on each of the origin's connections)."""
    served = []

    def handle(sock):
        served.append(0)
        while next_request(sock):
            served[-1] += 1
            sock.sendall(first if served == [1] else SECOND)
    with listening(handle) as (host, port), proxying() as (address, _proxy):
        target = b' http://%s:%d/ HTTP/1.1\r\nHost: a\r\n' % (host.encode(), port)
        got = ask(address, request + target + b'\r\nGET' + target + b'Connection: close\r\n\r\n')
    head, end, rest = got.partition(b'\r\n\r\n')
    lines = [line for line in head.split(b'\r\n') if not line.startswith((b'Via:', b'Date:'))]
    body, _ok, second = rest.rpartition(OK)
    assert second.endswith(b'second')
    return b'\r\n'.join(lines) + end + VIA.sub(b'', body), served


CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n' + CHUNKS


@pytest.mark.parametrize('octets, got', [
    (OK + b'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n' + CHUNKS, CHUNKED),
    (OK + b'Content-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n' + CHUNKS, CHUNKED),
    (OK + b'Content-Length: 5\r\n' + FIVE, OK + FIVE),
    (OK + b'Content-Length: 5, 05\r\n\r\nhello', OK + FIVE),
    (OK + b'Transfer-Encoding: identity\r\n' + FIVE, OK + FIVE),
    (b'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n' + CHUNKS, CHUNKED),
    (b'HTTP/1.1 200 OK\nX: y\nContent-Length: 5\n\nhello', OK + b'X: y\r\n' + FIVE),
    (b'HTTP/1.1 200 OK\nX: y\r\nContent-Length: 7\n\n\r\n\r\nabc', OK + b'X: y\r\nContent-Length: 7\r\n\r\n\r\n\r\nabc'),
    (OK + b'X: y\r\n  z\r\n' + FIVE, OK + b'X: y z\r\n' + FIVE),
    (OK + b'X : y\r\n' + FIVE, OK + b'X: y\r\n' + FIVE),
    (OK + b'X: y\x0bz\x7f\r\n' + FIVE, OK + b'X: y z\r\n' + FIVE),
    (b'HTTP/1.1 200\tOK\r\n' + FIVE, OK + FIVE),
    (OK + b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\n\r\n',
     CHUNKED[:-2] + b'X: y\r\n\r\n'),
    (OK + FIVE + b'EXTRA', OK + FIVE),
    (b'HTTP/1.1 103 Early\nX: y\n\n' + OK + FIVE, b'HTTP/1.1 103 Early\r\nX: y\r\n\r\n' + OK + FIVE),
    (b'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello', b'HTTP/1.1 204 No Content\r\n\r\n'),
    (b'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n',
     b'HTTP/1.1 204 No Content\r\n\r\n'),
    (b'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n',
     b'HTTP/1.1 304 Not Modified\r\n\r\n'),
])
def test_an_odd_response_is_delivered_canonically_and_its_connection_not_used_again(octets, got):
    assert exchange(octets) == (got, [1, 1])


@pytest.mark.parametrize('line, got', [
    (b'Content-Length: 4\r\nContent-Length: 5\r\n', b''), (b'Transfer-Encoding: foo\r\n', b''),
    (b'Content-Length: x\r\n', b''), (b'Content-Length: 5\r\nContent-Length: 5\r\n', b'Content-Length: 5\r\n'),
])
def test_an_answer_to_head_ends_at_its_head_with_any_framing(line, got):
    assert exchange(OK + line + b'\r\n', b'HEAD') == (OK + got + b'\r\n', [1, 1])


@pytest.mark.parametrize('octets, got', [
    (OK + FIVE, OK + FIVE), (OK + b'Content-Length: 05\r\n\r\nhello', OK + FIVE),
    (OK + b'Transfer-Encoding: chunked\r\n\r\n5;a=' + b'x' * 2048 + b'\r\nhello\r\n0\r\n\r\n', CHUNKED),
    (b'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n',
     b'HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n'),
])
def test_a_response_that_breaks_no_rule_leaves_its_connection_open(octets, got):
    assert exchange(octets) == (got, [2])


def test_a_hundred_interim_responses_are_served_and_one_more_is_not():
    for count, status in ((100, b'200'), (101, b'502')):
        got, _served = exchange(b'HTTP/1.1 103 Early Hints\r\n\r\n' * count + OK + FIVE)
        assert got.count(b'HTTP/1.1 103 ') == 100
        assert got.count(b'HTTP/1.1 %s ' % status) == 1


@pytest.mark.parametrize('octets', [
    OK + b'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello', b'ICY 200 OK\r\n' + FIVE, OK + b'X(: y\r\n' + FIVE,
    OK + b' X: y\r\n' + FIVE, OK + b'X: y\rz\r\n' + FIVE, OK + b'X: y\0\r\n' + FIVE, OK + b'X\r\n' + FIVE,
    OK + b'Content-Length:\r\n 5\r\n\r\nhello', b'\r\n' + OK + FIVE, b'HTTP/2 200 OK\r\n' + FIVE, b'hello',
])
def test_a_response_with_more_than_one_meaning_is_a_502(octets):
    got, served = exchange(octets + b'\r\n\r\n')
    assert got.startswith(b'HTTP/1.1 502 ') and served == [1, 1]


@pytest.mark.parametrize('head, mended', [
    (b'HTTP/1.1 200 OK\n\n', OK + b'\r\n'),
    (b'HTTP/1.1 200 OK\r\nA:b\r\n\tc\r\n \r\n  d\r\nE  : f\r\n\r\n', OK + b'A:b c d\r\nE: f\r\n\r\n'),
    (b'HTTP/1.1 200 OK\r\nA: b\x01c\r\n\r\n', OK + b'A: b c\r\n\r\n'),
    (b'HTTP/1.1 200 OK\r\nA: b\tc\xe9\r\n\r\n', OK + b'A: b\tc\xe9\r\n\r\n'),
])
def test_a_head_is_mended_once_and_for_all(head, mended):
    assert leniency.mend_response(head) == (mended, b'')
    assert leniency.mend_response(mended) == (mended, b'')


def test_a_head_that_lf_ends_is_not_too_large_because_of_its_body():
    body = b'x' * 5000 + b'\r\n\r\n'

    def handle(sock):
        if next_request(sock):
            sock.sendall(b'HTTP/1.1 200 OK\nContent-Length: %d\n\n%s' % (len(body), body))
    with listening(handle) as (host, port), proxying('[limits]\nhead_size = 4k\n') as (address, _proxy):
        got = ask(address, b'GET http://%s:%d/ HTTP/1.1\r\nHost: a\r\n\r\n' % (host.encode(), port))
        assert got.startswith(OK) and got.endswith(b'\r\n\r\n' + body)


def test_octets_after_an_empty_line_of_lf_are_no_head():
    assert leniency.mend_response(b'HTTP/1.1 200 OK\nA: b\n\nC: d\r\n\r\n') == (OK + b'A: b\r\n\r\n', b'C: d\r\n\r\n')


def test_a_head_of_folds_alone_is_mended_in_no_time():
    head = OK + b'A: b\r\n' + b' \r\n' * 20000 + b' c\r\n\r\n'
    assert leniency.mend_response(head)[0] == OK + b'A: b c\r\n\r\n'


# --- targets

@pytest.mark.parametrize('target, cut, user', [
    (b'http://user:password@a/', b'http://a/', b'user:password'),
    (b'http://user@a/', b'http://a/', b'user:'),
    (b'http://:password@a/', b'http://a/', b':password'),
    (b'http://u:p:q@a:81/b?c', b'http://a:81/b?c', b'u:p:q'),
    (b'http://u%40x:p%3a%2f%C3%A9%zz%@a/', b'http://a/', b'u@x:p:/\xc3\xa9%zz%'),
    (b'http://u:%2540@a/', b'http://a/', b'u:%40'),
    (b'http://u:p@[::1]:81/', b'http://[::1]:81/', b'u:p'),
    (b'http://u:p@a?b@c', b'http://a?b@c', b'u:p'),
    (b'http://u:p@a#b@c', b'http://a', b'u:p'),
    (b'HTTP://u:p@a', b'HTTP://a', b'u:p'),
    (b'http://@a/', b'http://a/', None), (b'http://:@a/', b'http://a/', None),
    (b'http://a/#b', b'http://a/', None), (b'http://a#', b'http://a', None), (b'/a#b#c', b'/a', None),
    (b'http://a#@b/', b'http://a', None), (b'/a?b#c?d', b'/a?b', None),
])
def test_userinfo_and_fragment_are_cut_off_a_target(target, cut, user):
    credentials = b'' if user is None else b'Basic ' + base64.b64encode(user)
    assert leniency.mend_request(b'GET %s HTTP/1.1' % target, b'Host: b') == (
        b'GET %s HTTP/1.1' % cut, b'Host: b', credentials)


@pytest.mark.parametrize('line', [
    b'GET http://a/ HTTP/1.1', b'GET http://a/b@c HTTP/1.1', b'GET http://u@v@a/ HTTP/1.1', b'GET u@a HTTP/1.1',
    b'GET http://u\\@a/ HTTP/1.1', b'GET http://u@a\\b/ HTTP/1.1', b'CONNECT u:p@a:443 HTTP/1.1', b'GET /@a HTTP/1.1',
    b'OPTIONS *#a HTTP/1.1', b'GET ftp://u:p@a/ HTTP/1.1', b'CONNECT a:443#b HTTP/1.1', b'GET http://a/#b c HTTP/1.1',
])
def test_other_targets_are_left_alone(line):
    assert leniency.mend_request(line, b'') is None


@pytest.mark.parametrize('userinfo', [b'u%0d%0aX:p', b'u:%0A', b'%00:p', b'u%3ap:q', b'u:%7f', b'u:p%09', b'u:%1b'])
def test_userinfo_that_basic_cannot_carry_is_refused_and_not_shown(userinfo):
    with pytest.raises(errors.BadRequest) as raised:
        leniency.mend_request(b'GET http://%s@a/ HTTP/1.1' % userinfo, b'')
    assert 'Basic' in str(raised.value) and '%' not in str(raised.value)


@pytest.mark.parametrize('line, authorization', [
    (b'X: y', (b'Basic dTpwYXNz',)), (b'Authorization: Bearer x', (b'Bearer x',)), (b'authorization:', (b'',)),
    (b'Proxy-Authorization: Basic eDp5', (b'Basic dTpwYXNz',)),
])
def test_userinfo_becomes_authorization_where_there_is_none_and_is_remembered_nowhere(line, authorization):
    for _ in range(3):
        request = reading.parse_request(b'GET http://u:pass@a/#f HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n' % line)
        assert request.values(b'authorization') == authorization
        assert (request.url, request.target, request.host) == (b'http://a/', b'http://a/', b'a')
        assert request.write(b'').count(b'uthorization:') == 1
    for memo in (reading.requests.lines, reading.requests.sections, reading.requests.heads):
        assert not [key for key in list(memo) if b'u:pass' in key]


def test_a_field_that_a_client_names_for_one_hop_stays_so_when_its_userinfo_is_cut():
    request = reading.parse_request(b'GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\nConnection: x\r\nX: y\r\n\r\n')
    assert request.write(b'') == b'GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic dTpw\r\n\r\n'


@pytest.mark.parametrize('userinfo, line, good', [
    (b'u:p@', b'Host: u:p@a', True), (b'u:p@', b'hOST:\tu:p@a', True), (b'@', b'Host:@a', True),
    (b'u.*@', b'Host: u.*@a', True), (b'u.*@', b'Host: uxx@a', False),
    (b'u:p@', b'Host: u:q@a', False), (b'u:p@', b'Host: u:p@u:p@a', False), (b'', b'Host: u:p@a', False),
    (b'u:p@', b'Host: a\r\nHost: u:p@a', False), (b'u:p@', b'X: y\r\nHost: u:p@a b', False),
    # urllib decodes it there, and writes UTF-8 as Latin-1
    (b'u%40x:%70@', b'Host: u@x:p@a', True), (b'u:%C3%A4@', b'Host: u:\xe4@a', True),
    (b'u:%C3%A4@', b'Host: u:\xc3\xa4@a', True), (b'u:%E2%82%AC@', b'Host: u:\xe2\x82\xac@a', True),
    (b'u:%40@', b'Host: u:%40@a', True), (b'%20u:p@', b'Host:  u:p@a', True), (b'u:p@', b'Host: u:p@@a', False),
    (b'u:%40@', b'Host: u:@a', False), (b'u:%C3%A4@', b'Host: u:\xe5@a', False),
])
def test_host_may_repeat_the_userinfo_of_the_target_and_no_other(userinfo, line, good):
    head = b'GET http://%sa/ HTTP/1.1\r\n%s\r\n\r\n' % (userinfo, line)
    if good:
        reading.parse_request(head)
        reading.parse_request(head)
        assert not [key for key in grammar._field_lines if b'@' in key and key == line]
        assert reading.parse_request(head).write(b'').startswith(b'GET / HTTP/1.1\r\nHost: a\r\n')
    else:
        with pytest.raises(errors.BadRequest) as raised:
            reading.parse_request(head)
        assert 'u:p' not in str(raised.value)


def test_no_password_of_a_target_is_left_in_the_memory_of_patterns():
    secret = b'a-Secret-That-Stands-In-No-Other-Test'
    reading.parse_request(b'GET http://u:%s@a/ HTTP/1.1\r\nHost: u:%s@a\r\n\r\n' % (secret, secret))
    assert not [key for key in re._cache if 'Secret' in repr(key)]


def test_no_pattern_is_made_of_a_password():
    reading.parse_request(b'GET http://u:open-sesame@a/ HTTP/1.1\r\nHost: u:open-sesame@a\r\n\r\n')
    assert not any('open' in repr(key) and 'sesame' in repr(key) for key in list(re._cache))


def test_an_error_keeps_no_head_in_memory():
    gc.collect()
    gc.disable()
    try:
        for parse, head in ((reading.parse_request, b'GET http://u@v@a/ HTTP/1.1\r\nHost: a\r\n\r\n'),
                            (reading.parse_response, b'HTTP/1.1 200 OK\r\nX\r\n\r\n')):
            with pytest.raises(errors.ProxyError):
                parse(head)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, errors.ProxyError)]
    finally:
        gc.set_debug(0)
        del gc.garbage[:]
        gc.enable()
