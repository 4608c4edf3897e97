"""``python -m geproxy why URL``: what this proxy would do with a request, and which line of the ini file has it so.

Asks the code that decides for clients: who may use the proxy, who must log in, the rules, the ports, the addresses, and
whether the origin can be reached, as of now and seen from here. It cannot know what only the running process does:
limits and quotas, the sockets it was handed, what a PROXY header says, loops, and what the origin answers.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import json
import re
import socket
import sys
import time

from geproxy import compat, errors
from geproxy.http1 import grammar, reading, responses
from geproxy.net import address, this_host
from geproxy.net.deadlines import TimeLimit
from geproxy.policy import access, rules
from geproxy.service import listeners
from geproxy.settings import loading, option_types
from geproxy.upstream.pool import Dial
from geproxy.upstream.resolver import Resolver

USAGE = 2
_URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*://|)([^/?#]*)')
EXITS = {'allowed': 0, 'refused': 1, 'out of reach': 3, 'it depends on the address': 4}     # by verdict
SHOWN = 20              # rules; of more, only the last are listed
LIMITS = ('per_client', 'requests', 'rate', 'quota')        # of [limits]: what is None unless somebody has set it

# `error`: the ProxyError that the client would be told, or None; `passed`: [(Rule, why not, '' for the one that
# decides)]; `addresses`: [(native text, why not or '')]; `connected`: (address, seconds) or None; `would`: with
# policy = report, why it would be refused; `depends`: on the address, which is not known; `unknown`: texts, what was
# not looked at.
Finding = collections.namedtuple('Finding', 'question error passed addresses connected would depends unknown')


def main(arguments):
    """`arguments`: from the name of the command on. The exit code: one of EXITS, or USAGE."""
    options = _parser().parse_args(arguments[1:])
    try:
        settings = loading.load(options.config)
        client = address.unmap(address.parse_ip(options.client))
        request = reading.parse_request(request_head(options.url, options.method or 'GET'))
    except (loading.ConfigError, EnvironmentError, ValueError, errors.ProxyError) as error:
        sys.stderr.write('geproxy: %s\n' % error)
        return USAGE
    if options.method not in (None, 'CONNECT') and request.method == b'CONNECT':
        sys.stderr.write('geproxy: --method %s is ignored: of https:// a proxy sees nothing but CONNECT\n' % (
            options.method))
    user, book = compat.to_octets(options.user) if options.user else None, settings.book
    if user is not None and (book is None or user not in book.users):
        sys.stderr.write("geproxy: [auth] users knows no '%s'\n" % options.user)
        return USAGE
    groups = book.groups.get(user, frozenset()) if book else frozenset()
    question = rules.Question(client, user, groups, request.method, request.host, request.port)
    finding = find(settings, question, options.net)
    say = _show_json if options.output == 'json' else _show
    print('\n'.join(say(finding, settings)))
    return EXITS[verdict(finding)]


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy why', description='Say what geproxy would do with a request, and why. Exit code 0: allowed, 1: '
        'refused, 2: usage or ini file, 3: allowed, but out of reach, 4: with --no-net, it depends on the address.')
    parser.add_argument('url', metavar='URL', help='http://host/path, https://host, host for the same, '
                        'or host:port as CONNECT has it')
    parser.add_argument('--from', dest='client', metavar='ADDRESS', default='127.0.0.1', help='the client (127.0.0.1)')
    parser.add_argument('--user', metavar='NAME', help='who has logged in')
    parser.add_argument('--method', metavar='M', help='for http:// (GET)')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file; without it: all defaults')
    parser.add_argument('--no-net', dest='net', action='store_false', help='look nothing up, connect to nothing')
    parser.add_argument('-o', '--output', choices=('text', 'json'), default='text')
    return parser


def request_head(url, method):
    """The octets of the request that a client sends for a URL, or a bare host, which means https: native text; what is
    https by CONNECT. Raises BadRequest."""
    scheme, place = _URL.match(url).groups()
    if scheme and scheme.lower() != 'https://':
        target = compat.to_octets(url.partition('#')[0])        # no client sends a fragment
    else:
        if place.count('@') == 1 and '\\' not in place:
            place = place.partition('@')[2]         # no client sends user and password to the proxy
        place = compat.to_octets('[%s]' % place if ':' in place and address.is_ip(place) else place)
        authority = grammar.parse_authority(place)
        method, target = 'CONNECT', authority.text if authority.port else authority.text + b':443'
    return b'%s %s HTTP/1.1\r\nHost: x\r\n\r\n' % (compat.to_octets(method), target)


def find(settings, question, net, resolver=None):
    """The Finding about a rules.Question. `net`: may look up and connect; both may wait. `resolver`: whom to ask, if
    not this host, anew."""
    places, unknown = _places(settings, net)
    limits = [name for name in LIMITS if getattr(settings.limits, name) is not None]
    if limits:
        unknown.append('not looked at: [limits] %s; whoever is over waits, or gets 429' % ', '.join(limits))
    policy = access.Access(settings.access, listeners.own_test(places), this_host.is_local)
    now = time.time()
    found = dict(error=None, passed=[], addresses=[], connected=None, would='', depends=False)
    try:
        policy.check_client(question.client)
        if settings.auth.users and question.user is None and not address.within(question.client, settings.auth.exempt):
            raise errors.LoginRequired('this proxy asks for a name and a password')
        found['passed'] = policy.ruleset.explain(question, access.literal(question.host), now)
        decision = policy.check_target(question, now)
        found['would'], found['depends'] = decision.why, decision.allowed is None
        if net or access.literal(question.host) is not None:
            limit = TimeLimit('dns', settings.timeouts.dns, errors.DnsTimeout)
            addresses = (resolver or Resolver()).resolve(question.host, limit)
            allowed = _judge_all(policy, question, addresses, now, found)
            if net:
                found['connected'] = _connect(settings, question, allowed)
                if decision.allowed is None:
                    _decide(policy, question, found['connected'][0], now, found)    # not always the first
    except errors.ProxyError as error:
        found['error'] = error
    return Finding(question, unknown=unknown, **found)


def _judge_all(policy, question, addresses, now, found):
    """Those that may be dialled; what they tell goes into `found`. Raises what the client would be told."""
    judged = [(each, _judge(policy, question, each, now)) for each in addresses]
    if not judged:
        raise errors.DnsError('there is no address')
    found['addresses'] = [(each, str(refusal) if refusal else '') for each, refusal in judged]
    allowed = [each for each, refusal in judged if refusal is None]
    if found['depends']:
        # The first that may be dialled decides; if there is none, the client is told of the last.
        _decide(policy, question, (allowed or addresses[-1:])[0], now, found)
    if not allowed:
        raise judged[-1][1]
    return allowed


def _decide(policy, question, text, now, found):
    """Put into `found` what comes of an address."""
    found.update(depends=False, passed=policy.ruleset.explain(question, text, now), would='')
    if _judge(policy, question, text, now) is None:
        found['would'] = policy.check_address(question, text, now).why


def _places(settings, net):
    """-> ([(address, port)] where this proxy listens, what of that is not known). `net`: may look names up."""
    places, unknown = [], []
    for listener in settings.proxy.listen + settings.admin.listen:
        if isinstance(listener, option_types.UnixListener):
            continue                    # no request leads there
        hosts = [listener.host] if listener.host else ['0.0.0.0', '::']
        if listener.fd is not None:
            what = listener.fd if listener.fd == option_types.SYSTEMD else 'fd:%d' % listener.fd
            unknown.append('where %s listens is known to the running process only: whether the request leads back to '
                           'this proxy was not checked' % what)
            continue
        if listener.host and not address.is_ip(listener.host):
            hosts = _look_up(listener.host) if net else []
            if not hosts:
                unknown.append("the addresses of '%s', where it listens, are not known here: whether the request "
                               'leads back to this proxy was not checked' % listener.host)
        places.extend((host, listener.port) for host in hosts)
    return places, unknown


def _look_up(host):
    try:
        found = compat.native_getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    return [sockaddr[0] for _family, _type, _proto, _name, sockaddr in found]


def _judge(policy, question, text, now):
    """The error that speaks against an address, or None."""
    try:
        policy.check_address(question, text, now)
    except errors.Denied as error:
        return error
    return None


def _connect(settings, question, addresses):
    started = compat.monotonic()
    limit = TimeLimit('connect', settings.timeouts.connect, errors.ConnectTimeout)
    sock, reached = Dial(compat.to_native(question.host), addresses, question.port, limit).run()
    sock.close()
    return reached, compat.monotonic() - started


def verdict(finding):
    """One of EXITS."""
    if finding.error is None:
        return 'it depends on the address' if finding.depends else 'allowed'
    refused = isinstance(finding.error, (errors.Denied, errors.LoginRequired))
    return 'refused' if refused else 'out of reach'


# --- what it says

def _show(finding, settings):
    question, error = finding.question, finding.error
    who = address.show_ip(question.client) + (' as %s' % compat.to_native(question.user) if question.user else '')
    lines = ['%s %s port %d, from %s' % (
        compat.to_native(question.method), compat.to_native(question.host), question.port, who)]
    if len(finding.passed) > SHOWN:
        lines.append('  %d rules before these do not fit' % (len(finding.passed) - SHOWN))
    for rule, missed in finding.passed[-SHOWN:]:
        lines.append('  %s: %s' % (rules.show(rule), missed and 'no, by its %s' % missed or 'decides'))
    for each, refusal in finding.addresses:
        lines.append('  %s: %s' % (each, refusal or 'may be dialled'))
    if finding.connected:
        lines.append('  connected, directly, to %s in %d ms' % (finding.connected[0], finding.connected[1] * 1000))
    if error is None:
        lines.append(verdict(finding) + (', though it would be refused: %s' % finding.would if finding.would else ''))
        return lines + ['  ' + what for what in finding.unknown]
    lines.append('%s. The client gets:' % verdict(finding))
    answer = responses.failure(error, settings.proxy.name, 'ID', question.method, False, settings.auth.realm)
    return lines + ['    ' + line for line in compat.to_native(answer.replace(b'\r', b'')).rstrip('\n').split('\n')]


def _show_json(finding, _settings):
    question, error = finding.question, finding.error
    return [json.dumps(collections.OrderedDict((
        ('verdict', verdict(finding)), ('method', compat.to_native(question.method)),
        ('host', compat.to_native(question.host)),
        ('port', question.port), ('client', address.show_ip(question.client)),
        ('user', compat.to_native(question.user) if question.user else None),
        ('rule', finding.passed[-1][0].place if finding.passed and not finding.passed[-1][1] else None),
        ('rules', [{'place': rule.place, 'rule': rule.text, 'comment': rule.comment, 'passed': missed or None}
                   for rule, missed in finding.passed]),
        ('addresses', [{'address': each, 'refused': refusal or None} for each, refusal in finding.addresses]),
        ('route', 'direct'),
        ('connected', finding.connected and {'address': finding.connected[0], 'seconds': finding.connected[1]}),
        ('status', error.status if error else 200), ('reason', error.token if error else None),
        ('message', str(error) if error else None), ('would_refuse', finding.would or None),
        ('unknown', finding.unknown))), indent=1)]
