"""What is remembered of an exchange, and how a line about it reads: the table of fields. Writes nowhere.

Here octets become printable: nothing from elsewhere reaches a log unescaped, and no credentials do at all.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import itertools
import json
import os
import re
import time

from geproxy.compat import monotonic, to_native
from geproxy.http1.grammar import shorten
from geproxy.memo import Memo

_prefix = to_native(binascii.hexlify(os.urandom(3)))
_numbers = itertools.count(1)
_find_unsafe = re.compile(br'[^\x21\x23-\x5b\x5d-\x7e]').search
_ENCODED = [b'%%%02X' % number if _find_unsafe(octet) else octet
            for number, octet in enumerate(bytes(bytearray([number])) for number in range(256))]
LONGEST_URL = 8192      # octets of a URL in a line; what is not plain takes three
LONGEST = 512           # octets of a method, a user name, a media type

HEADS = 4096        # octets; what a client sends beyond them is a body, worth a word on the console


class Record(object):
    """One exchange, from the first octet of its request on. Observers read it; only the handler writes it."""
    __slots__ = ('number', 'client', 'wall', 'began', 'seconds', 'method', 'url', 'version', 'status', 'reason',
                 'message', 'received', 'sent', 'address', 'kept', 'took', 'first', 'content_type', 'tunnel',
                 'aborted', 'user', 'rule', 'would')

    def __init__(self, client):
        self.number = next(_numbers)
        self.client = client                            # native text of the address
        self.wall = time.time()
        self.began = monotonic()
        self.seconds = 0.0
        self.method = self.url = self.version = b''     # url: absolute, or an authority; b'' if not understood
        self.status = 0                                 # of the final response; 0: none was begun
        self.reason = ''                                # a token: why it failed; '' if it did not
        self.message = ''
        self.received = self.sent = 0                   # octets from and to the client, heads included
        self.address = ''                               # what was dialled
        self.kept = False                               # by a kept connection
        self.took = (None, None)                        # seconds: (for the name, to connect)
        self.first = None                               # seconds until the response began
        self.content_type = b''
        self.user = b''                                 # who has logged in
        self.rule = ''                                  # file:line of the rule that decided
        self.would = ''                                 # why it would have been refused, without policy = report
        self.tunnel = False
        self.aborted = False                            # the client has not got all of it

    @property
    def id(self):
        """The request id, native text, as clients are told it, too."""
        return '%s-%d' % (_prefix, self.number)         # 0.5 us that most exchanges need not spend (3.13, 2026)


def result(record):
    """What became of it, in squid's words."""
    if record.tunnel:
        word = 'TCP_TUNNEL'
    elif record.address:
        word = 'TCP_MISS'
    else:
        word = 'TCP_DENIED' if record.status in (403, 407) else 'NONE_NONE'
    return word + '_ABORTED' if record.aborted else word


def _encode(octets, most=LONGEST):
    """Octets -> native text without blanks, quotes or controls: what is not plain is percent-encoded; '-' if empty.
    Of more than `most` octets the rest is left out, and `...(+N)` says how many that are."""
    left = len(octets) - most
    if left > 0:
        octets = octets[:most]
    if _find_unsafe(octets):
        octets = b''.join([_ENCODED[number] for number in bytearray(octets)])
    shown = to_native(octets) or '-'
    return '%s...(+%d)' % (shown, left) if left > 0 else shown


show = Memo(_encode).__getitem__


def show_url(record, query):
    """The URL; without its query string, as squid has it, unless `query`."""
    url = record.url or b'error:invalid-request'
    end = url.find(b'?')        # `in` takes 0.7 us instead of 0.1 (3.13)
    if end >= 0 and query:
        return _encode(url, LONGEST_URL)        # not remembered: secrets like to travel there
    url = url if end < 0 else url[:end + 1]
    return show(url) if len(url) <= LONGEST else _encode(url, LONGEST_URL)


def _milliseconds(seconds):
    return None if seconds is None else round(seconds * 1000, 3)


Field = collections.namedtuple('Field', 'name sentence value')

