"""The formats of log lines: always one line, no secrets, readable by machines and people."""
from __future__ import absolute_import, division, print_function

import json
import os
import re
import time

import pytest
from helpers import Answered, Asked

from geproxy.http1 import grammar
from geproxy.observe import formats
from geproxy.observe.record import Record


def record(**values):
    """Return the Record of a GET that succeeded, with these values changed."""
    made = Record('10.0.0.5')
    made.number = 1
    made.wall, made.seconds, made.took, made.first = 1700000000.25, 0.125, (0.001, 0.002), 0.1
    made.request = Asked(values.pop('method', b'GET'), values.pop('url', b'http://a.example/x?q=1'),
                         values.pop('version', b'HTTP/1.1'))
    made.response = Answered(values.pop('content_type', b'text/html'))
    made.status, made.sent, made.received, made.address = 200, 1234, 99, '192.0.2.1'
    for name, value in values.items():
        setattr(made, name, value)
    return made


TUNNEL = {'method': b'CONNECT', 'url': b'a.example:443', 'tunnel': True, 'content_type': b''}
PARENT = {'route': 'http://proxy-a.corp:3128', 'address': '192.0.2.7'}
DENIED = {'status': 403, 'address': '', 'reason': 'http_request_denied', 'message': 'port 25', 'content_type': b''}
UNREAD = {'method': b'', 'url': b'', 'version': b'', 'status': 400, 'address': '', 'content_type': b'',
          'reason': 'http_request_error', 'message': "'x' is not a request line"}


@pytest.fixture(params=['UTC0', 'EST5', 'IST-5:30', 'NST3:30', 'LINT-14'])
def zone(request):
    """Run the test in a time zone; its name."""
    before = os.environ.get('TZ')
    os.environ['TZ'] = request.param
    time.tzset()
    yield request.param
    del os.environ['TZ']
    if before is not None:
        os.environ['TZ'] = before
    time.tzset()


@pytest.mark.parametrize('values, word', [
    ({}, 'TCP_MISS'), ({'aborted': True}, 'TCP_MISS_ABORTED'), (TUNNEL, 'TCP_TUNNEL'),
    (dict(TUNNEL, aborted=True), 'TCP_TUNNEL_ABORTED'), (DENIED, 'TCP_DENIED'),
    (dict(DENIED, status=407), 'TCP_DENIED'), (UNREAD, 'NONE_NONE'), ({'status': 403}, 'TCP_MISS'),
    ({'status': 504, 'address': ''}, 'NONE_NONE'),
    ({'status': 0, 'address': '', 'aborted': True}, 'NONE_NONE_ABORTED'),
])
def test_a_result_is_one_of_squids_codes(values, word):
    assert formats.result(record(**values)) == word


@pytest.mark.parametrize('octets, shown', [
    (b'', '-'), (b'GET', 'GET'), (b'-', '-'), (b'a b\tc', 'a%20b%09c'), (b'a"b\\c', 'a%22b%5Cc'), (b'a%20b', 'a%20b'),
    (b'\r\n10.0.0.1 - - "GET', '%0D%0A10.0.0.1%20-%20-%20%22GET'), (b'\x00\x1b[31m\x7f', '%00%1B[31m%7F'),
    (b'Zo\xc3\xab', 'Zo%C3%AB'), (b"!#$&'()*+,-./:;<=>?@[]^_`{|}~", "!#$&'()*+,-./:;<=>?@[]^_`{|}~"),
])
def test_unsafe_octets_are_percent_encoded(octets, shown):
    assert formats.show(octets) == shown
    assert type(formats.show(octets)) is str


@pytest.mark.parametrize('url, query, shown', [
    (b'http://a/?q=1', True, 'http://a/?q=1'), (b'http://a/?q=1?r', False, 'http://a/?'),
    (b'http://a/', False, 'http://a/'), (b'', True, 'error:invalid-request'),
    (b'', False, 'error:invalid-request'), (b'a:443', False, 'a:443'),
])
def test_a_query_string_is_shown_only_if_asked_for(url, query, shown):
    assert formats.show_url(record(url=url), query) == shown


