"""htpasswd and group files, line by line; names and passwords as clients send them."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.auth import hashes, htpasswd

SHA = b'{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ='
SECRET = hashes.parse(SHA)


@pytest.mark.parametrize('line, users', [
    (b'bob:' + SHA, {b'bob': SECRET}),
    (b'bob:' + SHA + b'\r', {b'bob': SECRET}),
    (b'bob:' + SHA + b' \t', {b'bob': SECRET}),
    (b'bob:' + SHA + b':Bob, 3rd floor', {b'bob': SECRET}),
    (b'bob b:' + SHA, {b'bob b': SECRET}),
    (b'bob@example.test:' + SHA, {b'bob@example.test': SECRET}),
    (b'b\xc3\xb6b:' + SHA, {b'b\xc3\xb6b': SECRET}),
    (b'x' * 255 + b':' + SHA, {b'x' * 255: SECRET}),
    (b'', {}),
    (b' \r', {}),
    (b'# bob:hunter2', {}),
])
def test_a_line_is_a_user_or_nothing(line, users):
    assert htpasswd.parse_users([line]) == (users, [])


@pytest.mark.parametrize('line, what', [
    (b'hunter2', 'invalid line: expected a name and a colon at its beginning'),
    (b':hunter2', 'invalid line: expected a name and a colon at its beginning'),
    (b'b\x00b:' + SHA, 'the name has a control character, or more than 255 octets'),
    (b'x' * 256 + b':' + SHA, 'the name has a control character, or more than 255 octets'),
    (b'bob:', "user 'bob' has no hash"),
    (b'bob:hunter2', "user 'bob' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6"),
    (b'bob:rqXexS6ZhobKA', "user 'bob' has a crypt(3) DES hash, which is too weak: make another with openssl passwd -6"),
    (b'bob:{SSHA}hunter2', "user 'bob' has a hash of a kind not known here, {SSHA}"),
    (b'b\xc3\xb6b:$apr1$hunter2', "user 'b\\xc3\\xb6b' has a broken $apr1$ hash"),
    (b'x' * 200 + b':x', "user '" + 'x' * 64 + "...' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6"),
    (b'bob:A realm:d41d8cd98f00b204e9800998ecf8427e', "user 'bob' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6"),
])
def test_a_bad_line_is_told_with_its_number_and_without_its_hash(line, what):
    assert htpasswd.parse_users([b'# users', b'eve:' + SHA, line]) == ({b'eve': SECRET}, [(3, what)])


def test_a_user_who_is_listed_twice_is_reported():
    users, problems = htpasswd.parse_users([b'bob:' + SHA, b'bob:$apr1$a$PtM1vJaZieHDFk40mKMu6/', b'eve:x', b'eve:' + SHA])
    assert users == {b'bob': SECRET}
    assert problems == [(2, "user 'bob' stands in line 1 already"),
                        (3, "user 'eve' has a password in plain text, or a hash of unknown kind: make a hash with openssl passwd -6"),
                        (4, "user 'eve' stands in line 3 already")]


@pytest.mark.parametrize('lines, groups, problems', [
    ([], {}, []),
    ([b'staff: bob eve'], {b'staff': {b'bob', b'eve'}}, []),
    ([b'staff :bob\teve  bob\r'], {b'staff': {b'bob', b'eve'}}, []),
    ([b'staff: bob', b'#', b'admins: eve', b'', b'staff: eve'], {b'staff': {b'bob', b'eve'}, b'admins': {b'eve'}}, []),
    ([b'nobody:'], {b'nobody': set()}, []),
    ([b'bob eve', b'staff: bob', b': bob'], {b'staff': {b'bob'}},
     [(1, 'invalid line: expected a name and a colon at its beginning'), (3, 'invalid line: expected a name and a colon at its beginning')]),
])
def test_groups_are_read_as_apache_does(lines, groups, problems):
    assert htpasswd.parse_groups(lines) == (groups, problems)


@pytest.mark.parametrize('name, password, expected', [
    (b'bob', b'secret', (b'bob', b'secret')),
    (b'', b'', (b'', b'')),
    (b'b\xc3\xb6b', b'\xc3\xbf', (b'b\xc3\xb6b', b'\xc3\xbf')),
    (b'b\xf6b', b'\xff', (b'b\xc3\xb6b', b'\xc3\xbf')),        # Latin-1
    (b'b\xc3\xb6b', b'\xff', (b'b\xc3\xb6b', b'\xc3\xbf')),
    (b'bob', b'p\x80\x9f', (b'bob', b'p\xc2\x80\xc2\x9f')),
    (b'x' * 255, b'y' * 512, (b'x' * 255, b'y' * 512)),
])
def test_name_and_password_are_compared_in_utf_8(name, password, expected):
    assert htpasswd.normalised(name, password) == expected


@pytest.mark.parametrize('name, password, what', [
    (b'b\x00b', b'hunter2', 'log-in failed: name or password has a control character'),
    (b'bob', b'hunter2\n', 'log-in failed: name or password has a control character'),
    (b'bob', b'hunter2\x7f', 'log-in failed: name or password has a control character'),
    (b'\xe9' * 128, b'', 'log-in failed: the name is longer than 255 octets, or the password than 512'),
    (b'x' * 256, b'', 'log-in failed: the name is longer than 255 octets, or the password than 512'),
    (b'bob', b'x' * 513, 'log-in failed: the name is longer than 255 octets, or the password than 512'),
    (b'x' * 65536, b'', 'log-in failed: the name is longer than 255 octets, or the password than 512'),
])
def test_a_message_about_a_name_or_password_that_cannot_be_quotes_neither(name, password, what):
    with pytest.raises(errors.LoginFailed) as caught:
        htpasswd.normalised(name, password)
    assert str(caught.value) == what


def test_a_name_in_a_file_of_latin_1_is_the_name_that_clients_send_in_either_coding():
    for octets in (b'j\xf6rg', b'j\xc3\xb6rg'):
        users, problems = htpasswd.parse_users([octets + b':' + SHA])
        assert list(users) == [htpasswd.normalised(octets, b'x')[0]] == [b'j\xc3\xb6rg'] and not problems
        assert htpasswd.parse_groups([b'ops: ' + octets])[0] == {b'ops': frozenset([b'j\xc3\xb6rg'])}
