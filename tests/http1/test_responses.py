"""The responses of the proxy itself: well formed, short, in plain ASCII, and without secrets."""
from __future__ import absolute_import, division, print_function

import calendar
import email.utils
import re
import time

import pytest

from geproxy import errors
from geproxy.http1 import grammar, reading, responses

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value is not errors.WrongProtocol]

# RFC 9209, 2.3
REGISTERED = set('''
    dns_timeout dns_error destination_not_found destination_unavailable destination_ip_prohibited
    destination_ip_unroutable connection_refused connection_terminated connection_timeout connection_read_timeout
    connection_write_timeout connection_limit_reached tls_protocol_error tls_certificate_error tls_alert_received
    http_request_error http_request_denied http_response_incomplete http_response_header_section_size
    http_response_header_size http_response_body_size http_response_trailer_section_size http_response_trailer_size
    http_response_transfer_coding http_response_content_coding http_response_timeout http_upgrade_failed
    http_protocol_error proxy_internal_response proxy_internal_error proxy_configuration_error proxy_loop_detected
'''.split())


def parse(octets):
    """Octets of a response -> (Response, body)."""
    head, end, body = octets.partition(b'\r\n\r\n')
    return reading.parse_response(head + end), body


def failure(error, method=b'GET', close=False):
    """The same for a failure."""
    return parse(responses.failure(error, 'geproxy-1', 'abc-1', method, close))


@pytest.mark.parametrize('each', CLASSES, ids=lambda each: each.__name__)
def test_every_failure_response_has_the_message_the_reason_and_the_request_id(each):
    response, body = failure(each('port 25 is not open'))
    assert (response.version, response.status, response.reason) == ((1, 1), each.status, b'port 25 is not open')
    assert response.values(b'content-length') == (b'%d' % len(body),)
    assert response.values(b'content-type') == (b'text/plain; charset=us-ascii',)
    assert response.values(b'cache-control') == (b'no-store',)
    assert not response.values(b'connection')
    lines = body.decode('ascii').splitlines()
    assert list(filter(None, lines)) == ['geproxy: port 25 is not open'] + [each.hint] * bool(each.hint) + [
        'reason: ' + each.token, 'request id: abc-1']


def test_what_a_parent_said_is_shown_without_octets_that_could_do_harm_and_not_without_end():
    response, body = failure(errors.ParentRefused('parent a.corp:3128 answered 403 No to CONNECT b:443', 403, 'Blocked\r\n\x1b[31m'))
    assert response.status == 403
    assert body.splitlines()[:2] == [
        b'geproxy: parent a.corp:3128 answered 403 No to CONNECT b:443', b'The parent says: Blocked???[31m']
    assert len(failure(errors.ParentRefused('no', 403, 'x' * 100000))[1]) < 3000


@pytest.mark.parametrize('each', CLASSES, ids=lambda each: each.__name__)
def test_proxy_status_gives_an_error_type_that_the_rfc_knows(each):
    response, _body = failure(each('what'))
    (status,) = response.values(b'proxy-status')
    match = re.match(br'geproxy-1; error=([a-z_]+); details="what"; request-id="abc-1"\Z', status)
    token = match.group(1).decode('ascii')
    assert token in REGISTERED
    assert token == each.token or each.token not in REGISTERED


@pytest.mark.parametrize('error, kind', [
    (errors.ParentFailed('what'), b'destination_unavailable'),
    (errors.ParentRefused('what'), b'destination_unavailable'),
    (errors.ParentRefused('what', 403), b'destination_unavailable'),
    (errors.ParentLoginFailed('what'), b'proxy_configuration_error'),
])
def test_proxy_status_does_not_say_that_a_parent_was_not_asked(error, kind):
    response, _body = failure(error)
    (status,) = response.values(b'proxy-status')
    assert status.startswith(b'geproxy-1; error=%s; ' % kind)


def test_all_error_types_in_use_are_known_by_their_own_name():
    assert responses.RFC9209 == set(each.token for each in CLASSES) & REGISTERED


@pytest.mark.parametrize('seconds, values', [(None, ()), (0, (b'0',)), (86400, (b'86400',))])
def test_a_client_that_may_try_again_gets_retry_after(seconds, values):
    response, _body = failure(errors.TooManyRequests('what', seconds))
    assert response.values(b'retry-after') == values


@pytest.mark.parametrize('text, reason, details', [
    ('a "quoted" \\ word', b'a "quoted" \\ word', b'a \\"quoted\\" \\\\ word'),
    ('two\r\nX-Lines: 1', b'two??X-Lines: 1', b'two??X-Lines: 1'),
    ('a\x00b\x7fc\x1b', b'a?b?c?', b'a?b?c?'),
    ('', b'', b''),
    ('x' * 160, b'x' * 160, b'x' * 160),
    ('x' * 161, b'x' * 157 + b'...', b'x' * 161),
])
def test_no_message_can_split_the_head(text, reason, details):
    response, body = failure(errors.Denied(text))
    assert response.reason == reason
    assert b'details="%s";' % details in response.values(b'proxy-status')[0]
    assert len(response.fields) == 5
    assert len(list(filter(None, body.split(b'\n')))) == 4


@pytest.mark.parametrize('make', [
    lambda method, close: responses.failure(errors.DnsError('what'), 'g', 'abc-1', method, close),
])
def test_head_gets_the_length_of_a_body_that_is_not_sent(make):
    whole, body = parse(make(b'GET', False))
    alone, nothing = parse(make(b'HEAD', False))
    assert body and not nothing
    assert whole.values(b'content-length') == alone.values(b'content-length') == (b'%d' % len(body),)


@pytest.mark.parametrize('make', [
    lambda close: responses.failure(errors.DnsError('what'), 'g', 'abc-1', b'GET', close),
    lambda close: responses.options(close),
    lambda close: responses.trace(b'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n', close),
])
def test_every_response_says_when_it_was_made_how_long_it_is_and_if_it_is_the_last(make):
    for close in (False, True):
        response, body = parse(make(close))
        assert response.persists is not close
        assert response.values(b'content-length') == (b'%d' % len(body),)
        assert len(response.values(b'date')) == 1


def test_a_date_is_as_http_has_it():
    date = responses.date()
    assert re.match(br'[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\Z', date)
    seconds = calendar.timegm(email.utils.parsedate(date.decode('ascii')))
    assert email.utils.formatdate(seconds, usegmt=True).encode('ascii') == date
    assert abs(seconds - time.time()) < 60


def test_a_tunnel_is_established_by_a_head_alone():
    response, rest = parse(responses.ESTABLISHED)
    assert (response.status, response.reason, rest) == (200, b'Connection established', b'')
    assert not response.fields      # neither length nor coding may stand there: RFC 9110, 9.3.6


def test_options_names_the_methods():
    response, _body = parse(responses.options(False))
    assert b'CONNECT' in response.values(b'allow')[0]


def test_trace_returns_the_head_but_no_secrets():
    head = (b'TRACE / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic 1\r\nX:  y\r\ncookie: 2\r\n'
            b'PROXY-Authorization: 3\r\nMax-Forwards: 0\r\n\r\n')
    response, body = parse(responses.trace(head, False))
    assert response.values(b'content-type') == (b'message/http',)
    assert body == b'TRACE / HTTP/1.1\r\nHost: a\r\nX:  y\r\nMax-Forwards: 0\r\n\r\n'


def test_an_answer_does_not_grow_with_its_message():
    answer = responses.failure(errors.DnsError('a\\"' * 22000), 'p', 'id-1', b'GET', True)
    assert len(answer) < 4 * grammar.LONGEST + 1000
