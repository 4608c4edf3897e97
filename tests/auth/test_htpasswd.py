"""Who is asking: htpasswd and group files line by line, and every form of the field."""
from __future__ import absolute_import, division, print_function

import base64

import pytest

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
    (b'hunter2', 'this line is no name:value'),
    (b':hunter2', 'this line is no name:value'),
    (b'b\x00b:' + SHA, 'the name has a control character, or more than 255 octets'),
    (b'x' * 256 + b':' + SHA, 'the name has a control character, or more than 255 octets'),
    (b'bob:', "user 'bob' has no hash"),
    (b'bob:hunter2', "user 'bob' has plain text, or no hash known here"),
    (b'bob:rqXexS6ZhobKA', "user 'bob' has a crypt(3) DES hash, too weak to be of use"),
    (b'bob:{SSHA}hunter2', "user 'bob' has a hash of a kind not known here, {SSHA}"),
    (b'b\xc3\xb6b:$apr1$hunter2', "user 'b\\xc3\\xb6b' has a broken $apr1$ hash"),
    (b'x' * 200 + b':x', "user '" + 'x' * 64 + "...' has plain text, or no hash known here"),
    (b'bob:A realm:d41d8cd98f00b204e9800998ecf8427e', "user 'bob' has plain text, or no hash known here"),
])
def test_a_bad_line_is_told_with_its_number_and_without_its_hash(line, what):
    assert htpasswd.parse_users([b'# users', b'eve:' + SHA, line]) == ({b'eve': SECRET}, [(3, what)])


def test_a_user_who_stands_there_twice_is_told():
    users, problems = htpasswd.parse_users([b'bob:' + SHA, b'bob:$apr1$a$PtM1vJaZieHDFk40mKMu6/', b'eve:x', b'eve:' + SHA])
    assert users == {b'bob': SECRET}
    assert problems == [(2, "user 'bob' stands in line 1 already"),
                        (3, "user 'eve' has plain text, or no hash known here"),
                        (4, "user 'eve' stands in line 3 already")]


@pytest.mark.parametrize('lines, groups, problems', [
    ([], {}, []),
    ([b'staff: bob eve'], {b'staff': {b'bob', b'eve'}}, []),
    ([b'staff :bob\teve  bob\r'], {b'staff': {b'bob', b'eve'}}, []),
    ([b'staff: bob', b'#', b'admins: eve', b'', b'staff: eve'], {b'staff': {b'bob', b'eve'}, b'admins': {b'eve'}}, []),
    ([b'nobody:'], {b'nobody': set()}, []),
    ([b'bob eve', b'staff: bob', b': bob'], {b'staff': {b'bob'}},
     [(1, 'this line is no name:value'), (3, 'this line is no name:value')]),
])
def test_groups_are_read_as_apache_does(lines, groups, problems):
    assert htpasswd.parse_groups(lines) == (groups, problems)


def basic(octets, scheme=b'Basic '):
    """The field value for `name:password`."""
    return scheme + base64.b64encode(octets)


@pytest.mark.parametrize('value, credentials', [
    (basic(b'bob:secret'), (b'bob', b'secret')),
    (basic(b'bob:secret', b'basic '), (b'bob', b'secret')),
    (basic(b'bob:secret', b'BASIC   ') + b' ', (b'bob', b'secret')),
    (basic(b'bob:se:cr:et'), (b'bob', b'se:cr:et')),
    (basic(b'bob:'), (b'bob', b'')),
    (basic(b':'), (b'', b'')),
    (basic(b'b\xc3\xb6b:\xc3\xbf'), (b'b\xc3\xb6b', b'\xc3\xbf')),
    (basic(b'b\xf6b:\xff'), (b'b\xc3\xb6b', b'\xc3\xbf')),       # Latin-1
    (basic(b'b\xc3\xb6b:\xff'), (b'b\xc3\xb6b', b'\xc3\xbf')),
    (basic(b'bob:p\x80\x9f'), (b'bob', b'p\xc2\x80\xc2\x9f')),
    (basic(b'x' * 255 + b':' + b'y' * 512), (b'x' * 255, b'y' * 512)),
    (b'', None),
    (b'Bearer hunter2', None),
    (b'Digest username="bob"', None),
    (b'Basically Ym9iOnNlY3JldA==', None),
    (b'Negotiate', None),
])
def test_name_and_password_are_in_the_field(value, credentials):
    assert htpasswd.parse_credentials(value) == credentials


@pytest.mark.parametrize('value, what', [
    (b'Basic', 'there is no colon between name and password'),
    (b'Basic bob:hunter2', 'what follows Basic is no base64'),
    (b'Basic aHVudGVyMg', 'what follows Basic is no base64'),
    (b'Basic aHVudGVyMg=', 'what follows Basic is no base64'),
    (b'Basic =aHVudGVyMg', 'what follows Basic is no base64'),
    (b'Basic aHVu dGVyMg==', 'what follows Basic is no base64'),
    (b'Basic aHVudGVyMg==\n', 'what follows Basic is no base64'),
    (b'Basic aHVudGVyMg==, Basic', 'what follows Basic is no base64'),
    (b'Basic ' + b'-_' * 4, 'what follows Basic is no base64'),
    (basic(b'hunter2'), 'there is no colon between name and password'),
    (basic(b'b\x00b:hunter2'), 'name or password has a control character'),
    (basic(b'bob:hunter2\n'), 'name or password has a control character'),
    (basic(b'bob:hunter2\x7f'), 'name or password has a control character'),
    (basic(b'\xe9' * 128 + b':'), 'the name is longer than 255 octets, or the password than 512'),
    (basic(b'x' * 256 + b':'), 'the name is longer than 255 octets, or the password than 512'),
    (basic(b'bob:' + b'x' * 513), 'the name is longer than 255 octets, or the password than 512'),
])
def test_what_is_wrong_with_a_field_is_told_without_a_word_of_it(value, what):
    with pytest.raises(ValueError) as caught:
        htpasswd.parse_credentials(value)
    assert str(caught.value) == what


def test_a_name_in_a_file_of_latin_1_is_the_name_that_clients_send_in_either_coding():
    for octets in (b'j\xf6rg', b'j\xc3\xb6rg'):
        users, problems = htpasswd.parse_users([octets + b':' + SHA])
        assert list(users) == [htpasswd.parse_credentials(basic(octets + b':x'))[0]] == [b'j\xc3\xb6rg'] and not problems
        assert htpasswd.parse_groups([b'ops: ' + octets])[0] == {b'ops': frozenset([b'j\xc3\xb6rg'])}


def test_a_huge_field_takes_no_time():
    with pytest.raises(ValueError):
        htpasswd.parse_credentials(b'Basic ' + b'=' * 65536)
    with pytest.raises(ValueError):
        htpasswd.parse_credentials(basic(b'x' * 65536))