# The fields of the json format: (name, sentence for the manual, what of (record, query) it is).
FIELDS = [Field(*row) for row in (
    ('@timestamp', 'when the request began, UTC', lambda record, query: _iso(record.wall)),
    ('id', 'the request id that the client is told in failures', lambda record, query: record.id),
    ('client.ip', 'who asked', lambda record, query: record.client),
    ('user.name', 'as whom they had logged in', lambda record, query: show(record.user) if record.user else ''),
    ('http.request.method', 'the method', lambda record, query: show(record.method)),
    ('url.original', 'the absolute URL, or host:port for CONNECT', show_url),
    ('http.version', 'of the request', lambda record, query: show(record.version)),
    ('http.response.status_code', 'of the final response; 0 if none was begun', lambda record, query: record.status),
    ('http.request.bytes', 'octets received from the client', lambda record, query: record.received),
    ('http.response.bytes', 'octets sent to the client', lambda record, query: record.sent),
    ('destination.ip', 'the address that was dialled', lambda record, query: record.address or None),
    ('event.duration', 'nanoseconds from the first octet to the last',
     lambda record, query: int(record.seconds * 1e9)),
    ('result', "what became of it, in squid's words", lambda record, query: result(record)),
    ('reason', 'why it failed, one of the tokens below; absent if it did not', lambda record, query: record.reason),
    ('message', 'the particulars of that', lambda record, query: shorten(record.message)),
    ('rule', 'file:line of the rule that decided', lambda record, query: record.rule),
    ('would_refuse', 'with policy = report: why it would have been refused',
     lambda record, query: shorten(record.would)),
    ('kept', 'true if a kept connection served it', lambda record, query: record.kept),
    ('dns_ms', 'milliseconds for the name', lambda record, query: _milliseconds(record.took[0])),
    ('connect_ms', 'milliseconds to connect', lambda record, query: _milliseconds(record.took[1])),
    ('first_ms', 'milliseconds until the response began', lambda record, query: _milliseconds(record.first)),
)]


def _iso(wall):
    return '%s.%03dZ' % (time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(wall)), wall % 1 * 1000)


def json_line(record, query):
    """One JSON object; fields that have no value are left out."""
    pairs = [(field.name, field.value(record, query)) for field in FIELDS]
    return json.dumps(collections.OrderedDict(pair for pair in pairs if pair[1] not in (None, '')))


def squid_line(record, query):
    """squid's native format: %ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt"""
    return '%.3f %6d %s %s/%03d %d %s %s %s %s %s' % (
        record.wall + record.seconds, record.seconds * 1000, record.client, result(record), record.status, record.sent,
        show(record.method), show_url(record, query), show(record.user),
        'HIER_DIRECT/' + record.address if record.address else 'HIER_NONE/-', show(record.content_type))


def common_line(record, query):
    """The Common Log Format."""
    # strftime would name the month in the host's language.
    at = time.localtime(record.wall)
    month = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()[at.tm_mon - 1]
    zone = -(time.altzone if at.tm_isdst > 0 else time.timezone) // 60
    return '%s - %s [%02d/%s/%d:%02d:%02d:%02d %s%02d%02d] "%s %s %s" %03d %d' % (
        record.client, show(record.user), at.tm_mday, month, at.tm_year, at.tm_hour, at.tm_min, at.tm_sec,
        '-' if zone < 0 else '+', abs(zone) // 60, abs(zone) % 60,
        show(record.method), show_url(record, query), show(record.version), record.status, record.sent)


def console_line(record, query):
    """For the eyes: client, method, URL, status, octets, duration; why, and the request id, if it failed."""
    line = '%s %s %s %03d %s %s' % (
        _who(record), show(record.method), show_url(record, query), record.status, show_size(record.sent),
        show_seconds(record.seconds))
    if record.tunnel and record.status == 200 or record.received > HEADS:
        line += ' (%s up)' % show_size(record.received)
    if record.reason:
        line += ' %s: %s [%s]' % (record.reason, shorten(record.message), record.id)
    if record.would:
        line += ' would be refused: ' + shorten(record.would)
    return line


def _who(record):
    return '%s@%s' % (show(record.user), record.client) if record.user else record.client


def opened_line(record, query=False):
    """For the eyes: a tunnel has opened. `query`: show the query string of what was upgraded."""
    return '%s %s %s open, to %s' % (_who(record), show(record.method), show_url(record, query), record.address)


def failure_line(record):
    """For the error log: what failed, and why."""
    return '[%s] %s %s %s %03d %s: %s' % (
        record.id, record.client, show(record.method), show_url(record, False), record.status, record.reason,
        shorten(record.message))


def report_line(record):
    """For the error log: what policy = report let through."""
    return '[%s] %s %s %s would be refused: %s' % (
        record.id, record.client, show(record.method), show_url(record, False), shorten(record.would))


FORMATS = {'console': console_line, 'squid': squid_line, 'common': common_line, 'json': json_line}


def show_size(octets):
    """12, 1.2K, 3.4M ...: octets in powers of 1024."""
    size, unit = float(octets), ''
    for unit in ('', 'K', 'M', 'G', 'T'):
        if size < 999.5 or unit == 'T':
            break
        size /= 1024
    return '%d' % octets if not unit else '%.3g%s' % (size, unit)


def show_seconds(seconds):
    """3ms, 1.24s, 2m03s, 1h02m."""
    if seconds < 1:
        return '%dms' % (seconds * 1000)
    if seconds < 60:
        return '%.3gs' % seconds
    if seconds < 3600:
        return '%dm%02ds' % (seconds // 60, seconds % 60)
    return '%dh%02dm' % (seconds // 3600, seconds % 3600 // 60)
