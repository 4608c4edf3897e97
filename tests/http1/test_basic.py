"""The scheme Basic: every form of the field."""
from __future__ import absolute_import, division, print_function

import base64

import pytest

from geproxy import errors
from geproxy.http1 import basic


def field(octets, scheme=b'Basic '):
    """The field value for `name:password`."""
    return scheme + base64.b64encode(octets)


@pytest.mark.parametrize('value, credentials', [
    (field(b'bob:secret'), (b'bob', b'secret')),
    (field(b'bob:secret', b'basic '), (b'bob', b'secret')),
    (field(b'bob:secret', b'BASIC   ') + b' ', (b'bob', b'secret')),
    (field(b'bob:se:cr:et'), (b'bob', b'se:cr:et')),
    (field(b'bob:'), (b'bob', b'')),
    (field(b':'), (b'', b'')),
    (field(b'b\xf6b:\xff'), (b'b\xf6b', b'\xff')),
    (b'', None),
    (b'Bearer hunter2', None),
    (b'Digest username="bob"', None),
    (b'Basically Ym9iOnNlY3JldA==', None),
    (b'Negotiate', None),
])
def test_name_and_password_are_in_the_field(value, credentials):
    assert basic.parse_credentials(value) == credentials


@pytest.mark.parametrize('value, what', [
    (b'Basic', 'there is no colon between name and password'),
    (b'Basic bob:hunter2', 'the text after Basic is not base64'),
    (b'Basic aHVudGVyMg', 'the text after Basic is not base64'),
    (b'Basic aHVudGVyMg=', 'the text after Basic is not base64'),
    (b'Basic =aHVudGVyMg', 'the text after Basic is not base64'),
    (b'Basic aHVu dGVyMg==', 'the text after Basic is not base64'),
    (b'Basic aHVudGVyMg==\n', 'the text after Basic is not base64'),
    (b'Basic aHVudGVyMg==, Basic', 'the text after Basic is not base64'),
    (b'Basic ' + b'-_' * 4, 'the text after Basic is not base64'),
    (b'Basic ' + b'=' * 65536, 'the text after Basic is not base64'),      # and takes no time
    (field(b'hunter2'), 'there is no colon between name and password'),
])
def test_a_message_about_a_bad_field_quotes_nothing_of_it(value, what):
    with pytest.raises(errors.LoginFailed) as caught:
        basic.parse_credentials(value)
    assert str(caught.value) == 'log-in failed: ' + what
