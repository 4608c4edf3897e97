"""The formats of log lines about exchanges, and the table of fields. Writes nowhere.

Octets become printable text here: all octets from outside are escaped, and credentials are never shown.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import re
import time

from geproxy.compat import to_native
from geproxy.http1.grammar import shorten
from geproxy.memo import Memo
from geproxy.wording import MONTHS, plural

_find_unsafe = re.compile(br'[^\x21\x23-\x5b\x5d-\x7e]').search
_ENCODED = [b'%%%02X' % number if _find_unsafe(octet) else octet
            for number, octet in enumerate(bytes(bytearray([number])) for number in range(256))]
LONGEST_URL = 8192      # octets of a URL in a line; an encoded octet takes three characters
LONGEST = 512           # octets of a method, a user name, a media type
HEADS = 4096            # octets; if a client sends more, there was a body, and the console shows the size


def result(record):
    """Return how an exchange ended, as Squid's result code: TCP_MISS, TCP_TUNNEL, TCP_DENIED or NONE_NONE.

    _ABORTED behind it: the client has not got the whole response. `record`: its Record.
    """
    if record.tunnel:
        word = 'TCP_TUNNEL'
    elif record.address or record.reason in BY_PARENT:
        word = 'TCP_MISS'
    else:
        word = 'TCP_DENIED' if record.status in (403, 407) else 'NONE_NONE'
    return word + '_ABORTED' if record.aborted else word


def _encode(octets, most=LONGEST):
    """Return octets as native text without blanks, quotes, backslashes and controls, which are percent-encoded.

    `octets`: '-' stands for none at all; `most`: only so many octets are shown, and `...(+N)` says how many are
    left out.
    """
    left = len(octets) - most
    if left > 0:
        octets = octets[:most]
    if _find_unsafe(octets):
        octets = b''.join([_ENCODED[number] for number in bytearray(octets)])
    shown = to_native(octets) or '-'
    return '%s...(+%d)' % (shown, left) if left > 0 else shown


show = Memo(_encode).__getitem__
DIRECT = 'direct'       # in record.route: there are routes, and this exchange used no parent
# Reasons of exchanges that have reached a parent, but not the origin.
BY_PARENT = frozenset(['parent_refused', 'parent_login_failed'])


def is_parent(route):
    """Return True if a route leads through a parent. `route`: as in record.route, or None."""
    return bool(route) and route != DIRECT


def parent_of(route):
    """Return the host and the port of the parent in a route, native text: 'proxy-a.corp:3128'; '' if there is none.

    `route`: as in record.route.
    """
    return route.partition('://')[2]


def parent_host(route):
    """Return the host of the parent in a route, native text, without brackets; '' if there is none.

    `route`: as in record.route.
    """
    return parent_of(route).rpartition(':')[0].strip('[]')


def show_url(record, query):
    """Return the URL of a request as native text.

    `record`: a Record, or anything that has its `url`; `query`: show the query string.
    """
    url = record.url or b'error:invalid-request'
    end = url.find(b'?')        # `in` takes 0.7 us instead of 0.1 (3.13)
    if end >= 0 and query:
        return _encode(url, LONGEST_URL)        # not remembered: query strings often have secrets
    url = url if end < 0 else url[:end + 1]
    return show(url) if len(url) <= LONGEST else _encode(url, LONGEST_URL)


def _milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000, 3)


Field = collections.namedtuple('Field', 'name sentence value')

# The fields of the json format: (name, sentence for the manual, function of (record, query) that returns the value). A
# new field is a new row. record.request and record.response have `values(name)` for the fields of their heads: `show`
# the octets, and never those of a secret (authorization, proxy-authorization, cookie). The fields of a request head
# above 8 KiB are dropped once it is sent.
FIELDS = [Field(*row) for row in (
    ('@timestamp', 'when the request began, UTC', lambda record, query: _iso(record.wall)),
    ('id', 'the request id that the client is told in failures', lambda record, query: record.id),
    ('client.ip', 'address of the client', lambda record, query: record.client),
    ('user.name', 'name that the client has logged in with',
     lambda record, query: show(record.user) if record.user else ''),
    ('http.request.method', 'method of the request', lambda record, query: show(record.request.method)),
    ('url.original', 'absolute URL, or host:port for CONNECT', show_url),
    ('http.version', 'HTTP version of the request; SOCKS4 or SOCKS5 for a client that speaks SOCKS',
     lambda record, query: show(record.request.protocol)),
    ('http.response.status_code', 'status of the final response; 0 if there was none',
     lambda record, query: record.status),
    ('http.request.bytes', 'octets received from the client', lambda record, query: record.received),
    ('http.response.bytes', 'octets sent to the client', lambda record, query: record.sent),
    ('destination.ip', 'address that was dialled: of the origin, or of the parent',
     lambda record, query: record.address or None),
    ('route', 'the parent that was tried last, or direct; absent without [upstream] routes, and if none was tried',
     lambda record, query: record.route),
    ('event.duration', 'nanoseconds from the first octet to the last',
     lambda record, query: int(record.seconds * 1e9)),
    ('result', "how it ended, as Squid's result code", lambda record, query: result(record)),
    ('reason', 'why it failed, as one of the tokens below; absent if it did not fail',
     lambda record, query: record.reason),
    ('message', 'what failed, in words', lambda record, query: shorten(record.message)),
    ('rule', 'file:line of the rule that decided', lambda record, query: record.rule),
    ('would_refuse', 'with policy = report: why it would have been refused',
     lambda record, query: shorten(record.would)),
    ('kept', 'true if a kept connection to the origin was used', lambda record, query: record.kept),
    ('dns_ms', 'milliseconds to look up the name', lambda record, query: _milliseconds(record.took[0])),
    ('connect_ms', 'milliseconds to connect', lambda record, query: _milliseconds(record.took[1])),
    ('first_ms', 'milliseconds until the response began', lambda record, query: _milliseconds(record.first)),
)]


def _iso(wall):
    return '%s.%03dZ' % (time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(wall)), wall % 1 * 1000)


def json_line(record, query):
    """Return a line of the json format: one object; fields without a value are left out.

    `record`: a Record; `query`: show the query string of the URL. All functions in FORMATS take these two.
    """
    pairs = [(field.name, field.value(record, query)) for field in FIELDS]
    return json.dumps(collections.OrderedDict(pair for pair in pairs if pair[1] not in (None, '')))


def squid_line(record, query):
    """Return a line of Squid's native format: %ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt

    `record`, `query`: as for `json_line`.
    """
    return '%.3f %6d %s %s/%03d %d %s %s %s %s %s' % (
        record.wall + record.seconds, record.seconds * 1000, record.client, result(record), record.status, record.sent,
        show(record.request.method), show_url(record, query), show(record.user),
        _hierarchy(record) if record.route else 'HIER_DIRECT/' + record.address if record.address else 'HIER_NONE/-',
        show(record.response.content_type))


def _hierarchy(record):
    if not record.address and record.reason not in BY_PARENT:
        return 'HIER_NONE/-'
    if record.route == DIRECT:
        return 'HIER_DIRECT/' + record.address
    # Squid 5 writes the address of the parent here; its manual also allows the name, which tells the operator more.
    return 'FIRSTUP_PARENT/' + parent_host(record.route)


def common_line(record, query):
    """Return a line of the Common Log Format. `record`, `query`: as for `json_line`."""
    at = time.localtime(record.wall)
    zone = -(time.altzone if at.tm_isdst > 0 else time.timezone) // 60
    return '%s - %s [%02d/%s/%d:%02d:%02d:%02d %s%02d%02d] "%s %s %s" %03d %d' % (
        record.client, show(record.user), at.tm_mday, MONTHS[at.tm_mon - 1], at.tm_year, at.tm_hour, at.tm_min,
        at.tm_sec, '-' if zone < 0 else '+', abs(zone) // 60, abs(zone) % 60,
        show(record.request.method), show_url(record, query), show(record.request.protocol), record.status, record.sent)


def console_line(record, query):
    """Return a line of the console format, for people: client, method, URL, status, size and duration.

    A failure has its reason and the request id, too. `record`, `query`: as for `json_line`.
    """
    line = '%s %s %s %03d %s %s' % (
        _who(record), show(record.request.method), show_url(record, query), record.status, show_size(record.sent),
        show_seconds(record.seconds))
    if record.tunnel and record.status == 200 or record.received > HEADS:
        line += ' (%s up)' % show_size(record.received)
    if record.route and is_parent(record.route):
        line += ' through ' + record.route
    if record.reason:
        line += ' %s: %s [%s]' % (record.reason, shorten(record.message), record.id)
    if record.would:
        line += ' would be refused: ' + shorten(record.would)
    return line


def _who(record):
    return '%s@%s' % (show(record.user), record.client) if record.user else record.client


def opened_line(record, query=False):
    """Return a line of the console format about a tunnel that has opened. `record`, `query`: as for `json_line`."""
    where = 'through ' + record.route if is_parent(record.route) else 'to ' + record.address
    return '%s %s %s open, %s' % (_who(record), show(record.request.method), show_url(record, query), where)


def failure_line(record):
    """Return a line for the error log about an exchange that failed. `record`: its Record."""
    return '[%s] %s %s %s %03d %s: %s' % (
        record.id, record.client, show(record.request.method), show_url(record, False), record.status, record.reason,
        shorten(record.message))


def report_line(record):
    """Return a line for the error log about a request that policy = report let through. `record`: a Record."""
    return '[%s] %s %s %s would be refused: %s' % (
        record.id, record.client, show(record.request.method), show_url(record, False), shorten(record.would))


def parent_state(row):
    """Return the state of a parent in words, native text.

    `row`: a dictionary: `parent`, its URL; `up`; `seconds`, since when, or None; `again`, seconds until a request may
    try it; `failures`, how many; `why`, the last.
    """
    since = '' if row['seconds'] is None else ' for the last ' + show_seconds(row['seconds'])
    if not row['up']:
        again = 'in ' + show_seconds(row['again']) if row.get('again') else 'as soon as a request needs it'
        return 'left out%s, tried again %s: %s' % (since, again, row['why'])
    if not row['failures']:
        return 'no failure so far'          # perhaps no request has needed it yet
    return 'in use%s; %s so far, the last one: %s' % (
        since and ' again' + since, plural(row['failures'], 'failure'), row['why'])


def certificate_state(row):
    """Return how long a certificate is good, in words, native text.

    `row`: a dictionary: `until`, seconds since the epoch; `days`, whole days left, negative if it has expired.
    """
    if row['days'] < 0:
        return 'expired %s' % time.strftime('%Y-%m-%d', time.gmtime(row['until']))
    return '%d days left' % row['days']


CERTIFICATES_FAILING = 'certificates: the files of [tls] have changed and cannot be used; the error log says why'
FORMATS = {'console': console_line, 'squid': squid_line, 'common': common_line, 'json': json_line}


def show_size(octets):
    """Return a number of octets as short text, in powers of 1024: 12, 1.2K, 3.4M."""
    size, unit = float(octets), ''
    for unit in ('', 'K', 'M', 'G', 'T'):
        if size < 999.5 or unit == 'T':
            break
        size /= 1024
    return '%d' % octets if not unit else '%.3g%s' % (size, unit)


def show_seconds(seconds):
    """Return a duration in seconds as short text: 3ms, 1.24s, 2m03s, 1h02m."""
    if seconds < 1:
        return '%dms' % (seconds * 1000)
    if seconds < 60:
        return '%.3gs' % seconds
    if seconds < 3600:
        return '%dm%02ds' % (seconds // 60, seconds % 60)
    return '%dh%02dm' % (seconds // 3600, seconds % 3600 // 60)
