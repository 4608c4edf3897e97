"""Which exchanges to show: host:example.org status:>=400 client:10.0.0.0/8 slow:>2s. Pure, of the lines of /-/tail.

A filter is a function of an event, a dictionary with the fields of the json log; all of those given must hold. Commas
in a value mean or.
"""
from __future__ import absolute_import, division, print_function

import fnmatch
import operator
import re

from geproxy import wording
from geproxy.net import address
from geproxy.settings import option_types

_find_comparison = re.compile(r'(>=|<=|>|<|=|)(.+)\Z').match
_COMPARE = {'>=': operator.ge, '<=': operator.le, '>': operator.gt, '<': operator.lt, '=': operator.eq}


def parse(word):
    """One filter, as people write it -> a function of an event. Raises ValueError with what is wrong."""
    name, colon, value = word.partition(':')
    if not colon or value.startswith('//') or not name.isalpha():     # a part of a URL
        return lambda event: word in event.get('url.original', '')
    if name not in FILTERS:
        raise ValueError("'%s': there is no such filter%s; there are %s" % (
            word, wording.did_you_mean(name, FILTERS), ' '.join(sorted(each + ':' for each in FILTERS))))
    tests = [FILTERS[name](each) for each in value.split(',') if each]
    if not tests:
        raise ValueError("'%s': %s of what?" % (word, name))
    return lambda event: any(test(event) for test in tests)


def host_of(url):
    """The host of an absolute URL, or of host:port; in lower case, without brackets."""
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
        raise ValueError("'%s' is no status, as in 404, 5xx, >=400" % value)
    return lambda event: event['event'] == 'ended' and _COMPARE[sign or '='](
        event.get('http.response.status_code', 0), int(number))


def _slow(value):
    least = option_types.duration(value.lstrip('>='))
    return lambda event: event['event'] == 'ended' and event.get('event.duration', 0) >= least * 1e9


def _client(value):
    networks = option_types.networks(value)
    return lambda event: address.within(address.parse_ip(str(event.get('client.ip', '0.0.0.0'))), networks) is not None


def _word(field):
    def make(value):
        return lambda event: fnmatch.fnmatch(event.get(field, '').lower(), value.lower()) and bool(event.get(field))
    return make


# What stands before the colon: a function that makes a test of what stands behind it.
FILTERS = {
    'host': _host,
    'status': _status,
    'slow': _slow,
    'client': _client,
    'method': _word('http.request.method'),
    'user': _word('user.name'),
    'reason': _word('reason'),
}
