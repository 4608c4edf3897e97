"""Filters: what operators type, and which exchanges are shown then."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.commands import filters

EVENT = {
    'event': 'ended', 'client.ip': '10.1.2.3', 'user.name': 'joe', 'http.request.method': 'GET',
    'url.original': 'http://deb.Debian.org:80/pool/x?y', 'http.response.status_code': 404, 'event.duration': 2500000000,
    'reason': 'dns_error', 'route': 'http://Proxy-a.corp:3128'}
TUNNEL = {'event': 'opened', 'client.ip': '::1', 'url.original': '[2001:db8::1]:443', 'http.request.method': 'CONNECT'}


@pytest.mark.parametrize('word,shown', [
    ('host:debian.org', True), ('host:.debian.org', True), ('host:deb.debian.org', True), ('host:DEBIAN.org', True),
    ('host:ian.org', False), ('host:*ian.org', True), ('host:a.test,debian.org', True), ('host:a.test', False),
    ('status:404', True), ('status:=404', True), ('status:>=400', True), ('status:>404', False), ('status:<500', True),
    ('status:<=403', False), ('status:4xx', True), ('status:5xx', False), ('status:5xx,404', True),
    ('client:10.1.2.3', True), ('client:10.0.0.0/8', True), ('client:private', True), ('client:10.1.2.4', False),
    ('slow:>2s', True), ('slow:2500ms', True), ('slow:>=2.5', True), ('slow:>3s', False),
    ('method:get', True), ('method:POST,GET', True), ('method:POST', False),
    ('user:joe', True), ('user:*', True), ('user:j?e', True), ('user:jane', False),
    ('reason:dns_error', True), ('reason:*', True), ('reason:dns*', True), ('reason:tunnel_idle', False),
    ('route:proxy-a.corp', True), ('route:proxy-a.corp:3128', True), ('route:http://proxy-a.corp:3128', True),
    ('route:PROXY-*', True), ('route:*', True), ('route:proxy', False), ('route:direct', False),
    ('/pool/', True), ('pool/x?y', True), ('http://deb', True), ('/none', False)])
def test_an_event_is_shown_if_the_filter_matches(word, shown):
    assert filters.parse(word)(EVENT) is shown


@pytest.mark.parametrize('word,shown', [
    ('host:2001:db8::1', True), ('client:::1', True), ('method:CONNECT', True), ('status:>=0', False),
    ('slow:1ms', False), ('user:*', False), ('reason:*', False), ('route:*', False), ('443', True)])
def test_a_tunnel_that_opens_has_no_status_and_no_duration_yet(word, shown):
    assert filters.parse(word)(TUNNEL) is shown


@pytest.mark.parametrize('word,what', [
    ('hots:a', 'did you mean host?'), ('status:', "filter 'status:' has no value"), ('status:abc', "invalid status 'abc'"),
    ('status:>=4xx', "invalid status '>=4xx'"), ('slow:fast', 'fast'), ('client:joe', 'joe')])
def test_a_wrong_filter_is_explained(word, what):
    with pytest.raises(ValueError) as raised:
        filters.parse(word)
    assert what in str(raised.value)


@pytest.mark.parametrize('url,host', [
    ('http://A.test:8080/b:c@d', 'a.test'), ('a.test:443', 'a.test'), ('[::1]:443', '::1'), ('http://u:p@a.test/', 'a.test'),
    ('error:invalid-request', 'error'), ('', '')])
def test_the_host_of_a_url(url, host):
    assert filters.host_of(url) == host
