"""The pages of the port that clients use: what they say, and that nothing of the admin listener is among them."""
from __future__ import absolute_import, division, print_function

import encrypted
import pytest
from helpers import ask, proxying

from geproxy.admin import endpoints
from geproxy.http1 import reading
from geproxy.pages import proxy_port, table


def answer(line, close=False):
    """What is sent for a request line -> (status, message.Response, body)."""
    status, octets = proxy_port.answer(reading.parse_request(b'%s HTTP/1.1\r\nHost: gateway:9000\r\n\r\n' % line), close)
    head, _, body = octets.partition(b'\r\n\r\n')
    return status, reading.parse_response(head + b'\r\n\r\n'), body


def test_the_first_page_says_how_to_use_the_proxy():
    status, response, body = answer(b'GET /')
    assert status == response.status == 200
    assert response.values(b'content-type') == (b'text/html; charset=utf-8',)
    assert b'export http_proxy=http://gateway:9000/\n' in body and b'%(' not in body


def test_any_other_path_is_told_where_the_first_page_is():
    status, response, body = answer(b'GET /nothing')
    assert status == response.status == 404 and b'http://gateway:9000/\n' in body


@pytest.mark.parametrize('path', [b'/', b'/nothing'])
def test_an_answer_says_its_length_its_date_and_whether_it_is_the_last(path):
    for close in (False, True):
        status, response, body = answer(b'GET ' + path, close)
        assert response.persists is not close
        assert response.values(b'content-length') == (b'%d' % len(body),) and len(response.values(b'date')) == 1
        assert response.values(b'cache-control') == (b'no-store',)
        alone, nothing = answer(b'HEAD ' + path, close)[1:]
        assert alone.values(b'content-length') == response.values(b'content-length') and not nothing


def test_a_method_that_a_page_does_not_take_is_refused():
    status, response, _body = answer(b'POST /')
    assert status == 405 and response.values(b'allow') == (b'GET, HEAD',)


def test_a_new_page_is_reached_through_the_port(monkeypatch):
    monkeypatch.setitem(proxy_port.PAGES, b'/hello', table.Page(
        table.READ, proxy_port.any_client, lambda visit: table.plain(200, 'hello')))
    with proxying() as (address, proxy):
        shown = ask(address, b'GET /hello HTTP/1.1\r\nHost: gateway:%d\r\n\r\n' % address[1])
        assert shown.startswith(b'HTTP/1.1 200 OK\r\n') and shown.endswith(b'\r\n\r\nhello\n')
        assert (proxy.wait()[0].status, proxy.records[0].reason) == (200, '')


@pytest.mark.parametrize('path', sorted(endpoints.PAGES))
def test_no_page_of_the_admin_listener_is_here(path):
    method = endpoints.PAGES[path].methods[:1] or (b'GET',)
    with proxying('[admin]\nlisten = 127.0.0.1:0\n') as (address, _proxy):
        shown = ask(address, b'%s %s HTTP/1.1\r\nHost: gateway:%d\r\n\r\n' % (method[0], path or b'/x', address[1]))
        assert shown.startswith(b'HTTP/1.1 404 ')


def test_the_first_page_mentions_tls_only_if_there_is_tls():
    request = reading.parse_request(b'GET / HTTP/1.1\r\nHost: gateway:9000\r\n\r\n')
    without, with_tls = (proxy_port.answer(request, False, each)[1] for each in (False, True))
    assert b'by TLS' not in without and b'programs talk plain HTTP' in without
    assert b'by TLS' in with_tls and b'talk plain HTTP' not in with_tls and b'%(' not in with_tls


@pytest.mark.parametrize('only', [True, False])
def test_a_port_for_tls_alone_is_shown_with_https(only):
    with encrypted.proxying(listen_tls=only) as (address, _proxy):
        first, other = (encrypted.ask(address, b'GET %s HTTP/1.1\r\nHost: gateway:%d\r\nConnection: close\r\n\r\n' % (
            path, address[1])) for path in (b'/', b'/other'))
    place, other_scheme = b'gateway:%d' % address[1], b'http' if only else b'https'
    scheme = b'https' if only else b'http'
    assert b'http_proxy=%s://%s/\n' % (scheme, place) in first and b'https_proxy=%s://%s/<' % (scheme, place) in first
    assert b'proxy=%s://' % other_scheme not in first and b'%(' not in first and b'%s' not in first
    assert (b'HTTPS %s"' % place in first) is (b'"HTTP proxy"' not in first) is only
    assert b'Its first page: %s://%s/\n' % (scheme, place) in other
