"""Exchanges for those who watch: each once, in order, bounded, and what was missed is told."""
from __future__ import absolute_import, division, print_function

import json

import pytest
from helpers import Recorder

from geproxy.observe import metrics, subscribers
from geproxy.observe.record import Record


def ended(url=b'http://a.test/'):
    """A Record of an exchange that has ended."""
    record = Record('127.0.0.1')
    record.method, record.url, record.status = b'GET', url, 200
    return record


def observing():
    """An Observer before a Recorder."""
    recorder = Recorder()
    return subscribers.Observer(recorder, metrics.Metrics()), recorder


def taken(watcher):
    """What waits for it, read."""
    return [json.loads(line) for line in watcher.take()]


def test_the_log_gets_all_that_it_got_before():
    observer, recorder = observing()
    one, two = ended(), ended()
    observer.opened(one)
    observer.access(two)
    observer.say('hello')
    assert (recorder.tunnels, recorder.records, recorder.said) == ([one], [two], ['hello'])


def test_each_watcher_gets_what_happens_while_it_watches():
    observer, _recorder = observing()
    observer.access(ended(b'http://before.test/'))
    first = observer.watch(True)
    observer.access(ended(b'http://one.test/'))
    second = observer.watch(True)
    observer.access(ended(b'http://two.test/'))
    observer.unwatch(first)
    observer.access(ended(b'http://three.test/'))
    assert [line['url.original'] for line in taken(first)] == ['http://one.test/', 'http://two.test/']
    assert [line['url.original'] for line in taken(second)] == ['http://two.test/', 'http://three.test/']
    assert taken(first) == []


def test_a_tunnel_is_shown_as_it_was_when_it_opened():
    observer, _recorder = observing()
    watcher = observer.watch(True)
    record = ended(b'a.test:443')
    observer.opened(record)
    record.reason = 'tunnel_idle'
    observer.access(record)
    opened, over = taken(watcher)
    assert (opened['event'], opened.get('reason')) == ('opened', None)
    assert (over['event'], over['reason']) == ('ended', 'tunnel_idle')
    assert opened['id'] == over['id'] == record.id


@pytest.mark.parametrize('query,url', [(True, 'http://a.test/?token=1'), (False, 'http://a.test/?')])
def test_query_strings_are_shown_as_the_log_has_them(query, url):
    observer, _recorder = observing()
    watcher = observer.watch(query)
    observer.access(ended(b'http://a.test/?token=1'))
    assert taken(watcher)[0]['url.original'] == url


def test_who_is_too_slow_misses_some_and_is_told_how_many():
    observer, recorder = observing()
    slow = observer.watch(True)
    for _ in range(subscribers.QUEUE + 7):
        observer.access(ended())
    lines = taken(slow)
    assert len(lines) == subscribers.QUEUE + 1 and lines[-1] == {'event': 'dropped', 'count': 7}
    assert len(recorder.records) == subscribers.QUEUE + 7
    observer.access(ended())
    assert [line['event'] for line in taken(slow)] == ['ended']
