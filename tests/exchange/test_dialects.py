"""How a client of each protocol logs in, and gets its answers: values in, octets out."""
from __future__ import absolute_import, division, print_function

import base64

import pytest

from geproxy import errors
from geproxy.exchange.dialects import HTTP
from geproxy.http1 import reading


def request(*values):
    """A Request with these values of Proxy-Authorization."""
    lines = b''.join(b'Proxy-Authorization: %s\r\n' % value for value in values)
    return reading.parse_request(b'GET http://a/ HTTP/1.1\r\nHost: a\r\n%s\r\n' % lines)


def basic(octets):
    """The value of a log-in."""
    return b'Basic ' + base64.b64encode(octets)


@pytest.mark.parametrize('octets, credentials', [
    (b'bob:secret', (b'bob', b'secret')), (b'bob:a:b', (b'bob', b'a:b')), (b':', (b'', b'')),
    (b'b\xe9:x', (b'b\xe9', b'x')), (b'b\xc3\xa9:x', (b'b\xc3\xa9', b'x')),
])
def test_a_log_in_is_a_name_and_a_password(octets, credentials):
    assert HTTP.credentials(request(basic(octets))) == credentials


def test_a_client_that_sends_no_log_in_has_no_credentials():
    assert HTTP.credentials(request()) is None


@pytest.mark.parametrize('values, error', [
    ([basic(b'a:b'), basic(b'a:b')], errors.BadRequest), ([b'Digest x'], errors.LoginRequired),
    ([b'Basic !'], errors.LoginFailed), ([basic(b'no colon')], errors.LoginFailed), ([b''], errors.LoginRequired),
])
def test_a_log_in_that_is_none_is_refused(values, error):
    with pytest.raises(errors.ProxyError) as caught:
        HTTP.credentials(request(*values))
    assert type(caught.value) is error


def test_no_message_shows_a_secret():
    with pytest.raises(errors.LoginFailed) as caught:
        HTTP.credentials(request(basic(b'secret')))
    assert 'secret' not in str(caught.value) and basic(b'secret')[6:].decode('ascii') not in str(caught.value)


def test_a_refusal_is_a_response_with_its_reason():
    shown = HTTP.refusal(errors.Denied('no port'), 'gateway', 'abc-1', b'GET', True, 'the realm')
    assert shown.startswith(b'HTTP/1.1 403 no port\r\n') and b'\r\nConnection: close\r\n' in shown and b'abc-1' in shown
    assert HTTP.refusal(errors.Denied('no port'), 'gateway', 'abc-1', b'HEAD', True).endswith(b'\r\n\r\n')
    shown = HTTP.refusal(errors.LoginRequired('who?'), 'gateway', 'abc-1', b'GET', False, 'the realm')
    assert b'realm="the realm"' in shown and b'\r\nConnection: close\r\n' not in shown


def test_a_client_of_another_protocol_is_refused_in_that():
    error = errors.WrongProtocol('that is SOCKS 5', 'socks5')
    assert HTTP.refusal(error, 'gateway', 'abc-1', b'', True) == b'\x05\xff'


def test_an_open_tunnel_is_told_as_a_response():
    assert HTTP.established == b'HTTP/1.1 200 Connection established\r\n\r\n'
    assert HTTP.established.startswith(HTTP.first)
