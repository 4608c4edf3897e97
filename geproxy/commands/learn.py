"""``python -m geproxy learn LOG...``: what went through, as rules that allow it, to be read and cut.

Takes what this proxy writes (squid, common, json, console), and squid's own logs. A rule allows the hosts that were
seen, or, where many are below a name that has one owner, all that is below it. What no rule can say stands there as a
comment, so the section always loads.
"""
from __future__ import absolute_import, division, print_function

import argparse
import io
import itertools
import json
import re
import sys
import time

from geproxy import compat, errors
from geproxy.http1 import grammar
from geproxy.net import address
from geproxy.observe import formats
from geproxy.settings import ini, rule_lines

TOGETHER = 3            # hosts below one name from which on one rule for that name is proposed
MOST_PORTS = 32         # ports and ranges in a rule; where there are more, somebody has searched, or they change
LINE_SIZE = 65536       # octets; what is longer is no line of a log
KNOWN = 100000          # beginnings of URLs that are understood once; 20 MB if there are so many
MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()

# Names below which anybody can register one: what is below has one owner with one label more. So does what is below
# _REGISTERED under a TLD of two letters. No list of these is complete (publicsuffix.org has 10,000): read the result.
REGISTRIES = frozenset('''
    me.uk ltd.uk plc.uk sch.uk nhs.uk police.uk id.au asn.au govt.nz geek.nz school.nz kiwi.nz ad.jp ed.jp gr.jp lg.jp
    re.kr pe.kr gen.in firm.in ind.in nic.in art.br blog.br eco.br ind.br nom.br gob.mx gob.ar gob.cl gob.es nom.es
    waw.pl info.pl biz.pl web.tr gen.tr bel.tr k12.tr idv.tw idv.hk web.za gv.at asso.fr gouv.fr nom.fr web.id my.id
    biz.id in.th mi.th uk.com us.com eu.com de.com br.com cn.com jpn.com ru.com sa.com za.com co.com gb.net uk.net
    se.net jp.net eu.org us.org
'''.split())
_REGISTERED = frozenset('com co net org gov edu ac ne or go'.split())

# Under these anybody can have a host, at whatever depth: a rule for such a suffix would let everybody in, as a way out
# for data. Each host is its own rule.
PROVIDERS = frozenset('''
    amazonaws.com amazonaws.com.cn awsapprunner.com awsglobalaccelerator.com cloudfront.net elasticbeanstalk.com
    amplifyapp.com on.aws windows.net azurewebsites.net azure.com azure.net azure-api.net azureedge.net azurefd.net
    azurestaticapps.net azurecontainerapps.io cloudapp.net trafficmanager.net sharepoint.com visualstudio.com
    googleapis.com googleusercontent.com appspot.com run.app web.app firebaseapp.com firebaseio.com cloudfunctions.net
    blogspot.com github.io githubusercontent.com github.dev gitlab.io bitbucket.io codeberg.page readthedocs.io
    herokuapp.com herokudns.com fastly.net fastlylb.net edgecompute.app akamai.net akamaihd.net akamaized.net
    akamaiedge.net edgekey.net edgesuite.net cdn77.org b-cdn.net kxcdn.com stackpathcdn.com llnwd.net cachefly.net
    pages.dev workers.dev r2.dev cloudflarestorage.com trycloudflare.com cloudflare.net vercel.app vercel.dev now.sh
    netlify.app netlify.com deno.dev fly.dev onrender.com railway.app surge.sh glitch.me repl.co replit.app replit.dev
    codesandbox.io csb.app stackblitz.io webcontainer.io gitpod.io ngrok.io ngrok.app ngrok.dev ngrok-free.app
    ngrok-free.dev loca.lt localhost.run serveo.net digitaloceanspaces.com ondigitalocean.app linodeobjects.com
    linodeusercontent.com vultrobjects.com backblazeb2.com wasabisys.com scw.cloud ovh.net oraclecloud.com oraclevcn.com
    appdomain.cloud aliyuncs.com myqcloud.com bcebos.com myhuaweicloud.com supabase.co myshopify.com wordpress.com
    wixsite.com weebly.com squarespace.com webflow.io tumblr.com substack.com notion.site zendesk.com force.com
    salesforce.com duckdns.org no-ip.org no-ip.com ddns.net dyndns.org dynu.net hopto.org zapto.org sytes.net nip.io
    sslip.io xip.io interact.sh oastify.com burpcollaborator.net requestbin.net pipedream.net webhook.site
'''.split())

# What this proxy answers by itself, when the log does not say whether an address was reached; 000: nothing.
_REFUSALS = frozenset('000 400 403 407 408 414 417 429 431'.split())
_JSON = re.compile(r'\s*\{')
_SQUID = re.compile(r'(\d{9,11})\.\d+ +\d+ \S+ ([A-Z_]+)/\d{3} \d+ (\S+) (\S+) \S+ [A-Z_]+/(\S+)')
_COMMON = re.compile(r'\S+ \S+ \S+ \[(\d\d)/(\w{3})/(\d{4}):\S+ \S+\] "(\S+) (\S+) [^"]*" (\d{3}) ')
_CONSOLE = re.compile(
    r'(?:\x1b\[\d+m)*(?:(\d{4}-\d\d-\d\d) )?\d\d:\d\d:\d\d (?:\x1b\[\d+m)*\S+ ([A-Z]\S*) (\S+) (\d{3}) ')
