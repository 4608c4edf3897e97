"""Tables of pages: how a page is found, who may see it, and what is told where there is none."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.http1 import reading
from geproxy.pages import table


def anybody(_visit):
    """Allow every visitor."""


def friends(visit):
    """Allow one visitor only."""
    if visit.visitor != 'friend':
        raise errors.Denied('for friends only')


def show(visit):
    """A page that shows what it was asked with."""
    return table.Answer(200, 'text/html', 'query: %r' % visit.query.decode('ascii'), b'X-More: 1\r\n')


def fail(_visit):
    """A page that cannot answer now."""
    raise errors.Full('no room')


def nothing(_visit):
    """The answer for all other paths."""
    return table.plain(404, 'there are: ' + table.paths(PAGES))


PAGES = {
    b'/show': table.Page(table.READ, anybody, show),
    b'/friends': table.Page(table.READ, friends, show),
    b'/do': table.Page(table.WRITE, anybody, show),
    b'/full': table.Page(table.READ, anybody, fail),
    table.ELSE: table.Page(table.ANY, anybody, nothing),
}


def answer(line, visitor=None, pages=PAGES):
    """The Answer to a request line."""
    return table.answer(pages, reading.parse_request(b'%s HTTP/1.1\r\nHost: a.test\r\n\r\n' % line), visitor)


@pytest.mark.parametrize('line, visitor, status', [
    (b'GET /show', None, 200), (b'HEAD /show?x', None, 200), (b'POST /show', None, 405), (b'POST /do', None, 200),
    (b'GET /do', None, 405), (b'GET /', None, 404), (b'POST /', None, 404), (b'GET /show/', None, 404),
    (b'GET /Show', None, 404), (b'OPTIONS *', None, 404), (b'GET http://a.test/show', None, 404),
    (b'GET /friends', None, 403), (b'GET /friends', 'friend', 200), (b'POST /friends', None, 403), (b'GET /full', None, 503),
])
def test_a_page_is_found_by_path_and_method_for_allowed_visitors(line, visitor, status):
    assert answer(line, visitor).status == status


def test_a_method_that_a_page_does_not_take_is_refused_with_those_that_it_takes():
    refused = answer(b'DELETE /show')
    assert (refused.status, refused.more) == (405, b'Allow: GET, HEAD\r\n')
    assert 'GET or HEAD' in refused.body


def test_a_page_gets_the_query_and_its_failure_is_told_in_words():
    assert answer(b'GET /show?a=b?c').body == "query: 'a=b?c'" or answer(b'GET /show?a=b?c').body == "query: u'a=b?c'"
    assert answer(b'GET /full').body == 'no room\n'
    assert answer(b'GET /friends').body == 'for friends only\n'
    assert answer(b'GET /x').body == 'there are: /do /friends /full /show\n'


def test_a_new_page_is_a_row_and_a_function():
    def hello(visit):
        return table.plain(200, 'hello ' + visit.visitor)
    pages = dict(PAGES)
    pages[b'/hello'] = table.Page(table.READ, friends, hello)
    assert answer(b'GET /hello', 'friend', pages).body == 'hello friend\n'
    assert answer(b'GET /hello', 'else', pages).status == 403


@pytest.mark.parametrize('bodiless', [False, True])
def test_an_answer_is_never_kept_and_its_type_never_guessed(bodiless):
    octets = table.whole(answer(b'GET /show?x'), bodiless, b'Connection: close\r\n')
    head, _, body = octets.partition(b'\r\n\r\n')
    assert head.split(b'\r\n') == [
        b'HTTP/1.1 200 OK', b'Content-Type: text/html', b'Content-Length: %d' % len(answer(b'GET /show?x').body), b'X-More: 1',
        b'Cache-Control: no-store', b'X-Content-Type-Options: nosniff', b'Connection: close']
    assert body == (b'' if bodiless else answer(b'GET /show?x').body.encode('ascii'))