@pytest.mark.parametrize('values, line', [
    ({}, '1700000000.375    125 10.0.0.5 TCP_MISS/200 1234 GET http://a.example/x? - HIER_DIRECT/192.0.2.1 text/html'),
    (TUNNEL, '1700000000.375    125 10.0.0.5 TCP_TUNNEL/200 1234 CONNECT a.example:443 - HIER_DIRECT/192.0.2.1 -'),
    (DENIED, '1700000000.375    125 10.0.0.5 TCP_DENIED/403 1234 GET http://a.example/x? - HIER_NONE/- -'),
    ({'route': 'direct'},
     '1700000000.375    125 10.0.0.5 TCP_MISS/200 1234 GET http://a.example/x? - HIER_DIRECT/192.0.2.1 text/html'),
    (dict(DENIED, route='direct'), '1700000000.375    125 10.0.0.5 TCP_DENIED/403 1234 GET http://a.example/x? - HIER_NONE/- -'),
    (PARENT, '1700000000.375    125 10.0.0.5 TCP_MISS/200 1234 GET http://a.example/x? - FIRSTUP_PARENT/proxy-a.corp text/html'),
    (dict(TUNNEL, route='socks5h://[2001:db8::1]:1080'),
     '1700000000.375    125 10.0.0.5 TCP_TUNNEL/200 1234 CONNECT a.example:443 - FIRSTUP_PARENT/2001:db8::1 -'),
    (dict(TUNNEL, route='http://proxy-a.corp:3128', address='', status=403, tunnel=False, reason='parent_refused'),
     '1700000000.375    125 10.0.0.5 TCP_MISS/403 1234 CONNECT a.example:443 - FIRSTUP_PARENT/proxy-a.corp -'),
    (dict(PARENT, address=''),
     '1700000000.375    125 10.0.0.5 NONE_NONE/200 1234 GET http://a.example/x? - HIER_NONE/- text/html'),
    (UNREAD, '1700000000.375    125 10.0.0.5 NONE_NONE/400 1234 - error:invalid-request - HIER_NONE/- -'),
    ({'status': 0, 'aborted': True, 'seconds': 1234567.0, 'content_type': b''},
     '1701234567.250 1234567000 10.0.0.5 TCP_MISS_ABORTED/000 1234 GET http://a.example/x? - HIER_DIRECT/192.0.2.1 -'),
    ({'wall': 1700000000.0, 'seconds': 0.0005},
     '1700000000.000      0 10.0.0.5 TCP_MISS/200 1234 GET http://a.example/x? - HIER_DIRECT/192.0.2.1 text/html'),
])
def test_a_line_of_squids_format(values, line):
    assert formats.squid_line(record(**values), False) == line


def test_a_line_of_the_common_format(zone):
    when = {'UTC0': '14/Nov/2023:22:13:20 +0000', 'EST5': '14/Nov/2023:17:13:20 -0500',
            'IST-5:30': '15/Nov/2023:03:43:20 +0530', 'NST3:30': '14/Nov/2023:18:43:20 -0330',
            'LINT-14': '15/Nov/2023:12:13:20 +1400'}[zone]
    assert formats.common_line(record(), False) == (
        '10.0.0.5 - - [%s] "GET http://a.example/x? HTTP/1.1" 200 1234' % when)


@pytest.mark.parametrize('values, line', [
    ({}, '10.0.0.5 GET http://a.example/x?q=1 200 1.21K 125ms'),
    (dict(TUNNEL, seconds=3.0), '10.0.0.5 CONNECT a.example:443 200 1.21K 3s (99 up)'),
    (PARENT, '10.0.0.5 GET http://a.example/x?q=1 200 1.21K 125ms through http://proxy-a.corp:3128'),
    ({'route': 'direct'}, '10.0.0.5 GET http://a.example/x?q=1 200 1.21K 125ms'),
    (dict(TUNNEL, seconds=3.0, **PARENT),
     '10.0.0.5 CONNECT a.example:443 200 1.21K 3s (99 up) through http://proxy-a.corp:3128'),
    (DENIED, '10.0.0.5 GET http://a.example/x?q=1 403 1.21K 125ms http_request_denied: port 25 [ID]'),
    (UNREAD, "10.0.0.5 - error:invalid-request 400 1.21K 125ms http_request_error: 'x' is not a request line [ID]"),
])
def test_a_line_of_the_console_format(values, line):
    made = record(**values)
    assert formats.console_line(made, True) == line.replace('ID', made.id)


def test_a_line_of_the_json_format_has_the_fields_of_the_table(zone):
    found = json.loads(formats.json_line(record(kept=True), False))
    expected = {
        '@timestamp': '2023-11-14T22:13:20.250Z', 'id': record().id, 'client.ip': '10.0.0.5', 'http.request.method': 'GET',
        'url.original': 'http://a.example/x?', 'http.version': 'HTTP/1.1', 'http.response.status_code': 200,
        'http.request.bytes': 99, 'http.response.bytes': 1234, 'destination.ip': '192.0.2.1',
        'event.duration': 125000000, 'result': 'TCP_MISS', 'kept': True, 'dns_ms': 1.0, 'connect_ms': 2.0,
        'first_ms': 100.0}
    assert dict((name, found.get(name)) for name in expected) == expected
    assert set(expected) <= set(found) <= set(field.name for field in formats.FIELDS)


def test_a_line_of_the_json_format_leaves_out_fields_without_a_value():
    found = json.loads(formats.json_line(record(took=(None, None), first=None, **DENIED), True))
    assert not set(found) & {
        'destination.ip', 'dns_ms', 'connect_ms', 'first_ms', 'user.name', 'rule', 'would_refuse'}
    assert None not in found.values() and '' not in found.values()
    assert (found['reason'], found['message'], found['kept']) == ('http_request_denied', 'port 25', False)


@pytest.mark.parametrize('route', ['direct', 'http://proxy-a.corp:3128'])
def test_the_json_format_has_the_route_if_there_are_routes(route):
    assert json.loads(formats.json_line(record(route=route), False))['route'] == route
    assert 'route' not in json.loads(formats.json_line(record(), False))