_lately = [0, '']           # a quarter of an hour since the epoch, and its day
_DAY = re.compile(r'\d{4}-\d\d-\d\d')

# What the process says of itself, and tunnels that open: known, but nothing to learn from.
_OTHERS = re.compile(r'\S+ \S+ geproxy\[|(?:\S+ ){2,3}CONNECT \S+ open, to ')


def main(arguments):
    """`arguments`: from the name of the command on. The exit code: 0, 1 if nothing was learnt, 2 for usage or files."""
    options = _parser().parse_args(arguments[1:])
    learnt = Learnt()
    for path in options.logs:
        try:
            with io.open(0 if path == '-' else path, 'rb') as log:
                for line in iter(lambda: log.readline(LINE_SIZE), b''):
                    learnt.add(read_line(compat.to_native(line), options.refused))
        except (IOError, OSError) as error:
            sys.stderr.write('geproxy: %s: %s\n' % (path, error.strerror or error))
            return 2
    if learnt.strange:
        sys.stderr.write('geproxy: %s of no format that is known here\n' % (
            '1 line was' if learnt.strange == 1 else '%d lines were' % learnt.strange))
    if not learnt.tallies:
        sys.stderr.write('geproxy: nothing to learn from\n')
        return 1
    for line in section(learnt.tallies, options.logs):
        sys.stdout.write(line + '\n')
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy learn', description='Turn access logs into a commented [access] section of rules that allow what '
        'went through: for an ini file with policy = report at first.')
    parser.add_argument('logs', metavar='LOG', nargs='+', help='access logs in any format of this proxy; - for input')
    parser.add_argument('--refused', action='store_true', help='also what failed or was refused, not only successes')
    return parser


# --- reading

def read_line(line, refused=False):
    """Native text of one log line -> (method, URL, day); False if there is nothing to learn from it, None if it is of
    no known format. The URL may be cut behind its authority; the day is text that sorts, or ''. `refused`: learn from
    what failed, too."""
    match = _SQUID.match(line)
    if match:
        seconds, result, method, url, peer = match.groups()
        # squid's own caches answer without any address.
        return (refused or peer != '-' or 'HIT' in result) and (method, _cut(url), _day(int(seconds)))
    if _JSON.match(line):
        return _read_json(line, refused)
    match = _COMMON.match(line)
    if match:
        day, month, year, method, url, status = match.groups()
        when = '%s-%02d-%s' % (year, MONTHS.index(month) + 1, day) if month in MONTHS else ''
        return (refused or _went_through(status)) and (method, _cut(url), when)
    match = _CONSOLE.match(line)
    if match:
        day, method, url, status = match.groups()
        return (refused or _went_through(status)) and (method, _cut(url), day or '')
    return False if _OTHERS.match(line) or not line.strip() else None


def _read_json(line, refused):
    try:
        fields = json.loads(line)
        method, url, when, _status = (str(fields[name]) for name in (
            'http.request.method', 'url.original', '@timestamp', 'http.response.status_code'))
    except (ValueError, KeyError, TypeError, RuntimeError):     # the last: too deep
        return None
    return (refused or bool(fields.get('destination.ip'))) and (
        method, _cut(url), when[:10] if _DAY.match(when) else '')


def _went_through(status):
    return status not in _REFUSALS and status[:1] != '5'


def _cut(url):
    """Without path, so that few are left."""
    return '/'.join(url.split('/', 3)[:3])


def _day(seconds):
    # Lines come in order, and no zone begins a day but at a quarter of an hour. 1.8 s of a million lines (3.13)
    quarter = seconds // 900
    if quarter != _lately[0]:
        _lately[:] = quarter, time.strftime('%Y-%m-%d', time.localtime(seconds))
    return _lately[1]


class Tally(object):
    """What was seen of a host, or of several together. `ways`: {(port, by CONNECT?)}; `first`, `last`: days."""
    __slots__ = ('count', 'ways', 'first', 'last')

    def __init__(self):
        self.count, self.ways, self.first, self.last = 0, set(), '', ''

    def add(self, count, first, last):
        """`count` more, between these days, or ''."""
        self.count += count
        if first and (first < self.first or not self.first):
            self.first = first
        if last > self.last:
            self.last = last


