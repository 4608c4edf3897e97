"""Small server code for tables of pages: find the page, ask whether the visitor may see it, write the answer.

A table is {path as octets: Page}. The admin listener has one, the port that clients use another: a page of one is never
found by way of the other. To add a page: write its function, and add a row. Sends nothing.
"""
from __future__ import absolute_import, division, print_function

import collections

from geproxy import errors
from geproxy.compat import to_native, to_octets

# methods: a tuple of octets, or ANY; may: a function of a Visit that raises errors.Denied if the visitor may not see
# the page; make: a function of a Visit that returns an Answer, or raises a ProxyError, whose status and message the
# visitor gets.
Page = collections.namedtuple('Page', 'methods may make')
# request: a message.Request; query: the part of the target after ?, octets; visitor: an object that the server of the
# table gives to its pages.
Visit = collections.namedtuple('Visit', 'request query visitor')
# status: an int; type: the media type, native text; body: native text, or a generator of it; more: further field lines,
# octets, each with its CRLF.
Answer = collections.namedtuple('Answer', 'status type body more')

READ, WRITE, ANY = (b'GET', b'HEAD'), (b'POST',), ()
ELSE = b''              # the path of the Page for all paths that have no row; each table has one
PLAIN = 'text/plain; charset=utf-8'
REASONS = {200: b'OK', 400: b'Bad Request', 403: b'Forbidden', 404: b'Not Found', 405: b'Method Not Allowed',
           409: b'Conflict', 503: b'Service Unavailable'}


def answer(pages, request, visitor):
    """Return the Answer to a request for a page. May wait, if the page does.

    `pages`: a table; `request`: a message.Request; `visitor`: for Visit. A ProxyError of the page becomes an Answer
    with its status and message. A method that the page does not take gets 405 (RFC 9110, 15.5.6).
    """
    path, _, query = request.path.partition(b'?') if request.form == 'origin' else (ELSE, b'', b'')
    page = pages.get(path) or pages[ELSE]
    visit = Visit(request, query, visitor)
    try:
        page.may(visit)
        if page.methods and request.method not in page.methods:
            return plain(405, 'this page takes %s' % to_native(b' or '.join(page.methods)),
                         b'Allow: %s\r\n' % b', '.join(page.methods))
        return page.make(visit)
    except errors.ClientLost:
        raise
    except errors.ProxyError as error:
        return plain(error.status, str(error))


def paths(pages):
    """Return the paths of `pages`, a table, as native text, sorted, separated by spaces."""
    return ' '.join(to_native(path) for path in sorted(pages) if path != ELSE)


def plain(status, text, more=b''):
    """Return an Answer of one line of text. `status`: an int; `text`: native; `more`: as for Answer."""
    return Answer(status, PLAIN, text + '\n', more)


def head(page, framed, more):
    """Return the head of an Answer as octets. Caches never keep it, and browsers never guess its type.

    `page`: the Answer; `framed`: the field line that says where its body ends; `more`: the field lines that the server
    adds to all its answers.
    """
    return (b'HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s%sCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n'
            b'%s\r\n' % (page.status, REASONS.get(page.status, b''), to_octets(page.type), framed, page.more, more))


def whole(page, bodiless, more):
    """Return an Answer with a body of text as octets. `page`, `more`: as for `head`; `bodiless`: only its head."""
    body = to_octets(page.body)
    return head(page, b'Content-Length: %d\r\n' % len(body), more) + (b'' if bodiless else body)
