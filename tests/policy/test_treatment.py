"""Treatment: the usual one leaves a request as it is."""
from __future__ import absolute_import, division, print_function

from geproxy.http1 import reading
from geproxy.policy.treatment import PLAIN


def test_the_plain_treatment_edits_nothing_and_slows_nothing_down():
    request = reading.parse_request(b'GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n')
    assert request.write(b'', edits=PLAIN.edits) == b'GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n'
    assert (PLAIN.up_pace, PLAIN.down_pace) == (None, None)
