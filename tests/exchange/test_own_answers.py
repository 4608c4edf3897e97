"""What the proxy answers by itself to OPTIONS and TRACE."""
from __future__ import absolute_import, division, print_function

from geproxy.exchange import own_answers
from geproxy.http1 import reading


def test_trace_shows_neither_a_password_in_the_target_nor_secret_fields():
    head = b'TRACE http://u:pass@a/ HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nX: y\r\n\r\n'
    answer = own_answers.last_hop(reading.parse_request(head), head, False)
    assert b'TRACE http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n' in answer
    assert b'pass' not in answer and b'secret' not in answer
