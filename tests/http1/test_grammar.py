"""The grammar of heads: which octets may stand where, and what targets, authorities and fields are made of."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.http1 import grammar

OCTETS = [bytes(bytearray([value])) for value in range(256)]
DIGITS = b'0123456789'
LETTERS = b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'
TCHAR = b"!#$%&'*+-.^_`|~" + DIGITS + LETTERS           # RFC 9110, 5.6.2
VISIBLE = b''.join(OCTETS[0x21:0x7f])
MANY = 64 * 1024


# --- one octet at a time

def test_a_token_is_made_of_tchar_and_nothing_else():
    assert [octet for octet in OCTETS if grammar.is_token(b'a' + octet)] == sorted(TCHAR[at:at + 1] for at in range(77))
    assert not grammar.is_token(b'') and not grammar.is_token(b'a\n')


def test_a_method_is_a_token():
    for octet in OCTETS:
        assert bool(grammar.match_request_line(octet + b'GET / HTTP/1.1')) == (octet in TCHAR)


def test_a_target_is_made_of_visible_ascii_and_octets_beyond():
    for octet in OCTETS:
        assert bool(grammar.match_request_line(b'GET /' + octet + b' HTTP/1.1')) == (
            octet in VISIBLE + b''.join(OCTETS[0x80:]))


def test_a_reason_phrase_is_made_of_text_and_blanks():
    allowed = b'\t ' + VISIBLE + b''.join(OCTETS[0x80:])
    for octet in OCTETS:
        assert bool(grammar.match_status_line(b'HTTP/1.1 200 O' + octet)) == (octet in allowed)


def test_controls_stand_nowhere_in_a_head():
    controls = b''.join(OCTETS[:0x20]).replace(b'\t', b'') + b'\x7f'
    for octet in OCTETS:
        assert bool(grammar.find_doubtful(b'a' + octet + b'b')) == (octet in controls)


@pytest.mark.parametrize('octets, at', [
    (b'', None), (b'a\r\nb\r\n\r\n', None), (b'\r\n', None), (b'a\tb', None), (b'\x80\xff', None),
    (b'\n', 0), (b'\r', 0), (b'a\nb', 1), (b'a\rb', 1), (b'a\r\n\nb', 3), (b'a\r\r\nb', 1), (b'a\n\rb', 1),
    (b'a\r\n\r', 3), (b'a\x00', 1), (b'\r\n\x1f', 2),
])
def test_cr_and_lf_stand_together_only(octets, at):
    found = grammar.find_doubtful(octets)
    assert (found and found.start()) == at


# --- lines

@pytest.mark.parametrize('line, parts', [
    (b'GET / HTTP/1.1', (b'GET', b'/', b'1', b'1')),
    (b'CONNECT a:443 HTTP/1.0', (b'CONNECT', b'a:443', b'1', b'0')),
    (b'g * HTTP/9.9', (b'g', b'*', b'9', b'9')),
    (b'GET /HTTP/1.1 HTTP/1.1', (b'GET', b'/HTTP/1.1', b'1', b'1')),
])
def test_a_request_line_has_three_parts(line, parts):
    assert grammar.match_request_line(line).groups() == parts


@pytest.mark.parametrize('line', [
    b'', b'GET', b'GET /', b'GET / ', b'GET  / HTTP/1.1', b'GET /  HTTP/1.1', b'GET / HTTP/1.1 ', b' GET / HTTP/1.1',
    b'GET / HTTP/1', b'GET / HTTP/1.', b'GET / HTTP/.1', b'GET / HTTP/1.10', b'GET / HTTP/11', b'GET / http/1.1',
    b'GET / HTTPS/1.1', b'GET / HTTP/1,1', b'GET / HTTP/1.1\n', b'GET / HTTP/1.\xb2', b'GET\t/ HTTP/1.1', b'/ HTTP/1.1',
])
def test_all_else_is_no_request_line(line):
    assert not grammar.match_request_line(line)


@pytest.mark.parametrize('line, parts', [
    (b'HTTP/1.1 200 OK', (b'1', b'1', b'200', b'OK')),
    (b'HTTP/1.0 404 Not Found', (b'1', b'0', b'404', b'Not Found')),
    (b'HTTP/1.1 200 ', (b'1', b'1', b'200', b'')),
    (b'HTTP/1.1 200', (b'1', b'1', b'200', None)),
    (b'HTTP/1.1 200  OK ', (b'1', b'1', b'200', b' OK ')),
    (b'HTTP/2.0 000 x', (b'2', b'0', b'000', b'x')),
])
def test_a_status_line_has_a_version_a_code_and_a_reason_phrase(line, parts):
    assert grammar.match_status_line(line).groups() == parts


@pytest.mark.parametrize('line', [
    b'', b'HTTP/1.1', b'HTTP/1.1 ', b'HTTP/1.1 20', b'HTTP/1.1 2000', b'HTTP/1.1 200OK', b'HTTP/1.1  200 OK',
    b'HTTP/1.1 -20 OK', b'HTTP/1.1 20\xb2 OK', b'http/1.1 200 OK', b'ICY 200 OK', b'HTTP 200 OK', b'HTTP/1 200 OK',
    b'HTTP/1.1 200 OK\n', b'HTTP/1.1\t200 OK', b' HTTP/1.1 200 OK', b'HTTP/1.1 200\tOK', b'HTTP/1.10 200 OK',
])
def test_all_else_is_no_status_line(line):
    assert not grammar.match_status_line(line)


# --- numbers

@pytest.mark.parametrize('octets, good', [
    (b'0', True), (b'5', True), (b'007', True), (b'9' * 18, True),
    (b'', False), (b'9' * 19, False), (b'+5', False), (b'-0', False), (b'5 ', False), (b' 5', False), (b'0x5', False),
    (b'5_0', False), (b'5.0', False), (b'5,5', False), (b'5\n', False), (b'\xb2', False), (b'\xd9\xa5', False),
    (b'5a', False), (b'1e3', False),
])
def test_a_length_is_up_to_18_digits(octets, good):
    assert bool(grammar.is_length(octets)) is good


@pytest.mark.parametrize('line, size', [
    (b'0', b'0'), (b'5', b'5'), (b'000', b'000'), (b'Ff', b'Ff'), (b'f' * 15, b'f' * 15),
    (b'5;a', b'5'), (b'5;a=b', b'5'), (b'5;a="b"', b'5'), (b'5;a=""', b'5'), (b'5;a="\\""', b'5'),
    (b'5;a="x;y"', b'5'), (b'5;a;b=c;d="e"', b'5'), (b'5 ;\ta = b ; c', b'5'), (b'5;a="\xff\\\xff\t "', b'5'),
    (b'', None), (b'g', None), (b'f' * 16, None), (b'0x5', None), (b'+5', None), (b'-5', None), (b'5_0', None),
    (b' 5', None), (b'5 ', None), (b'5\t', None), (b'5\n', None), (b'5\r', None), (b'5;', None), (b'5;=b', None),
    (b'5;a=', None), (b'5;a="b', None), (b'5;a="b\\"', None), (b'5;a="b"c', None), (b'5;a b', None), (b'5 a', None),
    (b'5;a="\x00"', None), (b'5;a="\n"', None), (b'5;a="\\\x00"', None), (b'5;a;', None), (b'5;;a', None),
    (b'5;a=b"c"', None), (b'5,5', None), (b'\xef\xbc\x95', None), (b'5;a=\xff', None), (b'5;a=b ', None),
])
def test_a_chunk_line_is_up_to_15_digits_and_extensions(line, size):
    match = grammar.match_chunk_size(line)
    assert (match and match.group(1)) == size


# --- lists and text

@pytest.mark.parametrize('values, members', [
    ((), []), ((b'',), []), ((b'a',), [b'a']), ((b'a, b',), [b'a', b'b']), ((b'a', b'b'), [b'a', b'b']),
    ((b'a,b', b'', b' c '), [b'a', b'b', b'c']), ((b', ,\t,a,,',), [b'a']), ((b'a b',), [b'a b']),
    ((b'\x0ba',), [b'\x0ba']), ((b'\xa0a',), [b'\xa0a']),
])
def test_a_list_is_split_at_its_commas(values, members):
    assert grammar.split_list(values) == members


@pytest.mark.parametrize('octets, shown', [
    (b'', ''),
    (b'GET / HTTP/1.1', 'GET / HTTP/1.1'),
    (b'a\r\nb\t\x00\x1b[31m', 'a\\x0d\\x0ab\\x09\\x00\\x1b[31m'),
    (b'Zo\xc3\xab\x7f', 'Zo\\xc3\\xab\\x7f'),
    (b'http://user:secret@a.example/x@y', '***@y'),
    (b'http://user:se@cret@a.example/', '***@a.example/'),
    (b'GET http://user@a/ and http://b:c@d/', 'GET ***@a/ and ***@d/'),
    (b'x' * 80, 'x' * 80),
    (b'x' * 81, 'x' * 80 + '...'),
])
def test_octets_from_elsewhere_are_shown_on_one_short_line_without_credentials(octets, shown):
    assert grammar.printable(octets) == shown
    assert type(grammar.printable(octets)) is str


@pytest.mark.parametrize('octets', [
    b'http://user:secret@a.example/x', b'http://user:secret@a.example/x@y', b'http://user:sec@secret@a.example/',
    b'GET http://u:secret@a/ and http://b:secret@d/', b'http://u:p/secret@a/', b'user:secret@a.example:443',
    b'http:user:secret@a.example', b'http:/user:secret@a.example/',
    b'GET user:secret@a.example:443 HTTP/1.1 ',
])
def test_credentials_are_hidden_in_every_place(octets):
    assert 'secret' not in grammar.printable(octets)


# --- authorities

@pytest.mark.parametrize('octets, host, port, text', [
    (b'a', b'a', None, b'a'),
    (b'Example.COM', b'example.com', None, b'Example.COM'),
    (b'example.com.', b'example.com.', None, b'example.com.'),
    (b'example.com:80', b'example.com', 80, b'example.com:80'),
    (b'example.com:', b'example.com', None, b'example.com'),
    (b'example.com:00080', b'example.com', 80, b'example.com:80'),
    (b'example.com:1', b'example.com', 1, b'example.com:1'),
    (b'example.com:65535', b'example.com', 65535, b'example.com:65535'),
    (b'my_host-1.~x', b'my_host-1.~x', None, b'my_host-1.~x'),
    (b'xn--bcher-kva.example', b'xn--bcher-kva.example', None, b'xn--bcher-kva.example'),
    (b'127.0.0.1:8080', b'127.0.0.1', 8080, b'127.0.0.1:8080'),
    (b'0x7f.1', b'0x7f.1', None, b'0x7f.1'),
    (b'2130706433', b'2130706433', None, b'2130706433'),
    (b'[::1]', b'::1', None, b'[::1]'),
    (b'[::1]:', b'::1', None, b'[::1]'),
    (b'[2001:DB8::A]:443', b'2001:db8::a', 443, b'[2001:DB8::A]:443'),
    (b'[::ffff:1.2.3.4]', b'::ffff:1.2.3.4', None, b'[::ffff:1.2.3.4]'),
    (b'a' * 255, b'a' * 255, None, b'a' * 255),
])
def test_an_authority_is_a_host_and_perhaps_a_port(octets, host, port, text):
    assert grammar.parse_authority(octets) == (host, port, text)


@pytest.mark.parametrize('octets', [
    b'', b':80', b' a', b'a ', b'a b', b'a:b', b'a:80:80', b'a:-1', b'a:+80', b'a: 80', b'a:8_0', b'a:0', b'a:65536',
    b'a:000080', b'a:99999', b'.', b'.a', b'a..b', b'a..', b'a/', b'a?', b'a#', b'a\\', b'a%2e', b'a,b', b'a;b', b'a*',
    b'(a)', b'a\n', b'a\x00', b'a\xff', b'a' * 256, b'user@a', b'@a', b'user:pw@a:80', b'::1', b'[::1', b'::1]', b'[]',
    b'[:]', b'[::1]a', b'a[::1]', b'[::1%25eth0]', b'[::1%eth0]', b'[::g]', b'[1::2::3]', b'[::1]:x',
    b'[12345::]', b'[1:2:3]', b'[v1.a]', b'[1.2.3.4]', b'[::1.2.3.256]', b'[[::1]]', b'\xd9\xa1',
])
def test_all_else_is_no_authority(octets):
    with pytest.raises(errors.BadRequest):
        grammar.parse_authority(octets)


# --- targets

@pytest.mark.parametrize('method, target, form, host, port, path', [
    (b'GET', b'/', 'origin', None, None, b'/'),
    (b'GET', b'/a/../b//c?d=e?f', 'origin', None, None, b'/a/../b//c?d=e?f'),
    (b'GET', b'//b.example/', 'origin', None, None, b'//b.example/'),
    (b'GET', b'/http://b.example/', 'origin', None, None, b'/http://b.example/'),
    (b'OPTIONS', b'/', 'origin', None, None, b'/'),
    (b'OPTIONS', b'*', 'asterisk', None, None, b'*'),
    (b'GET', b'http://a', 'absolute', b'a', None, b'/'),
    (b'GET', b'http://a/', 'absolute', b'a', None, b'/'),
    (b'GET', b'http://a?', 'absolute', b'a', None, b'/?'),
    (b'GET', b'http://A?@b/', 'absolute', b'a', None, b'/?@b/'),
    (b'GET', b'http://a:81/b?c', 'absolute', b'a', 81, b'/b?c'),
    (b'GET', b'HTTP://A:/B', 'absolute', b'a', None, b'/B'),
    (b'GET', b'http://a/b@c', 'absolute', b'a', None, b'/b@c'),
    (b'GET', b'http://[::1]:81', 'absolute', b'::1', 81, b'/'),
    (b'GET', b'http://a//b', 'absolute', b'a', None, b'//b'),
    (b'OPTIONS', b'http://a', 'absolute', b'a', None, b'*'),
    (b'OPTIONS', b'http://a/', 'absolute', b'a', None, b'/'),
    (b'OPTIONS', b'http://a?b', 'absolute', b'a', None, b'/?b'),
    (b'CONNECT', b'a:443', 'authority', b'a', 443, None),
    (b'CONNECT', b'[::1]:443', 'authority', b'::1', 443, None),
])
def test_a_target_is_cut_and_never_normalised(method, target, form, host, port, path):
    found = grammar.split_target(method, target)
    assert (found.form, found.path) == (form, path)
    assert found.authority and found.authority[:2] == (host, port) or (host, port) == (None, None)


@pytest.mark.parametrize('method, target, error', [
    (b'GET', b'*', errors.BadRequest),
    (b'options', b'*', errors.BadRequest),
    (b'OPTIONS', b'*/', errors.BadRequest),
    (b'GET', b'', errors.BadRequest),
    (b'GET', b'a', errors.BadRequest),
    (b'GET', b'a:443', errors.BadRequest),
    (b'GET', b'?a', errors.BadRequest),
    (b'GET', b'@b/', errors.BadRequest),
    (b'GET', b'/#', errors.BadRequest),
    (b'GET', b'http://a#b', errors.BadRequest),
    (b'GET', b'http://', errors.BadRequest),
    (b'GET', b'http:///', errors.BadRequest),
    (b'GET', b'http://?', errors.BadRequest),
    (b'GET', b'http:a', errors.BadRequest),
    (b'GET', b'http:/a', errors.BadRequest),
    (b'GET', b'://a', errors.BadRequest),
    (b'GET', b'http://u:p@a/', errors.BadRequest),
    (b'GET', b'http://a\\b/', errors.BadRequest),
    (b'GET', b'https://a/', errors.NotImplementedHere),
    (b'GET', b'ftp://a/', errors.NotImplementedHere),
    (b'GET', b'h:ttp://a/', errors.BadRequest),
    (b'connect', b'a:443', errors.BadRequest),
    (b'CONNECT', b'a', errors.BadRequest),
    (b'CONNECT', b'a:', errors.BadRequest),
    (b'CONNECT', b'/', errors.BadRequest),
    (b'CONNECT', b'http://a:443', errors.BadRequest),
    (b'CONNECT', b'a:443/', errors.BadRequest),
    (b'CONNECT', b'u@a:443', errors.BadRequest),
])
def test_all_else_is_no_target(method, target, error):
    with pytest.raises(error):
        grammar.split_target(method, target)


# --- fields

def test_fields_keep_order_and_case_and_every_octet_of_a_value():
    fields, index = grammar.parse_fields(
        [b'Host: a', b'X-A:1', b'x-a: \t2 3\t ', b'X-B:', b'X-C: \xff:\x80'], errors.BadRequest)
    assert fields == [
        (b'host', (b'a',), b'Host: a\r\n'), (b'x-a', (b'1',), b'X-A: 1\r\n'), (b'x-a', (b'2 3',), b'x-a: 2 3\r\n'),
        (b'x-b', (b'',), b'X-B: \r\n'), (b'x-c', (b'\xff:\x80',), b'X-C: \xff:\x80\r\n')]
    assert index == {b'host': (b'a',), b'x-a': (b'1', b'2 3'), b'x-b': (b'',), b'x-c': (b'\xff:\x80',)}
    assert grammar.parse_fields([], errors.BadRequest) == ([], {})
    assert grammar.parse_fields([b'X:\x0b\xa0 '], errors.BadRequest)[1] == {b'x': (b'\x0b\xa0',)}


@pytest.mark.parametrize('line', [
    b'', b':', b': a', b'a', b'a b', b'a b: c', b' a: b', b'\ta: b', b'\xe9: b', b'(a): b', b'a/b: c', b'"a": b',
    b'a\x0b: b', b'a : b', b'a\t: b', b'a \t : b',
])
def test_all_else_is_no_field_line(line):
    for error in (errors.BadRequest, errors.BadResponse):
        with pytest.raises(error):
            grammar.parse_fields([b'Host: a', line], error)


def test_a_refused_field_line_does_not_show_its_value():
    for line in (b'Cookie secret', b'Authorization Basic secret', b'X Y: secret', b' secret', b'\tsecret'):
        with pytest.raises(errors.BadRequest) as raised:
            grammar.parse_fields([line], errors.BadRequest)
        assert 'secret' not in str(raised.value)


# --- time

@pytest.mark.parametrize('judge, octets', [
    (grammar.is_token, b'a' * MANY + b' '),
    (grammar.match_request_line, b'a' * MANY),
    (grammar.match_request_line, b'GET ' + b'/ ' * (MANY // 2)),
    (grammar.match_request_line, b'GET /' + b' ' * MANY + b'HTTP/1.1'),
    (grammar.match_request_line_start, b'a' * MANY + b'('),
    (grammar.match_request_line_start, b'GET /' + b'x' * MANY + b'\x00'),
    (grammar.match_status_line, b'HTTP/1.1 200 ' + b' ' * MANY + b'\x00'),
    (grammar.find_doubtful, b'\r\n' * (MANY // 2)),
    (grammar.find_doubtful, b' ' * MANY),
    (grammar.is_length, b'0' * MANY),
    (grammar.match_chunk_size, b'0' * MANY),
    (grammar.match_chunk_size, b'0' + b' ' * MANY),
    (grammar.match_chunk_size, b'0;' + b' ' * MANY + b'"'),
    (grammar.match_chunk_size, b'0;a' + b' ' * MANY + b'"'),
    (grammar.match_chunk_size, b'0;a=' + b' ' * MANY + b'?'),
    (grammar.match_chunk_size, b'0' + b';a' * (MANY // 2) + b' '),
    (grammar.match_chunk_size, b'0' + b' ; a = b' * (MANY // 8) + b'"'),
    (grammar.match_chunk_size, b'0;a="' + b'\\"' * (MANY // 2)),
    (grammar.match_chunk_size, b'0' + b';a="\\\\"' * (MANY // 7) + b'"'),
    (grammar.match_authority, b'a' * MANY),
    (grammar.match_authority, b'[' + b':' * MANY),
    (grammar.printable, b'/' * MANY),
    (grammar.printable, b'//' + b'a' * MANY),
    (grammar.printable, b'//a' * (MANY // 3)),
    (grammar.printable, b'@//' * (MANY // 3)),
    (lambda octets: grammar.split_list([octets]), b' , ' * (MANY // 3)),
    (lambda octets: grammar.split_list([octets]), b' ' * MANY + b','),
    (lambda octets: grammar.parse_fields([octets], errors.BadRequest), b'a:' + b' ' * MANY + b'b' + b' ' * MANY),
    (lambda octets: grammar.split_target(b'GET', octets), b'http://a' + b'?/' * (MANY // 2)),
], ids=lambda value: repr(value)[:20])
def test_sixty_four_kib_of_anything_are_judged_in_no_time(judge, octets):
    began = monotonic()
    judge(octets)
    assert monotonic() - began < 0.5        # seconds; a pattern that is not linear takes many


def test_all_values_of_a_name_are_kept_in_their_order():
    lines = [b'a: %d' % number for number in range(5)] + [b'b: 1', b'A: 5']
    _fields, index = grammar.parse_fields(lines, errors.BadRequest)
    assert index == {b'a': tuple(b'%d' % number for number in range(6)), b'b': (b'1',)}


@pytest.mark.parametrize('octets, shown', [
    (b'a ' * 200, 'a ' * 40 + '...'), (b' ' * 100 + b'user:secret@host', ' ' * 80 + '...'),
    (b'x ' + b'user:se cret@' * 100, None),
])
def test_the_printable_form_of_many_words_is_cut_and_has_no_secret(octets, shown):
    found = grammar.printable(octets)
    assert shown in (None, found) and 'secret' not in found and len(found) <= 83
