"""The record of an exchange: its id, and what it has before there is a request or a response."""
from __future__ import absolute_import, division, print_function

import re

from geproxy.http1 import reading
from geproxy.observe.record import NO_MESSAGE, Record


def test_a_request_id_is_unique_and_stays_the_same():
    records = [Record('::1') for _ in range(100)]
    ids = [record.id for record in records]
    assert len(set(ids)) == 100 and ids == [record.id for record in records]
    assert all(re.match(r'[0-9a-f]{6}-[0-9]+\Z', each) for each in ids)


def test_before_a_request_is_understood_its_values_are_empty():
    record = Record('::1')
    assert record.request is record.response is NO_MESSAGE
    assert (record.method, record.url, record.request.protocol, record.response.content_type) == (b'', b'', b'', b'')
    assert record.request.values(b'user-agent') == ()


def test_a_record_has_the_request_itself():
    record = Record('::1')
    record.request = reading.parse_request(b'GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: me\r\n\r\n')
    assert (record.method, record.url) == (b'GET', b'http://a.test/x')
    assert record.request.values(b'user-agent') == (b'me',)
