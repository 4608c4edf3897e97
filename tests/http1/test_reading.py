"""Octets to heads: what is read, refused early, counted and remembered."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import reading

GET = b'GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n'
OK = b'HTTP/1.1 200 OK\r\n'


# --- the beginning of a head

@pytest.mark.parametrize('check, head', [
    (reading.check_request_start, GET + b'X: \xff\t y\r\n\r\n'),
    (reading.check_request_start, b'CONNECT [::1]:443 HTTP/1.0\r\n\r\n'),
    (reading.check_response_start, OK + b'X: \xff\t y\r\n\r\n'),
    (reading.check_response_start, b'HTTP/1.1 200\r\n\r\n'),
])
def test_no_part_of_a_good_head_is_refused(check, head):
    for end in range(1, len(head) + 1):
        check(head[:end])


BAD_STARTS = [
    # (what judges it, what begins so, how many octets it takes to know)
    (reading.check_request_start, b'\x16\x03\x01', 1),
    (reading.check_request_start, b'GET / HTTP/1.1\nHost: a', 15),
    (reading.check_request_start, b'GET / HTTP/1.1\rHost: a', 16),
    (reading.check_request_start, b'GET /\r\nHost: a', 7),
    (reading.check_request_start, b'HTTP/1.1 200 OK\r\n', 5),
    (reading.check_request_start, b'GET / HTTQ/1.1\r\n', 10),
    (reading.check_request_start, b'GET / HTTP/1.1.1\r\n', 15),
    (reading.check_request_start, b'GET  / HTTP/1.1\r\n', 5),
    (reading.check_request_start, b' GET / HTTP/1.1\r\n', 1),
    (reading.check_request_start, b'GET\x80 / HTTP/1.1\r\n', 4),
    (reading.check_request_start, b'hello, world\r\n', 6),
    (reading.check_request_start, GET + b'X: a\nY: b', len(GET) + 5),
    (reading.check_request_start, GET + b'X: a\x00b', len(GET) + 5),
    (reading.check_response_start, b'SSH-2.0-OpenSSH_9.2\r\n', 1),
    (reading.check_response_start, b'HTTP-1.1 200 OK\r\n', 5),
    (reading.check_response_start, b'HTTP/1.1 OK\r\n', 13),
    (reading.check_response_start, OK + b'X: a\rb', len(OK) + 6),
]


@pytest.mark.parametrize('check, head, end', BAD_STARTS)
def test_a_bad_head_is_refused_as_soon_as_it_can_be_told(check, head, end):
    error = errors.BadRequest if check is reading.check_request_start else errors.BadResponse
    for size in range(1, end):
        check(head[:size])
    for size in range(end, len(head) + 1):
        with pytest.raises(error):
            check(head[:size])


@pytest.mark.parametrize('check, head, end', BAD_STARTS)
@pytest.mark.parametrize('step', [1, 2, 3, 7])
def test_a_bad_head_is_refused_as_early_if_its_beginning_was_checked_before(check, head, end, step):
    error = errors.BadRequest if check is reading.check_request_start else errors.BadResponse
    checked = 0
    for size in range(step, end, step):
        check(head[:size], checked)
        checked = size
    with pytest.raises(error):
        check(head[:checked + step], checked)


@pytest.mark.parametrize('start, parse, error', [
    (GET, reading.parse_request, errors.HeadTooLarge), (OK, reading.parse_response, errors.ResponseHeadTooLarge),
])
def test_field_lines_are_counted_before_one_of_them_is_parsed(start, parse, error):
    fields = start.count(b'\n') - 1
    assert len(parse(start + b'a:\r\n' * (10 - fields) + b'\r\n', 10).fields) == 10
    with pytest.raises(error) as raised:
        parse(start + b'a:\r\n' * (10 - fields) + b'no field\r\n\r\n', 10)
    assert str(raised.value) == 'the head has 11 fields, more than the 10 of [limits] fields'


def test_a_head_that_is_remembered_may_not_have_more_fields_than_today_are_allowed():
    head = GET + b'a: 1\r\nb: 2\r\n\r\n'
    assert [len(reading.parse_request(head).fields) for _ in range(5)] == [3] * 5
    assert head in reading.requests.heads
    with pytest.raises(errors.HeadTooLarge):
        reading.parse_request(head, 2)
