"""Name and password in a field of the scheme Basic (RFC 7617). Pure. They are secrets: no message quotes them."""
from __future__ import absolute_import, division, print_function

import binascii
import re

from geproxy import errors

# token68, as base64 is written                                                         (RFC 4648, 4)
_is_base64 = re.compile(br'[A-Za-z0-9+/]*={0,2}\Z').match


def parse_credentials(value):
    """Return (name, password), octets, from the value of a Proxy-Authorization field, octets (RFC 7617, 2).

    Returns None if the field is of another scheme than Basic. Raises LoginFailed if it is not well formed.
    """
    scheme, _space, encoded = value.partition(b' ')
    if scheme.lower() != b'basic':
        return None
    encoded = encoded.strip(b' ')
    if not _is_base64(encoded) or len(encoded) % 4:
        raise errors.LoginFailed('log-in failed: what follows Basic is no base64')
    name, colon, password = binascii.a2b_base64(encoded).partition(b':')
    if not colon:
        raise errors.LoginFailed('log-in failed: there is no colon between name and password')
    return name, password
