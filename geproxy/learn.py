"""``python -m geproxy learn LOG...``: what went through, as rules that allow it and nothing else, to be read and cut.

Takes what this proxy writes (squid, common, json, console), and squid's own logs.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import io
import json
import re
import sys
import time

from geproxy import address, compat, errors, grammar, record

# `tunnel`: True for CONNECT; `when`: as text that sorts, or ''.
Seen = collections.namedtuple('Seen', 'host port tunnel when')

TOGETHER = 3            # hosts below one name from which on one rule for that name is proposed
MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()
# Names below which anybody may have one: a suffix must have one more label than these.
SHARED = frozenset('''
    co.uk org.uk ac.uk gov.uk com.au net.au org.au co.jp ne.jp or.jp co.nz co.za com.br com.cn com.tr com.mx co.in co.kr
    github.io gitlab.io amazonaws.com s3.amazonaws.com cloudfront.net azurewebsites.net core.windows.net herokuapp.com
    blogspot.com appspot.com googleapis.com googleusercontent.com fastly.net akamaihd.net akamaized.net pages.dev
    workers.dev vercel.app netlify.app web.app firebaseapp.com
'''.split())

_STATUS_WANTED = ('2', '3', '1')
_JSON = re.compile(r'\s*\{')
_SQUID = re.compile(r'(\d{9,})\.\d+ +\d+ \S+ ([A-Z_]+)/(\d{3}) \d+ (\S+) (\S+) ')
_COMMON = re.compile(r'\S+ \S+ \S+ \[(\d\d)/(\w{3})/(\d{4}):(\S+) \S+\] "(\S+) (\S+) [^"]*" (\d{3}) ')
_CONSOLE = re.compile(
    r'(?:\x1b\[\d+m)*(?:(\d{4}-\d\d-\d\d) )?\d\d:\d\d:\d\d (?:\x1b\[\d+m)*\S+ ([A-Z]\S*) (\S+) (\d{3}) ')

# What the process says of itself, and tunnels that open: known, but nothing to learn from.
_OTHERS = re.compile(r'\S+ \S+ geproxy\[|(?:\S+ ){2,3}CONNECT \S+ open, to ')


def main(arguments):
    """`arguments`: from the name of the command on. The exit code: 0, 1 if nothing was learnt, 2 for usage or files."""
    options = _parser().parse_args(arguments[1:])
    seen, strange = [], 0
    for path in options.logs:
        try:
            with io.open(0 if path == '-' else path, 'rb') as lines:
                for line in lines:
                    found = read_line(compat.to_native(line), options.refused)
                    strange += found is None
                    seen.extend([found] if found else [])
        except (IOError, OSError) as error:
            sys.stderr.write('geproxy: %s: %s\n' % (path, error.strerror or error))
            return 2
    if strange:
        sys.stderr.write('geproxy: %d lines were of no format that is known here\n' % strange)
    if not seen:
        sys.stderr.write('geproxy: nothing to learn from\n')
        return 1
    sys.stdout.write('\n'.join(section(seen, options.logs)) + '\n')
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy learn', description='Turn access logs into a commented [access] section of rules that allow what '
        'went through: for an ini file with policy = report at first.')
    parser.add_argument('logs', metavar='LOG', nargs='+', help='access logs in any format of this proxy; - for input')
    parser.add_argument('--refused', action='store_true', help='also what failed or was refused, not only successes')
    return parser


def read_line(line, refused=False):
    """Native text of one log line -> Seen; False if there is nothing to learn from it, None if it is of no known
    format. `refused`: learn from what failed, too."""
    if _JSON.match(line):
        return _read_json(line, refused)
    for pattern, order in ((_SQUID, _squid), (_COMMON, _common), (_CONSOLE, _console)):
        match = pattern.match(line)
        if match:
            return _seen(*order(match.groups()) + (refused,))
    return False if _OTHERS.match(line) or not line.strip() else None


def _read_json(line, refused):
    try:
        fields = json.loads(line)
        return _seen(fields['@timestamp'][:10], str(fields['http.request.method']), str(fields['url.original']),
                     str(fields['http.response.status_code']), refused)
    except (ValueError, KeyError, TypeError):
        return None


def _squid(groups):
    seconds, _result, status, method, url = groups
    return time.strftime('%Y-%m-%d', time.localtime(int(seconds))), method, url, status


def _common(groups):
    day, month, year, _clock, method, url, status = groups
    number = MONTHS.index(month) + 1 if month in MONTHS else 0
    return '%s-%02d-%s' % (year, number, day), method, url, status


def _console(groups):
    day, method, url, status = groups
    return day or '', method, url, status


def _seen(when, method, url, status, refused):
    if status[:1] not in _STATUS_WANTED and not refused:
        return False
    try:
        target = grammar.split_target(compat.to_octets(method), compat.to_octets(url))
    except errors.ProxyError:
        return False                    # error:invalid-request, and what was never a request
    host = compat.to_native(target.authority.host).rstrip('.') if target.authority else ''
    return Seen(host, target.authority.port or 80, method == 'CONNECT', when) if host else False


# --- the rules

def section(seen, paths):
    """The lines of an [access] section that allows all of `seen`, grouped by suffix."""
    by_host = collections.OrderedDict()
    for each in seen:
        by_host.setdefault(each.host, []).append(each)
    groups = {}
    for host in by_host:
        groups.setdefault(suffix(host), []).append(host)
    lines = ['# Learnt from %s: %d requests for %d hosts. Read it, cut it, then check it:' % (
                 ', '.join(record.show(compat.to_octets(path)) for path in paths), len(seen), len(by_host)),
             '# what went through once need not be wanted for ever.', '[access]', 'rules =']
    ways = dict((name, _ways(name, hosts, by_host)) for name, hosts in groups.items())
    for name in sorted(groups, key=lambda name: (-sum(way[0] for way in ways[name]), name)):
        for count, where, comment in ways[name]:
            lines.append('    allow any %s  # %d times; %s' % (where, count, comment))
    return lines + ['    deny any any']


def suffix(host):
    """The name that a host is grouped by: its last two labels, or three where two are anybody's; an address is its
    own."""
    labels = host.split('.')
    if address.is_ip(host) or len(labels) < 3:
        return host
    size = 2
    while size < len(labels) and '.'.join(labels[-size:]) in SHARED:
        size += 1
    return '.'.join(labels[-size:])


def _ways(name, hosts, by_host):
    """[(count, WHERE, comment)] of one group: one rule for all below a name, if there are many, else one for each."""
    if len(hosts) >= TOGETHER:
        seen = [each for host in hosts for each in by_host[host]]
        return [_way('.' + name, seen, '%d hosts, as %s; ' % (len(hosts), hosts[0]))]
    return [_way(host, by_host[host], '') for host in sorted(hosts, key=lambda host: -len(by_host[host]))]


def _way(where, seen, comment):
    ports = sorted(set(each.port for each in seen))
    shown = '[%s]' % where if ':' in where else where
    whens = sorted(each.when for each in seen if each.when)
    span = '' if not whens else whens[0] if whens[0] == whens[-1] else '%s to %s' % (whens[0], whens[-1])
    kinds = ' and '.join(kind for kind, used in (
        ('CONNECT', any(each.tunnel for each in seen)), ('http', any(not each.tunnel for each in seen))) if used)
    return len(seen), '%s:%s' % (shown, ','.join('%d' % port for port in ports)), (
        comment + kinds + (', ' + span if span else ''))
