"""SOCKS 4, 4a and 5: whole, and cut at every octet."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.net import socks_messages as socks
from geproxy.net.socks_messages import Malformed, Reply, Request

IPV6 = b'\x20\x01\x0d\xb8' + b'\0' * 11 + b'\x01'


def read(function, octets, *before):
    """Return what `function` makes of a message that comes octet by octet, and see that it waits until it is whole."""
    for size in range(len(octets)):
        assert function(*(before + (octets[:size],))) is None, size
    value, size = function(*(before + (octets + b'BEHIND',)))
    assert size == len(octets)
    assert function(*(before + (octets,))) == (value, size)
    return value


@pytest.mark.parametrize('octets, methods', [
    (b'\x05\x01\x00', {0}), (b'\x05\x02\x00\x02', {0, 2}), (b'\x05\x04\x00\x01\x02\xff', {0, 1, 2, 255}),
])
def test_a_client_says_how_it_can_log_in(octets, methods):
    assert read(socks.read_methods, octets) == methods


@pytest.mark.parametrize('octets, login', [
    (b'\x01\x03joe\x06secret', (b'joe', b'secret')), (b'\x01\x01j\x00', (b'j', b'')), (b'\x01\x00\x00', (b'', b'')),
    (b'\x01\xff' + b'n' * 255 + b'\xff' + b'p' * 255, (b'n' * 255, b'p' * 255)),
])
def test_a_login_has_a_name_and_a_password(octets, login):
    assert read(socks.read_login, octets) == login


@pytest.mark.parametrize('octets, request_', [
    (b'\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50', Request(5, 1, b'127.0.0.1', 80, b'')),
    (b'\x05\x01\x00\x03\x09a.example\x01\xbb', Request(5, 1, b'a.example', 443, b'')),
    (b'\x05\x01\x00\x04' + IPV6 + b'\x00\x50', Request(5, 1, b'2001:db8::1', 80, b'')),
    (b'\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50', Request(5, 2, b'127.0.0.1', 80, b'')),
    (b'\x04\x01\x00\x50\x7f\x00\x00\x01\x00', Request(4, 1, b'127.0.0.1', 80, b'')),
    (b'\x04\x01\x00\x50\x7f\x00\x00\x01joe\x00', Request(4, 1, b'127.0.0.1', 80, b'joe')),
    (b'\x04\x01\x01\xbb\x00\x00\x00\x01joe\x00a.example\x00', Request(4, 1, b'a.example', 443, b'joe')),
    (b'\x04\x01\x01\xbb\x00\x00\x00\xff\x00a.example\x00', Request(4, 1, b'a.example', 443, b'')),
    (b'\x04\x01\x01\xbb\x00\x00\x00\x00\x00', Request(4, 1, b'0.0.0.0', 443, b'')),
])
def test_a_request_names_host_and_port(octets, request_):
    assert read(socks.read_request, octets) == request_


@pytest.mark.parametrize('function, octets, what, code', [
    (socks.read_methods, b'\x06', 'not with 6', socks.FAILED),
    (socks.read_methods, b'\x05\x00', 'without any method', socks.FAILED),
    (socks.read_login, b'\x05', 'not with 5', socks.FAILED),
    (socks.read_request, b'G', 'not with 71', socks.FAILED),
    (socks.read_request, b'\x05\x01\x00\x02\x00', 'no address type 2', socks.ADDRESS),
    (socks.read_request, b'\x05\x01\x00\x03\x00\x00\x50', 'an empty host name', socks.ADDRESS),
    (socks.read_request, b'\x05\x01\x00\x03\x03a\0b\x00\x50', 'a NUL octet', socks.ADDRESS),
    (socks.read_request, b'\x04\x01\x00\x50\x7f\x00\x00\x01' + b'u' * 256, 'more than 255', socks.FAILED),
    (socks.read_request, b'\x04\x01\x00\x50\x00\x00\x00\x01\x00' + b'h' * 256, 'more than 255', socks.FAILED),
    (socks.read_request, b'\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00', 'an empty host name', socks.ADDRESS),
])
def test_what_is_no_such_message_is_refused_with_the_code_that_fits(function, octets, what, code):
    with pytest.raises(Malformed) as raised:
        function(octets)
    assert what in str(raised.value) and raised.value.code == code


@pytest.mark.parametrize('version, octets, reply', [
    (5, b'\x05\x00\x00\x01\x0a\x00\x00\x01\x12\x34', Reply(True, 0, 'succeeded')),
    (5, b'\x05\x00\x00\x04' + IPV6 + b'\x12\x34', Reply(True, 0, 'succeeded')),
    (5, b'\x05\x00\x00\x03\x03abc\x12\x34', Reply(True, 0, 'succeeded')),
    (5, b'\x05\x00\x00\x03\x00\x12\x34', Reply(True, 0, 'succeeded')),
    (4, b'\x00\x5a\x12\x34\x0a\x00\x00\x01', Reply(True, 90, 'granted')),
    (4, b'\x00\x5b\x00\x00\x00\x00\x00\x00', Reply(False, 91, 'rejected or failed')),
])
def test_a_server_answers(version, octets, reply):
    assert read(socks.read_reply, octets, version) == reply


def test_a_refusal_needs_no_address():
    assert socks.read_reply(5, b'\x05\x02\x00\x01\x00')[0] == Reply(False, 2, 'not allowed by its rules')
    assert socks.read_reply(5, b'\x05\x7f\x00\x01\x00')[0] == Reply(False, 127, 'unknown code 127')


@pytest.mark.parametrize('function, octets, what', [
    (lambda octets: socks.read_reply(5, octets), b'HTTP/1.1 400', 'not with 72'),
    (lambda octets: socks.read_reply(4, octets), b'\x05\x00', 'not with 5'),
    (lambda octets: socks.read_reply(5, octets), b'\x05\x00\x00\x07\x00', 'of the type 7'),
    (socks.read_method, b'SSH-2.0', 'not with 83'),
    (socks.read_login_answer, b'\x02', 'not with 2'),
])
def test_what_no_server_answers_is_told(function, octets, what):
    with pytest.raises(Malformed) as raised:
        function(octets)
    assert what in str(raised.value)


def test_a_server_chooses_and_judges():
    assert read(socks.read_method, b'\x05\x02') == socks.PASSWORD
    assert read(socks.read_method, b'\x05\xff') == socks.NONE_FITS
    assert read(socks.read_login_answer, b'\x01\x00') is True
    assert read(socks.read_login_answer, b'\x05\x00') is True
    assert read(socks.read_login_answer, b'\x01\x01') is False


@pytest.mark.parametrize('version, host, user', [
    (5, b'127.0.0.1', b''), (5, b'a.example', b''), (5, b'2001:db8::1', b''), (4, b'10.0.0.1', b'joe'),
    (4, b'a.example', b''), (4, b'a.example', b'joe'),
])
def test_what_is_written_is_read_as_it_was_meant(version, host, user):
    assert read(socks.read_request, socks.write_request(version, host, 443, user)) == Request(version, 1, host, 443, user)


def test_both_sides_understand_each_other():
    assert read(socks.read_methods, socks.write_methods(True)) == {0, 2}
    assert read(socks.read_methods, socks.write_methods(False)) == {0}
    assert read(socks.read_login, socks.write_login(b'joe', b'secret')) == (b'joe', b'secret')
    assert read(socks.read_method, socks.write_method(socks.PASSWORD)) == socks.PASSWORD
    assert read(socks.read_login_answer, socks.write_login_answer(True)) is True
    assert read(socks.read_login_answer, socks.write_login_answer(False)) is False
    for code in socks.REPLIES:
        for version in (4, 5):
            reply = socks.read_reply(version, socks.write_reply(version, code))[0]
            assert reply.granted == (code == 0) and (version == 4 or reply.code == code)


@pytest.mark.parametrize('version, host, user', [
    (4, b'::1', b''), (4, b'a', b'j\0e'), (5, b'', b''), (5, b'a' * 256, b''),
])
def test_what_cannot_be_said_is_refused(version, host, user):
    with pytest.raises(ValueError):
        socks.write_request(version, host, 443, user)


@pytest.mark.parametrize('name, password', [(b'', b'p'), (b'n', b''), (b'n' * 256, b'p'), (b'n', b'p' * 256)])
def test_a_login_that_does_not_fit_is_refused(name, password):
    with pytest.raises(ValueError):
        socks.write_login(name, password)