def test_the_lines_about_an_opened_tunnel_and_about_a_failure():
    assert formats.opened_line(record(**TUNNEL)) == '10.0.0.5 CONNECT a.example:443 open, to 192.0.2.1'
    through = record(**dict(TUNNEL, **PARENT))
    assert formats.opened_line(through) == '10.0.0.5 CONNECT a.example:443 open, through http://proxy-a.corp:3128'
    failed = record(**DENIED)
    assert formats.failure_line(failed) == (
        '[%s] 10.0.0.5 GET http://a.example/x? 403 http_request_denied: port 25' % failed.id)


HOSTILE = [b'\r\n', b'\n', b'\x00', b'\x1b[2J', b'" 200 0\n10.0.0.1 - - "', b'\x85', b'\xe2\x80\xa8', b' x y ',
           b"'\\\"", b'\xff', b'%0a', b'\x7f']


@pytest.mark.parametrize('octets', HOSTILE)
@pytest.mark.parametrize('name', sorted(formats.FORMATS))
def test_no_octets_forge_a_line(name, octets):
    made = record(method=b'G' + octets, url=b'http://a/' + octets, version=octets, content_type=octets)
    line = formats.FORMATS[name](made, True)
    assert re.match(r'[ -~]+\Z', line)
    assert line.count(' ') == formats.FORMATS[name](record(), True).count(' ')
    assert name == 'json' or line.count('"') == (2 if name == 'common' else 0)


@pytest.mark.parametrize('octets, shown', [
    (0, '0'), (1, '1'), (999, '999'), (1000, '0.977K'), (1024, '1K'), (1536, '1.5K'), (1023 * 1024, '0.999M'),
    (1024 ** 2, '1M'), (3500000, '3.34M'), (1024 ** 3 * 10, '10G'), (1024 ** 4 * 5000, '5e+03T'),
])
def test_sizes_are_shown_in_three_digits(octets, shown):
    assert formats.show_size(octets) == shown


@pytest.mark.parametrize('seconds, shown', [
    (0, '0ms'), (0.0034, '3ms'), (0.9999, '999ms'), (1, '1s'), (1.2345, '1.23s'), (59.4, '59.4s'), (60, '1m00s'),
    (123, '2m03s'), (3599.9, '59m59s'), (3600, '1h00m'), (3725, '1h02m'), (360000, '100h00m'),
])
def test_durations_are_shown_in_seconds_minutes_and_hours(seconds, shown):
    assert formats.show_seconds(seconds) == shown


def test_each_field_is_declared_once_with_its_sentence():
    names = [field.name for field in formats.FIELDS]
    assert len(names) == len(set(names))
    assert all(field.sentence for field in formats.FIELDS)


@pytest.mark.parametrize('query', [True, False])
@pytest.mark.parametrize('line', sorted(formats.FORMATS))
def test_the_length_of_a_line_is_bounded(line, query):
    made = record(url=b'http://a/' + b'"' * 65000, method=b'M' * 65000, user=b'\xff' * 65000, reason='x',
                  content_type=b'"' * 65000, message='"' * 65000, would='"' * 65000)
    assert len(formats.FORMATS[line](made, query)) < 3 * (formats.LONGEST_URL + 3 * formats.LONGEST) + 8 * grammar.LONGEST
    assert len(formats.failure_line(made)) + len(formats.report_line(made)) < 2 * 3 * 9000 + 3 * grammar.LONGEST


@pytest.mark.parametrize('more', [0, 1, 70000])
def test_a_shortened_value_says_how_much_was_cut_off(more):
    url = b'http://a/?' + b'"' * (formats.LONGEST_URL - 10)
    shown = formats.show_url(record(url=url + b'x' * more), True)
    assert shown == 'http://a/?' + '%22' * (formats.LONGEST_URL - 10) + ('...(+%d)' % more if more else '')
    assert formats.show(b'M' * (formats.LONGEST + more)) == 'M' * formats.LONGEST + ('...(+%d)' % more if more else '')
    made = record(reason='x', message='m' * (grammar.LONGEST + more))
    assert formats.failure_line(made).endswith('x: ' + 'm' * grammar.LONGEST + ('...(+%d)' % more if more else ''))


@pytest.mark.parametrize('up, seconds, again, failures, words', [
    (True, None, None, 0, 'no failure so far'),         # perhaps it was never tried
    (True, None, None, 2, 'in use; 2 failures so far, the last one: refused'),
    (True, 0.342, None, 1, 'in use again for the last 342ms; 1 failure so far, the last one: refused'),
    (False, 25.2, 4.8, 1, 'left out for the last 25.2s, tried again in 4.8s: refused'),
    (False, 3720, 0, 1, 'left out for the last 1h02m, tried again as soon as a request needs it: refused')])
def test_the_state_of_a_parent_tells_the_past_from_the_future(up, seconds, again, failures, words):
    assert formats.parent_state({'up': up, 'seconds': seconds, 'again': again, 'failures': failures, 'why': 'refused'}) == words
