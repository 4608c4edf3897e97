"""What the metrics count, read with the parser of Prometheus."""
from __future__ import absolute_import, division, print_function

import re

import pytest
from helpers import Asked
from prometheus_client.parser import text_string_to_metric_families

from geproxy import errors
from geproxy.observe import metrics
from geproxy.observe.record import Record


def ended(**values):
    """A Record of an exchange that has ended."""
    record = Record('127.0.0.1')
    record.request = Asked(values.pop('method', b'GET'), b'http://a.test/', b'HTTP/1.1')
    for name, value in dict(dict(status=200, seconds=0.02), **values).items():
        setattr(record, name, value)
    return record


def counted(*records):
    """Return the metrics after these records, parsed: {(name, sorted labels): value}."""
    counts = metrics.Metrics()
    for record in records:
        counts.ended(record)
    return read(metrics.exposition(counts.values(0, 0, 0, 0)))


def read(text):
    """Parse Prometheus' text format: {(name, sorted labels): value}."""
    found = {}
    for family in text_string_to_metric_families(text if isinstance(text, type(u'')) else text.decode('ascii')):
        for sample in family.samples:
            found[str(sample[0]), tuple(sorted((str(name), str(value)) for name, value in sample[1].items()))] = sample[2]
    return found


def requests(shown):
    """{(method, code): how many}"""
    return dict(((dict(labels)['method'], dict(labels)['code']), int(value))
                for (name, labels), value in shown.items() if name == 'geproxy_requests_total')


def test_requests_are_counted_by_method_and_status():
    shown = counted(ended(), ended(), ended(method=b'POST', status=404), ended(status=0))
    assert requests(shown) == {('GET', '200'): 2, ('POST', '404'): 1, ('GET', '000'): 1}


@pytest.mark.parametrize('method', [b'', b'PROPFIND', b'get', b'X' * 1000, b'\xff"\n', b'other'])
def test_unknown_methods_are_counted_together(method):
    assert requests(counted(ended(method=method), ended(method=method))) == {('other', '200'): 2}


def test_invented_methods_and_statuses_make_a_limited_number_of_series():
    records = [ended(method=method, status=status) for method in metrics.METHODS for status in range(100, 1000)]
    shown = requests(counted(*records))
    assert len(shown) == metrics.MOST_SERIES + 1
    assert sum(shown.values()) == len(records) and shown['other', 'other'] == len(records) - metrics.MOST_SERIES


def test_durations_fall_into_their_buckets():
    shown = counted(ended(seconds=0.005), ended(seconds=0.0051), ended(seconds=3600.0))
    buckets = dict((dict(labels)['le'], value) for (name, labels), value in shown.items()
                   if name == 'geproxy_request_duration_seconds_bucket')
    assert (buckets['0.005'], buckets['0.01'], buckets['60.0'], buckets['+Inf']) == (1, 2, 2, 3)
    assert shown['geproxy_request_duration_seconds_count', ()] == 3
    assert shown['geproxy_request_duration_seconds_sum', ()] == pytest.approx(3600.0101)


def test_tunnels_are_not_counted_as_slow_requests():
    shown = counted(ended(tunnel=True, method=b'CONNECT', seconds=86400.0))
    assert shown['geproxy_request_duration_seconds_count', ()] == 0
    assert requests(shown) == {('CONNECT', '200'): 1}


def test_only_new_connections_count_for_the_time_to_connect():
    shown = counted(ended(took=(0.001, 0.2)), ended(took=(0.001, 0.2), kept=True), ended())
    assert [shown[name, ()] for name in (
        'geproxy_connect_duration_seconds_count', 'geproxy_dns_duration_seconds_count',
        'geproxy_kept_requests_total')] == [1, 1, 1]


def test_failures_are_counted_by_reason_and_refusals_by_rule():
    shown = counted(
        ended(status=502, reason='dns_error'), ended(status=403, reason='http_request_denied', rule='a.ini:3'),
        ended(status=403, reason='http_request_denied'), ended(status=403, rule='a.ini:4'))     # the origin's own 403
    assert shown['geproxy_errors_total', (('reason', 'dns_error'),)] == 1
    assert shown['geproxy_errors_total', (('reason', 'http_request_denied'),)] == 2
    assert dict((labels[0][1], value) for (name, labels), value in shown.items()
                if name == 'geproxy_denied_total') == {'a.ini:3': 1, '-': 1}


def test_octets_of_running_exchanges_are_counted():
    counts = metrics.Metrics()
    counts.ended(ended(received=100, sent=2000))
    shown = read(metrics.exposition(counts.values(7, 11, 5, 6)))
    assert shown['geproxy_bytes_total', (('direction', 'in'), ('side', 'client'))] == 107
    assert shown['geproxy_bytes_total', (('direction', 'out'), ('side', 'client'))] == 2011
    assert [shown['geproxy_bytes_total', (('direction', way), ('side', 'origin'))] for way in ('in', 'out')] == [5, 6]


def test_the_start_of_a_response_is_timed_if_there_was_a_response():
    shown = counted(ended(first=0.003), ended(), ended(first=0.003, tunnel=True))
    assert shown['geproxy_response_start_seconds_count', ()] == shown['geproxy_response_start_seconds_bucket', (('le', '0.005'),)] == 1


def test_refused_log_ins_are_counted_and_requests_without_one_are_not():
    shown = counted(*[ended(status=407, reason=reason) for reason in ('login_failed', 'login_failed', 'login_required', 'login_throttled')])
    assert dict((labels[0][1], value) for (name, labels), value in shown.items() if name == 'geproxy_auth_failures_total') == {
        'login_failed': 2, 'login_throttled': 1, 'login_timeout': 0}


def test_the_reasons_of_refused_log_ins_are_tokens_of_errors():
    assert set(metrics.LOGINS) <= set(value.token for value in vars(errors).values() if hasattr(value, 'token'))


@pytest.mark.parametrize('rule', ['a\\b.ini:1', 'a"b.ini:1', 'a\nb.ini:1', 'a{b},c="d".ini:1'])
def test_no_label_breaks_its_line(rule):
    shown = counted(ended(status=403, reason='http_request_denied', rule=rule))
    assert shown['geproxy_denied_total', (('rule', rule),)] == 1


def test_each_counter_is_in_the_table():
    assert set(metrics.Metrics().values(0, 0, 0, 0)) <= set(metrics.BY_NAME)
    assert len(metrics.BY_NAME) == len(metrics.COUNTERS)


@pytest.mark.parametrize('counter', metrics.COUNTERS, ids=lambda counter: counter.name)
def test_names_and_sentences_follow_the_rules_of_prometheus(counter):
    assert re.match(r'(geproxy|process)_[a-z_]+\Z', counter.name)
    assert counter.kind in ('counter', 'gauge', 'histogram')
    assert counter.name.endswith('_total') == (counter.kind == 'counter')
    assert counter.sentence.endswith('.') and not re.search(r'[\\\n]', counter.sentence)
