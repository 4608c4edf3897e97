"""Reads a name and a password from a field of the scheme Basic (RFC 7617). Pure. No message quotes these secrets."""
from __future__ import absolute_import, division, print_function

import binascii
import re

from geproxy import errors

# token68, as base64 is written                                                         (RFC 4648, 4)
_is_base64 = re.compile(br'[A-Za-z0-9+/]*={0,2}\Z').match


def parse_credentials(value):
    """Return (name, password), octets, from a Proxy-Authorization field (RFC 7617, 2); None if its scheme is not Basic.

    `value`: the value of the field, octets. Raises LoginFailed if it is not valid.
    """
    scheme, _space, encoded = value.partition(b' ')
    if scheme.lower() != b'basic':
        return None
    encoded = encoded.strip(b' ')
    if not _is_base64(encoded) or len(encoded) % 4:
        raise errors.LoginFailed('log-in failed: the text after Basic is not base64')
    name, colon, password = binascii.a2b_base64(encoded).partition(b':')
    if not colon:
        raise errors.LoginFailed('log-in failed: there is no colon between name and password')
    return name, password
