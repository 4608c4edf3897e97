"""Edits of a request head: what the origin learns about the client, what rules strip and set."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.http1 import message, reading
from geproxy.policy import forwarded
from geproxy.settings.rule_options import NO_OPTIONS


def passed_on(lines, mode, client='10.0.0.5', strip=(), fields=()):
    """Return the field lines that reach the origin for a GET with `lines`."""
    request = reading.parse_request(b'GET http://a/ HTTP/1.1\r\nHost: a\r\n' + lines + b'\r\n')
    options = NO_OPTIONS._replace(strip=frozenset(strip), fields=fields)
    edits = forwarded.edits(request, client, mode, options)
    return request.write(b'', b'1.1 gate', edits=edits)[len(b'GET / HTTP/1.1\r\nHost: a\r\n'):-4].split(b'\r\n')


BEFORE = b'Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: b\r\nX-Real-IP: 1.2.3.4\r\nX: y\r\n'


@pytest.mark.parametrize('lines, mode, client, expected', [
    (BEFORE, 'off', '10.0.0.5', BEFORE[:-2].split(b'\r\n')),
    (b'X: y\r\n', 'off', '10.0.0.5', [b'X: y']),
    (BEFORE, 'strip', '10.0.0.5', [b'X: y']),
    (BEFORE, 'add', '10.0.0.5', [b'X-Forwarded-Host: b', b'X-Real-IP: 1.2.3.4', b'X: y',
                                 b'Forwarded: for=1.2.3.4, for=10.0.0.5', b'X-Forwarded-For: 1.2.3.4, 10.0.0.5']),
    (b'', 'add', '2001:db8::1', [b'Forwarded: for="[2001:db8::1]"', b'X-Forwarded-For: 2001:db8::1']),
])
def test_the_address_of_the_client_is_passed_added_or_removed(lines, mode, client, expected):
    assert passed_on(lines, mode, client) == expected + [b'Via: 1.1 gate']


def test_a_rule_strips_and_sets_fields():
    assert passed_on(b'Referer: r\r\nX-A: 1\r\nx-a: 2\r\nX: y\r\n', 'off', strip=[b'referer'], fields=((b'X-A', b'3'),)) == [
        b'X: y', b'X-A: 3', b'Via: 1.1 gate']
    assert passed_on(b'', 'add', strip=[b'forwarded', b'x-forwarded-for']) == [b'Via: 1.1 gate']


UNDERSCORED = (b'X_Forwarded_For: 1.2.3.4\r\nx-forwarded_for: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX_REAL_IP: 1.2.3.4\r\n'
               b'X_Other: y\r\n')


@pytest.mark.parametrize('mode, strip, fields, expected', [
    ('off', [], (), UNDERSCORED[:-2].split(b'\r\n')),
    ('strip', [], (), [b'X_Other: y']),
    ('add', [], (), [b'X_REAL_IP: 1.2.3.4', b'X_Other: y', b'Forwarded: for=1.2.3.4, for=10.0.0.5',
                     b'X-Forwarded-For: 10.0.0.5']),
    ('off', [b'x-forwarded-for'], (), [b'Forwarded: for=1.2.3.4', b'X_REAL_IP: 1.2.3.4', b'X_Other: y']),
    ('strip', [b'x-other'], (), []),
    ('strip', [], ((b'X-Other', b'z'),), [b'X-Other: z']),
])
def test_fields_with_underscores_are_removed_too(mode, strip, fields, expected):
    """Programs behind CGI and WSGI read these as the names with hyphens."""
    assert passed_on(UNDERSCORED, mode, strip=strip, fields=fields) == expected + [b'Via: 1.1 gate']


def test_a_name_with_underscores_in_a_rule_means_hyphens_too():
    lines = b'X-Secret-Key: 1\r\nX_Secret_Key: 2\r\nX_Secret-Key: 3\r\nX: y\r\n'
    assert passed_on(lines, 'off', strip=[b'x_secret_key']) == [b'X: y', b'Via: 1.1 gate']
    assert passed_on(lines, 'off', fields=((b'X_Secret_Key', b'4'),)) == [b'X: y', b'X_Secret_Key: 4', b'Via: 1.1 gate']


def test_without_options_there_are_no_edits():
    request = reading.parse_request(b'GET http://a/ HTTP/1.1\r\nHost: a\r\n' + BEFORE + b'\r\n')
    assert forwarded.edits(request, '10.0.0.5', 'off', None) is message.NO_EDITS


@pytest.mark.parametrize('value, before', [
    (b'for=1.2.3.4', b'for=1.2.3.4'), (b'for=_x;proto=http, for=unknown', b'for=_x;proto=http, for=unknown'),
    (b'for="[2001:db8::1]:80" ; by=a,,', b'for="[2001:db8::1]:80" ; by=a,,'),
    (b'for="a,\\"b;c"', b'for="a,\\"b;c"'), (b'', None), (b';', b';'),
    (b'for="', None), (b'for="a', None), (b'for="a\\"', None), (b'for=a"b"', None), (b'for="a"b', None),
    (b'for="a""b"', None), (b'for=[::1]', None), (b'for', None), (b'=a', None), (b'for =a', None), (b'1.2.3.4', None),
    (b'"for=a', None), (b'for=a, for="', None), (b'for=1.2.3.4:80', None), (b'for="a\xe9"', b'for="a\xe9"'),
])
def test_a_forwarded_field_that_does_not_parse_is_replaced(value, before):
    told = b'for=10.0.0.5' if before is None else before + b', for=10.0.0.5'
    assert passed_on(b'Forwarded: %s\r\n' % value, 'add')[0] == b'Forwarded: ' + told


@pytest.mark.parametrize('lines, told', [
    (b'X-Forwarded-For: 1.2.3.4, [2001:db8::1]:80\r\nX-Forwarded-For: unknown\r\n',
     b'1.2.3.4, [2001:db8::1]:80, unknown, 10.0.0.5'),
    (b'X-Forwarded-For:\r\n', b'10.0.0.5'),
    (b'X-Forwarded-For: fe80::1%eth0, 1.2.3.4:80\r\n', b'fe80::1%eth0, 1.2.3.4:80, 10.0.0.5'),
    (b'X-Forwarded-For: "\r\n', b'10.0.0.5'), (b'X-Forwarded-For: 1.2.3.4; x\r\n', b'10.0.0.5'),
    (b'X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: a b\r\n', b'10.0.0.5'),
    (b'X-Forwarded-For: <script>\r\n', b'10.0.0.5'),
])
def test_an_x_forwarded_for_field_that_is_no_list_of_addresses_is_replaced(lines, told):
    assert passed_on(lines, 'add')[1] == b'X-Forwarded-For: ' + told


def test_long_fields_are_parsed_in_linear_time():
    for piece in (b'for="', b'"', b'a=b;', b' ;', b'="\\', b', ', b'for=', b'="a"'):
        passed_on(b'Forwarded: %s\r\nX-Forwarded-For: %s\r\n' % ((piece * (65536 // len(piece)),) * 2), 'add')
