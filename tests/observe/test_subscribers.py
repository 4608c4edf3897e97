"""Streams for subscribers: each event once, in order, bounded; what was dropped is said, and no record is kept."""
from __future__ import absolute_import, division, print_function

import gc
import json
import weakref

import pytest
from helpers import Asked

from geproxy.observe import subscribers
from geproxy.observe.record import NoMessage, Record


def ended(url=b'http://a.test/'):
    """A Record of an exchange that has ended."""
    record = Record('127.0.0.1')
    record.request, record.status = Asked(b'GET', url, b'HTTP/1.1'), 200
    return record


def taken(subscriber):
    """What waits for a subscriber, parsed."""
    return [json.loads(line) for line in subscriber.take()]


def test_a_subscriber_gets_each_exchange_once_in_order():
    subscriber = subscribers.Subscriber(True)
    assert not subscriber.arrived.is_set()
    subscriber.ended(ended(b'http://one.test/'))
    subscriber.ended(ended(b'http://two.test/'))
    assert subscriber.arrived.is_set()
    assert [line['url.original'] for line in taken(subscriber)] == ['http://one.test/', 'http://two.test/']
    assert taken(subscriber) == [] and not subscriber.arrived.is_set()


def test_a_tunnel_is_shown_as_it_was_when_it_opened():
    subscriber, record = subscribers.Subscriber(True), ended(b'a.test:443')
    subscriber.opened(record)
    record.reason = 'tunnel_idle'
    subscriber.ended(record)
    opened, over = taken(subscriber)
    assert (opened['event'], opened.get('reason')) == ('opened', None)
    assert (over['event'], over['reason']) == ('ended', 'tunnel_idle')
    assert opened['id'] == over['id'] == record.id


@pytest.mark.parametrize('query,url', [(True, 'http://a.test/?token=1'), (False, 'http://a.test/?')])
def test_query_strings_are_shown_as_the_log_shows_them(query, url):
    subscriber = subscribers.Subscriber(query)
    subscriber.ended(ended(b'http://a.test/?token=1'))
    assert taken(subscriber)[0]['url.original'] == url


def test_a_slow_subscriber_misses_lines_and_is_told_how_many():
    subscriber = subscribers.Subscriber(True)
    for _ in range(subscribers.QUEUE + 7):
        subscriber.ended(ended())
    lines = taken(subscriber)
    assert len(lines) == subscribers.QUEUE + 1 and lines[-1] == {'event': 'dropped', 'count': 7}
    subscriber.ended(ended())
    assert [line['event'] for line in taken(subscriber)] == ['ended']


class Secret(NoMessage):
    """A request of which a weak reference tells whether it is still kept."""
    method, url, protocol = b'GET', b'http://a.test/', b'HTTP/1.1'


def test_a_queue_keeps_no_request_for_it_may_have_secrets():
    subscriber, record = subscribers.Subscriber(True), ended()
    record.request = Secret()
    request = weakref.ref(record.request)
    subscriber.opened(record)
    subscriber.ended(record)
    del record
    gc.collect()
    assert request() is None and len(taken(subscriber)) == 2
