"""The filters of ``geproxy tail``: host:example.org status:>=400 client:10.0.0.0/8 slow:>2s. No I/O.

A filter becomes a function of an event, which is a dictionary with the fields of the json log. A comma in the value of
a filter means or. An event is shown if all filters return true.
"""
from __future__ import absolute_import, division, print_function

import fnmatch
import operator
import re

from geproxy import wording
from geproxy.net import address
from geproxy.observe.formats import parent_host, parent_of
from geproxy.settings import option_types

_find_comparison = re.compile(r'(>=|<=|>|<|=|)(.+)\Z').match
_COMPARE = {'>=': operator.ge, '<=': operator.le, '>': operator.gt, '<': operator.lt, '=': operator.eq}


def parse(word):
    """Return the function of an event for one filter. Raises ValueError with a message for the operator.

    `word`: native text, NAME:VALUE with a name of FILTERS, or else a part of the URL.
    """
    name, colon, value = word.partition(':')
    if not colon or value.startswith('//') or not name.isalpha():     # a part of a URL
        return lambda event: word in event.get('url.original', '')
    if name not in FILTERS:
        raise ValueError("unknown filter '%s'%s: expected one of %s, or a part of the URL" % (
            word, wording.did_you_mean(name, FILTERS), ' '.join(sorted(each + ':' for each in FILTERS))))
    tests = [FILTERS[name](each) for each in value.split(',') if each]
    if not tests:
        raise ValueError("filter '%s' has no value: expected one after the colon" % word)
    return lambda event: any(test(event) for test in tests)


def host_of(url):
    """Return the host of a URL in lower case, without brackets. `url`: native text, absolute or host:port."""
    authority = re.sub(r'\A[a-z]+://', '', url.lower()).partition('/')[0].rpartition('@')[2]
    if authority[:1] == '[':
        return authority[1:].partition(']')[0]
    return authority.partition(':')[0]


def _host(value):
    wanted = value.lower().lstrip('.')

    def test(event):
        host = host_of(event.get('url.original', ''))
        return fnmatch.fnmatchcase(host, wanted) or host.endswith('.' + wanted)
    return test


def _status(value):
    if re.match(r'[0-9]xx\Z', value):
        return lambda event: event.get('http.response.status_code', 0) // 100 == int(value[0])
    sign, number = _find_comparison(value).groups()
    if not re.match(r'[0-9]{1,3}\Z', number):
        raise ValueError("invalid status '%s': expected 404, 5xx, >=400 or the like" % value)
    return lambda event: event['event'] == 'ended' and _COMPARE[sign or '='](
        event.get('http.response.status_code', 0), int(number))


def _slow(value):
    least = option_types.duration(value.lstrip('>='))
    return lambda event: event['event'] == 'ended' and event.get('event.duration', 0) >= least * 1e9


def _client(value):
    networks = option_types.networks(value)
    return lambda event: address.within(address.parse_ip(str(event.get('client.ip', '0.0.0.0'))), networks) is not None


def _route(value):
    wanted = value.lower()

    def test(event):
        route = event.get('route', '').lower()
        shown = (route, parent_of(route), parent_host(route))
        return any(each and fnmatch.fnmatchcase(each, wanted) for each in shown)
    return test


def _word(field):
    def make(value):
        return lambda event: fnmatch.fnmatch(event.get(field, '').lower(), value.lower()) and bool(event.get(field))
    return make


# {name: a function of the value that returns a function of an event}
FILTERS = {
    'host': _host,
    'status': _status,
    'slow': _slow,
    'client': _client,
    'method': _word('http.request.method'),
    'user': _word('user.name'),
    'reason': _word('reason'),
    'route': _route,
}