class Learnt(object):
    """What lines say, summed up as they come: it grows with the hosts, not with the lines."""

    def __init__(self):
        self.tallies = {}               # {host: Tally}
        self.strange = 0                # lines of no known format
        self._known = {}                # {(by CONNECT?, beginning of a URL): Tally, or None}

    def add(self, seen):
        """What `read_line` gave."""
        if not seen:
            self.strange += seen is None
            return
        method, url, day = seen
        asked = (method == 'CONNECT', url)
        if asked not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[asked] = self._tally(method, url)
        tally = self._known[asked]
        if tally is not None:
            tally.add(1, day, day)

    def _tally(self, method, url):
        """The Tally for what such requests are for; None if that is nothing."""
        try:
            authority = grammar.split_target(compat.to_octets(method), compat.to_octets(url)).authority
        except errors.ProxyError:
            return None                 # error:invalid-request, and what was never a request
        host = compat.to_native(authority.host).rstrip('.') if authority else ''
        if not host:
            return None
        if address.is_ip(host):
            # An address has one form here, and a mapped one is what it stands for, as for rules.
            host = address.show_ip(address.unmap(address.parse_ip(host)))
        tally = self.tallies.setdefault(host, Tally())
        tally.ways.add((authority.port or 80, method == 'CONNECT'))
        return tally


# --- the rules

def section(tallies, paths):
    """The lines of an [access] section that allows all of `tallies`, grouped by suffix."""
    yield '# Learnt from %s: %s for %s. Read it, cut it, then check it:' % (
        ', '.join(formats.show(compat.to_octets(path)) for path in paths),
        _number(sum(tally.count for tally in tallies.values()), 'request'), _number(len(tallies), 'host'))
    yield '# what went through once need not be wanted for ever.'
    yield '[access]'
    yield 'rules ='
    groups = {}
    for host in sorted(tallies):
        groups.setdefault(suffix(host), []).append(host)
    for name in sorted(groups, key=lambda name: (-sum(tallies[host].count for host in groups[name]), name)):
        for line in _lines(name, groups[name], tallies):
            yield '    ' + line
    yield '    deny any any'


def _number(count, word):
    return '%d %s%s' % (count, word, '' if count == 1 else 's')


def suffix(host):
    """The name that a host is grouped by: its last two labels, or three where two are anybody's; an address is its
    own, and so is a host of a provider."""
    labels = host.split('.')
    if address.is_ip(host) or any('.'.join(labels[at:]) in PROVIDERS for at in range(len(labels))):
        return host
    registry = '.'.join(labels[-2:]) in REGISTRIES or len(labels[-1]) == 2 and labels[-2:][0] in _REGISTERED
    return '.'.join(labels[-3 if registry else -2:])


def _lines(name, hosts, tallies):
    """One group: one rule for all below a name, if there are many, else one for each."""
    if len(hosts) >= TOGETHER:
        together = Tally()
        for host in hosts:
            together.add(tallies[host].count, tallies[host].first, tallies[host].last)
            together.ways.update(tallies[host].ways)
        line = _rule('.' + name, together, '%d hosts, as %s; ' % (len(hosts), hosts[0]))
        if line:
            return [line]
    return [_rule(host, tallies[host]) or _comment(host, tallies[host])
            for host in sorted(hosts, key=lambda host: (-tallies[host].count, host))]


def _rule(host, tally, said=''):
    """The line that allows this and nothing else; '' if there is none, for a host called as a preset is, say."""
    ports = _ranges(tally)
    where = '%s:%s' % (_bracketed(host), ','.join(ports))
    if len(ports) > MOST_PORTS or not _means(where, host, tally):
        return ''
    return 'allow any %s  # %s' % (where, _facts(tally, said))


def _means(where, host, tally):
    """True if WHERE is for these ports of exactly that host."""
    try:
        rule = rule_lines.parse(ini.Line('', 0, '', 'allow any ' + where, ''), lambda path: frozenset())
    except ValueError:
        return False
    found = rule.wheres[0]
    if len(rule.wheres) != 1 or rule.methods or found.tunnel is not None or not all(
            address.allows_port(found.ports, port) for port, _tunnel in tally.ways):
        return False
    if address.is_ip(host):
        network = address.parse_network(host)
        return not found.names and [each[:3] for each in found.networks] == [network[:3]]
    return found.names == {compat.to_octets(host)}


def _comment(host, tally):
    ports = _ranges(tally)
    if len(ports) > MOST_PORTS:
        ports[MOST_PORTS:] = ['...']
    return '# no rule for %s:%s: %s' % (_bracketed(host), ','.join(ports), _facts(tally))


def _bracketed(host):
    return '[%s]' % host if ':' in host else host


def _ranges(tally):
    """Its ports as rules have them: ['80', '8000-8002']"""
    ports = sorted(set(port for port, _tunnel in tally.ways))
    runs = itertools.groupby(enumerate(ports), lambda pair: pair[1] - pair[0])
    found = []
    for _distance, run in runs:
        run = ['%d' % port for _at, port in run]
        found.extend(run if len(run) < 3 else [run[0] + '-' + run[-1]])
    return found


def _facts(tally, said=''):
    tunnels = set(tunnel for _port, tunnel in tally.ways)
    kinds = ' and '.join(kind for kind, tunnel in (('CONNECT', True), ('http', False)) if tunnel in tunnels)
    span = tally.first if tally.first == tally.last else '%s to %s' % (tally.first, tally.last)
    return '%s; %s%s' % (_number(tally.count, 'time'), said, ', '.join(filter(None, (kinds, span))))
