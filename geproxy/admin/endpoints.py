"""The pages of the admin listener: health, metrics, the live view, ending connections, reloading. The table PAGES.

What a page shows is read when it is asked for. To add a page: write its function of a table.Visit, and add a row.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os
import re

import gevent

from geproxy import errors
from geproxy.admin import status
from geproxy.compat import to_native
from geproxy.net.address import is_ip
from geproxy.observe import metrics, subscribers
from geproxy.pages import table
from geproxy.pages.table import ELSE, READ, WRITE, Answer, Page, plain

SUBSCRIBERS = 30        # connections of `tail` and `top` at once
GLANCE = 0.25           # seconds between two looks whether a subscriber has left
GATHER = 0.05           # seconds that events gather: one piece for many is far cheaper than one for each
ROWS = 100              # connections that are shown in one go; in between, others have their turn
LINES = 'application/x-ndjson'
FROM_HERE = frozenset((b'none', b'same-origin'))        # values of Sec-Fetch-Site: typed by a person, or from here
_find_id = re.compile(br'id=([A-Za-z0-9-]{1,40})\Z').match

# admin: the listener.Admin; stream: the Stream of the connection; by_path: it came by a socket in the file system.
Visitor = collections.namedtuple('Visitor', 'admin stream by_path')


# --- visitors

def no_web_page(visit):
    """Raise Denied if a web page of another site has made a browser send the request. `visit`: a table.Visit."""
    if visit.visitor.by_path:
        return                          # no browser can use a socket in the file system
    # Any site can let its name lead to this address, and then ask by that name from within a browser (DNS rebinding).
    # The browser sends the name of the site in Origin, or says in Sec-Fetch-Site that another site is the cause.
    request = visit.request
    host, sites = to_native(request.authority.host), request.values(b'sec-fetch-site')
    if host != 'localhost' and not is_ip(host) or request.values(b'origin') or not set(sites) <= FROM_HERE:
        raise errors.Denied('ask by an address or as localhost, and not from a page of others')


# --- pages

def healthy(_visit):
    """Return 200, because the process answers. `_visit`: a table.Visit."""
    return plain(200, 'healthy')


def ready(visit):
    """Return 200 if the process accepts clients. `visit`: a table.Visit. Raises Full if there is no room, or if the
    process is stopping."""
    server = visit.visitor.admin.server
    if server.draining:
        raise errors.Full('draining')
    server.check_room()
    return plain(200, 'ready')


def show_metrics(visit):
    """Return all counters in Prometheus' text format. `visit`: a table.Visit."""
    admin = visit.visitor.admin
    values = dict(status.figures(admin.server), **admin.counted())
    return Answer(200, 'text/plain; version=0.0.4; charset=utf-8', metrics.exposition(values), b'')


def show_status(visit):
    """Return the facts about the process, and the states of the parents, as a line of JSON. `visit`: a table.Visit."""
    return Answer(200, LINES, json.dumps(status.process(visit.visitor.admin.server)) + '\n', b'')


def connections(visit):
    """Return the process and its connections, the oldest first, as JSON lines. `visit`: a table.Visit."""
    return Answer(200, LINES, _rows(visit.visitor.admin.server), b'')


def _rows(server):
    yield json.dumps(status.process(server)) + '\n'
    conversations = sorted(server.live, key=lambda conversation: conversation.number)
    for at in range(0, len(conversations), ROWS):
        yield ''.join(json.dumps(status.row(conversation, _shows_queries(server))) + '\n'
                      for conversation in conversations[at:at + ROWS] if conversation in server.live)


def _shows_queries(server):
    return server.proxy.settings.log.query != 'off'


def kill(visit):
    """End the connection that ?id= names, by its own id or by that of its request. May wait. `visit`: a table.Visit."""
    match, server = _find_id(visit.query), visit.visitor.admin.server
    if match is None:
        return plain(400, 'this page takes ?id=ID, of a connection or a request')
    name = to_native(match.group(1))
    conversation = status.find(server.live, name)
    if conversation is None:
        return plain(404, 'no connection has the id %s' % name)
    server.end([conversation], errors.Killed('ended by the operator of the proxy'))
    server.log.say('connection %s of %s: killed' % (name, conversation.view().client))
    return plain(200, 'killed')


def reload(visit):
    """Read the ini file again, and return the changes; with ?dry-run, only compare. May wait. `visit`: a table.Visit.
    """
    server = visit.visitor.admin.server
    if visit.query not in (b'', b'dry-run'):
        return plain(400, 'this page takes no query, or ?dry-run')
    outcome = server.reload('reload', dry_run=bool(visit.query))
    found = collections.OrderedDict((
        ('pid', os.getpid()), ('path', server.reloads.path), ('good', outcome.good), ('lines', outcome.lines)))
    return Answer(200 if outcome.good else 409, LINES, json.dumps(found) + '\n', b'')


def tail(visit):
    """Return the events from now on as JSON lines, until the process or the connection ends. `visit`: a table.Visit."""
    if visit.visitor.admin.subscribers >= SUBSCRIBERS:
        return plain(503, '%d watch already' % visit.visitor.admin.subscribers)
    return Answer(200, LINES, _events(visit.visitor.admin, visit.visitor.stream), b'')


def _events(admin, stream):
    """Yield lines for one subscriber. Begins when the head of the response is sent."""
    subscriber = subscribers.Subscriber(_shows_queries(admin.server))
    admin.server.observers.add(subscriber)
    admin.begin_stream()
    try:
        while not admin.closing and stream.is_quiet():
            if subscriber.arrived.wait(GLANCE):
                gevent.sleep(GATHER)
                yield ''.join(line + '\n' for line in subscriber.take())
        yield ''.join(line + '\n' for line in subscriber.take())
    finally:
        admin.end_stream()
        admin.server.observers.remove(subscriber)


def no_such_page(_visit):
    """Return the answer for any other path, which lists the pages. `_visit`: a table.Visit."""
    return plain(404, 'there is no such page; the pages are: ' + table.paths(PAGES))


PAGES = {
    b'/-/healthy': Page(READ, no_web_page, healthy),
    b'/healthz': Page(READ, no_web_page, healthy),
    b'/-/ready': Page(READ, no_web_page, ready),
    b'/readyz': Page(READ, no_web_page, ready),
    b'/metrics': Page(READ, no_web_page, show_metrics),
    b'/-/status': Page(READ, no_web_page, show_status),
    b'/-/connections': Page(READ, no_web_page, connections),
    b'/-/tail': Page((b'GET',), no_web_page, tail),
    b'/-/kill': Page(WRITE, no_web_page, kill),
    b'/-/reload': Page(WRITE, no_web_page, reload),
    ELSE: Page(table.ANY, no_web_page, no_such_page),
}
