"""``python -m geproxy learn LOG...``: read access logs, and print rules that allow what went through.

It reads the formats of this proxy (squid, common, json, console) and the logs of squid itself. A rule allows one host,
or all hosts below a domain if many were seen there and the domain has one owner. If no rule can express something, it
becomes a comment. So the printed section always loads.
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
from geproxy.memo import Bounded
from geproxy.net import address
from geproxy.observe import formats
from geproxy.settings import ini, rule_lines
from geproxy.wording import MONTHS, plural

TOGETHER = 3            # hosts below one domain that are enough to propose one rule for the whole domain
MOST_PORTS = 32         # ports and ranges in a rule; with more, it was a port scan, or the ports are random
LINE_SIZE = 65536       # octets; a longer line is not from an access log
KNOWN = 100000          # beginnings of URLs that are parsed only once; that many take 20 MB

# Domains below which anybody can register a name: an owner has one label more than these. The same holds for the labels
# in _REGISTERED under a TLD of two letters. No such list is complete (publicsuffix.org has 10,000): read the result.
REGISTRIES = frozenset('''
    me.uk ltd.uk plc.uk sch.uk nhs.uk police.uk id.au asn.au govt.nz geek.nz school.nz kiwi.nz ad.jp ed.jp gr.jp lg.jp
    re.kr pe.kr gen.in firm.in ind.in nic.in art.br blog.br eco.br ind.br nom.br gob.mx gob.ar gob.cl gob.es nom.es
    waw.pl info.pl biz.pl web.tr gen.tr bel.tr k12.tr idv.tw idv.hk web.za gv.at asso.fr gouv.fr nom.fr web.id my.id
    biz.id in.th mi.th uk.com us.com eu.com de.com br.com cn.com jpn.com ru.com sa.com za.com co.com gb.net uk.net
    se.net jp.net eu.org us.org
'''.split())
_REGISTERED = frozenset('com co net org gov edu ac ne or go'.split())

# Below these anybody can rent a host, at any depth. A rule for such a domain would be a way out for data, so each host
# gets a rule of its own.
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

# Statuses that this proxy itself sends. They count as refusals in formats that do not tell whether an origin was
# reached. 000: nothing was sent.
_REFUSALS = frozenset('000 400 403 407 408 414 417 429 431'.split())
_JSON = re.compile(r'\s*\{')
_SQUID = re.compile(r'(\d{9,11})\.\d+ +\d+ \S+ ([A-Z_]+)/\d{3} \d+ (\S+) (\S+) \S+ [A-Z_]+/(\S+)')
_COMMON = re.compile(r'\S+ \S+ \S+ \[(\d\d)/(\w{3})/(\d{4}):\S+ \S+\] "(\S+) (\S+) [^"]*" (\d{3}) ')
_CONSOLE = re.compile(
    r'(?:\x1b\[\d+m)*(?:(\d{4}-\d\d-\d\d) )?\d\d:\d\d:\d\d (?:\x1b\[\d+m)*\S+ ([A-Z]\S*) (\S+) (\d{3}) ')
_lately = [0, '']           # the last quarter of an hour (900 s since the epoch), and its day
_DAY = re.compile(r'\d{4}-\d\d-\d\d')

# Lines of the error log, and tunnels that open: known formats, but nothing to learn from.
_OTHERS = re.compile(r'\S+ \S+ geproxy\[|(?:\S+ ){2,3}CONNECT \S+ open, to ')


def main(arguments):
    """Run ``geproxy learn`` and return the exit code: 0, 1 if nothing was learnt, 2 for wrong usage or a bad file.

    `arguments`: native texts, the name of the command first.
    """
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
        sys.stderr.write('geproxy: skipped %s of unknown format\n' % plural(learnt.strange, 'line'))
    if not learnt.tallies:
        sys.stderr.write('geproxy: nothing to learn: no line has a request that %s\n' % (
            'names a host' if options.refused else 'went through. For refused requests: --refused'))
        return 1
    for line in section(learnt.tallies, options.logs):
        sys.stdout.write(line + '\n')
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy learn', description='Read access logs and print an [access] section with rules that allow what '
        'went through. Read the rules, remove what you do not want, and try them with policy = report. Exit code 0: '
        'done, 1: nothing was learnt, 2: wrong usage or a log that cannot be read.')
    parser.add_argument('logs', metavar='LOG', nargs='+', help='an access log in any format of this proxy or of squid; '
                        '- means standard input')
    parser.add_argument('--refused', action='store_true', help='learn from refused and failed requests, too')
    return parser


# --- reading logs

def read_line(line, refused=False):
    """Return (method, URL, day) from a line of a log; False if there is nothing to learn, None for an unknown format.

    `line`: native text; `refused`: true to learn from refused and failed requests, too. The URL may be cut after its
    authority. The day is YYYY-MM-DD, or '' if the line has none.
    """
    match = _SQUID.match(line)
    if match:
        seconds, result, method, url, peer = match.groups()
        # A hit in the cache of squid needs no address.
        return (refused or peer != '-' or 'HIT' in result) and (method, _without_path(url), _day(int(seconds)))
    if _JSON.match(line):
        return _read_json(line, refused)
    match = _COMMON.match(line)
    if match:
        day, month, year, method, url, status = match.groups()
        when = '%s-%02d-%s' % (year, MONTHS.index(month) + 1, day) if month in MONTHS else ''
        return (refused or _went_through(status)) and (method, _without_path(url), when)
    match = _CONSOLE.match(line)
    if match:
        day, method, url, status = match.groups()
        return (refused or _went_through(status)) and (method, _without_path(url), day or '')
    return False if _OTHERS.match(line) or not line.strip() else None


def _read_json(line, refused):
    try:
        fields = json.loads(line)
        method, url, when, _status = (str(fields[name]) for name in (
            'http.request.method', 'url.original', '@timestamp', 'http.response.status_code'))
    except (ValueError, KeyError, TypeError, RuntimeError):     # RuntimeError: nested too deep
        return None
    return (refused or bool(fields.get('destination.ip'))) and (
        method, _without_path(url), when[:10] if _DAY.match(when) else '')


def _went_through(status):
    return status not in _REFUSALS and status[:1] != '5'


def _without_path(url):
    """Return a URL without its path: few different ones are left."""
    return '/'.join(url.split('/', 3)[:3])


def _day(seconds):
    # Lines come in order, and in all time zones a day begins at a quarter of an hour. Saves 1.8 s in a million lines
    # (3.13, 2026).
    quarter = seconds // 900
    if quarter != _lately[0]:
        _lately[:] = quarter, time.strftime('%Y-%m-%d', time.localtime(seconds))
    return _lately[1]


class Tally(object):
    """The requests to one host, or to several hosts together, in the logs.

    `count`: requests; `ways`: a set of (port, true for CONNECT); `first` and `last`: days as YYYY-MM-DD, or ''.
    """
    __slots__ = ('count', 'ways', 'first', 'last')

    def __init__(self):
        self.count, self.ways, self.first, self.last = 0, set(), '', ''

    def add(self, count, first, last):
        """Add `count` requests between the days `first` and `last` (YYYY-MM-DD, or '')."""
        self.count += count
        if first and (first < self.first or not self.first):
            self.first = first
        if last > self.last:
            self.last = last


class Learnt(object):
    """Sums up the lines of logs. Needs memory for each host, not for each line.

    `tallies`: {host: Tally}; `strange`: number of lines of unknown format.
    """

    def __init__(self):
        self.tallies = {}
        self.strange = 0
        self._known = Bounded(KNOWN)    # {(true for CONNECT, beginning of a URL): Tally, or None}

    def add(self, seen):
        """Count one line. `seen`: the result of `read_line`."""
        if not seen:
            self.strange += seen is None
            return
        method, url, day = seen
        asked = (method == 'CONNECT', url)
        if asked not in self._known:
            self._known.remember(asked, self._tally(method, url))
        tally = self._known[asked]
        if tally is not None:
            tally.add(1, day, day)

    def _tally(self, method, url):
        """Return the Tally of the host that a request is for, or None. `method`, `url`: native text."""
        try:
            authority = grammar.split_target(compat.to_octets(method), compat.to_octets(url)).authority
        except errors.ProxyError:
            return None                 # error:invalid-request, or something that was never a request
        host = compat.to_native(authority.host).rstrip('.') if authority else ''
        if not host:
            return None
        if address.is_ip(host):
            # One form for each address. A mapped one (::ffff:10.0.0.1) is the IPv4 address, as in rules.
            host = address.show_ip(address.unmap(address.parse_ip(host)))
        tally = self.tallies.setdefault(host, Tally())
        tally.ways.add((authority.port or 80, method == 'CONNECT'))
        return tally


# --- the rules

def section(tallies, paths):
    """Return the lines of an [access] section that allows all hosts in `tallies`, grouped by domain.

    `tallies`: {host: Tally}; `paths`: of the logs, native texts, for the comment.
    """
    yield '# Learnt from %s: %s for %s. Remove the rules that you do not want:' % (
        ', '.join(formats.show(compat.to_octets(path)) for path in paths),
        plural(sum(tally.count for tally in tallies.values()), 'request'), plural(len(tallies), 'host'))
    yield '# a request that went through once may still be unwanted. Then check the file: geproxy --check FILE'
    yield '[access]'
    yield 'rules ='
    groups = {}
    for host in sorted(tallies):
        groups.setdefault(suffix(host), []).append(host)
    for name in sorted(groups, key=lambda name: (-sum(tallies[host].count for host in groups[name]), name)):
        for line in _lines(name, groups[name], tallies):
            yield '    ' + line
    yield '    deny any any'


def suffix(host):
    """Return the domain that a host is grouped under, native text.

    It has the last two labels of the host, or three if anybody can register a name below the last two. An IP address
    and a host of a provider (see PROVIDERS) are groups of their own.
    """
    labels = host.split('.')
    if address.is_ip(host) or any('.'.join(labels[at:]) in PROVIDERS for at in range(len(labels))):
        return host
    registry = '.'.join(labels[-2:]) in REGISTRIES or len(labels[-1]) == 2 and labels[-2:][0] in _REGISTERED
    return '.'.join(labels[-3 if registry else -2:])


def _lines(name, hosts, tallies):
    """Return the lines for one group: one rule for the whole domain if it has many hosts, else one for each host."""
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
    """Return the rule that allows this host only, or '' if none can: a host may have the name of a preset (private)."""
    ports = _ranges(tally)
    where = '%s:%s' % (_bracketed(host), ','.join(ports))
    if len(ports) > MOST_PORTS or not _means(where, host, tally):
        return ''
    return 'allow any %s  # %s' % (where, _facts(tally, said))


def _means(where, host, tally):
    """Return true if a rule with `where` allows these ports of exactly this host."""
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
    """Return the ports of a Tally as rules write them: ['80', '8000-8002']."""
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
    return '%s; %s%s' % (plural(tally.count, 'time'), said, ', '.join(filter(None, (kinds, span))))
