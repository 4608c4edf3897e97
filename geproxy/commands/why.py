"""``python -m geproxy why URL``: what this proxy would do with a request, and which line of the ini file decides.

It calls the same code that decides for clients: who may use the proxy, who must log in, the rules, the ports, the
addresses, the route, and whether the origin or a parent can be reached now, from this host. It asks the running
processes for the states of parents. All else that only they know it does not know: limits and quotas, inherited
sockets, PROXY headers, loops, and the answer of the origin.
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
from geproxy.commands import why_routes
from geproxy.http1 import grammar, reading, responses
from geproxy.net import address, this_host
from geproxy.net.deadlines import TimeLimit
from geproxy.policy import access, rules
from geproxy.service import listeners
from geproxy.settings import environment_routes, loading, option_types
from geproxy.upstream.dialling import Attempts
from geproxy.upstream.resolver import Resolver

USAGE = 2
_URL = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*://|)([^/?#]*)')
EXITS = {'allowed': 0, 'refused': 1, 'out of reach': 3, 'it depends on the address': 4}     # {verdict: exit code}
SHOWN = 20              # rules at most; if there are more, the last of them
LIMITS = ('per_client', 'requests', 'rate', 'quota')        # options of [limits] that are None unless set

# `error`: the ProxyError that the client would get, or None; `passed`: [(Rule, why it does not match, or '' for the
# one that decides)]; `addresses`: [(native text, why it is refused, or '')]; `connected`: (address, seconds) or None;
# `would`: with policy = report, why the request would be refused, or ''; `depends`: true if the address decides and is
# not known; `unknown`: a list of sentences, each names a check that was not made; `routing`: the why_routes.Routing, or
# None if there are no routes.
Finding = collections.namedtuple('Finding', 'question error passed addresses connected would depends unknown routing')


def main(arguments):
    """Run ``geproxy why`` and return the exit code: one of EXITS, or USAGE.

    `arguments`: native texts, the name of the command first.
    """
    options = _parser().parse_args(arguments[1:])
    try:
        settings = loading.load(options.config)
        client = address.unmap(address.parse_ip(options.client))
        request = reading.parse_request(request_head(options.url, options.method or 'GET'))
    except (loading.ConfigError, EnvironmentError, ValueError, errors.ProxyError) as error:
        sys.stderr.write('geproxy: %s\n' % error)
        return USAGE
    if options.method not in (None, 'CONNECT') and request.method == b'CONNECT':
        sys.stderr.write('geproxy: --method %s is ignored: for https:// a proxy only sees the method CONNECT\n' % (
            options.method))
    user, users = compat.to_octets(options.user) if options.user else None, settings.users
    if user is not None and not settings.tls.clients and (users is None or user not in users.by_name):
        sys.stderr.write("geproxy: no user '%s' in the file of [auth] users\n" % options.user)
        return USAGE
    groups = users.groups.get(user, frozenset()) if users else frozenset()
    question = rules.Question(client, user, groups, request.method, request.host, request.port)
    finding = find(settings, question, options.net, states=why_routes.states_of(
        options.config, settings, options.net))
    say = _show_json if options.output == 'json' else _show
    print('\n'.join(say(finding, settings)))
    return EXITS[verdict(finding)]


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy why', description='Show what geproxy would do with a request, and which rule decides. '
        'Exit code 0: allowed, 1: refused, 2: wrong usage or a mistake in the ini file, 3: allowed, but the host '
        'cannot be reached or a parent refuses, 4: with --no-net, it depends on the address.')
    parser.add_argument('url', metavar='URL', help='http://host/path, https://host, host (means https://host), or '
                        'host:port (means CONNECT to that port)')
    parser.add_argument('--from', dest='client', metavar='ADDRESS', default='127.0.0.1',
                        help='address of the client (default: 127.0.0.1)')
    parser.add_argument('--user', metavar='NAME', help='the user who has logged in (default: nobody)')
    parser.add_argument('--method', metavar='METHOD', help='method of a request for http:// (default: GET)')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file (default: none, all options have their '
                        'defaults)')
    parser.add_argument('--no-net', dest='net', action='store_false', help='look up no names, open no '
                        'connections and ask no process')
    parser.add_argument('-o', '--output', choices=('text', 'json'), default='text',
                        help='text for people, json for programs (default: text)')
    return parser


def request_head(url, method):
    """Return the octets of the request head that a client sends to its proxy. Raises BadRequest.

    `url`: native text, a URL or a host, which means https; `method`: native text, replaced by CONNECT for https.
    """
    scheme, authority = _URL.match(url).groups()
    if scheme and scheme.lower() != 'https://':
        target = compat.to_octets(url.partition('#')[0])        # clients do not send a fragment
    else:
        if authority.count('@') == 1 and '\\' not in authority:
            authority = authority.partition('@')[2]         # clients do not send user and password to the proxy
        if ':' in authority and address.is_ip(authority):
            authority = '[%s]' % authority
        parsed = grammar.parse_authority(compat.to_octets(authority))
        method, target = 'CONNECT', parsed.text if parsed.port else parsed.text + b':443'
    return b'%s %s HTTP/1.1\r\nHost: x\r\n\r\n' % (compat.to_octets(method), target)


def find(settings, question, net, resolver=None, states=lambda parent: ()):
    """Return the Finding about a request. May wait, for name servers and for the origin.

    `settings`: of loading.load; `question`: a rules.Question; `net`: true if names may be looked up and connections
    opened; `resolver`: None for a new Resolver; `states`: a function of the name of a parent that returns sentences.
    """
    places, unknown = _listening(settings, net)
    limits = [name for name in LIMITS if getattr(settings.limits, name) is not None]
    if limits:
        unknown.append('not checked: [limits] %s. A client over a limit gets 429 or is slowed down' % ', '.join(limits))
    policy = access.Access(settings.access, listeners.own_test(places), this_host.is_local)
    now = time.time()
    found = dict(error=None, passed=[], addresses=[], connected=None, would='', depends=False, routing=None)
    try:
        policy.check_client(question.client)
        if question.user is None and not address.within(question.client, settings.auth.exempt):
            if settings.tls.clients and settings.auth.certificates == 'required':
                raise errors.CertificateRequired('this proxy asks for a certificate of the client')
            if settings.auth.users:
                raise errors.LoginRequired('this proxy asks for a name and a password')
        found['passed'] = policy.ruleset.explain(question, access.literal(question.host), now)
        decision = policy.check_target(question, now)
        found['would'], found['depends'] = decision.why, decision.allowed is None
        case = Case(settings, policy, question, resolver or Resolver(), now, found)
        if settings.routes is not None and settings.routes.rows:
            rule = policy.ruleset.pending(question, now) if found['depends'] else None
            found['routing'] = why_routes.Routing(settings, policy, question, rule and rules.show(rule))
        if not net:
            if access.literal(question.host) is not None:
                case.judge_all(case.resolve())
            if found['routing']:
                found['routing'].show_all(states)
        elif found['routing']:
            found['routing'].try_all(case.directly_after, case.look_up, states)
        else:
            case.directly(found)
    except errors.ProxyError as error:
        found['error'] = error
    return Finding(question, unknown=unknown, **found)


class Case(object):
    """One request whose host and port are allowed. It notes in a dictionary what it finds out: see Finding."""

    def __init__(self, settings, policy, question, resolver, now, found):
        """`settings`, `question`: as for `find`; `policy`: the access.Access; `resolver`: a Resolver; `now`: seconds
        since the epoch; `found`: the dictionary."""
        self._settings, self._policy, self._question, self._resolver = settings, policy, question, resolver
        self._now, self._found, self._by_rule = now, found, found['depends']
        self._limit = TimeLimit('dns', settings.timeouts.dns, errors.DnsTimeout)

    def resolve(self):
        """Return the addresses of the host, native texts. May wait. Raises DnsError, DnsTimeout."""
        return self._resolver.resolve(self._question.host, self._limit, '')

    def judge_all(self, addresses, found=None):
        """Return those of `addresses`, native texts, that may be dialled, and note what was decided about each.

        `found`: where it is noted, or None. Raises the ProxyError that the client would get.
        """
        return _judge_all(self._policy, self._question, addresses, self._now, self._found if found is None else found)

    def directly(self, found):
        """Connect to the host. May wait. Raises ProxyError. `found`: where it is noted."""
        found['connected'] = _connect(self._settings, self._question, self.judge_all(self.resolve(), found))
        if self._by_rule:       # not always by the first address
            _decide(self._policy, self._question, found['connected'][0], self._now, found)

    def directly_after(self, first):
        """Connect to the host, after other routes or as the first. May wait. Raises ProxyError. Return sentences.

        `first`: True if there is no route before this one: then it decides what is found out.
        """
        if first:
            self.directly(self._found)
            return ()
        found = dict(self._found)
        self.directly(found)
        return ('connected to %s in %d ms' % (found['connected'][0], found['connected'][1] * 1000),)

    def look_up(self, by_name):
        """Return the addresses that a parent may be asked for, native texts. May wait. Raises Denied, AddressUnknown.

        `by_name`: True if the parent gets the name, so that none of the addresses may be denied.
        """
        try:
            addresses = self.resolve()
        except (errors.DnsError, errors.DnsTimeout) as error:
            raise errors.AddressUnknown('%s; its address must be known' % error)
        allowed = self.judge_all(addresses)
        if by_name:
            for each in addresses:
                self._policy.check_address(self._question, each, self._now)
        return allowed


def _judge_all(policy, question, addresses, now, found):
    """Return the addresses that may be dialled; note in `found` what was decided about all of them.

    `addresses`: native texts; `now`: seconds since the epoch. Raises the ProxyError that the client would get.
    """
    judged = [(each, _judge(policy, question, each, now)) for each in addresses]
    if not judged:
        raise errors.DnsError('no address found')
    found['addresses'] = [(each, str(refusal) if refusal else '') for each, refusal in judged]
    allowed = [each for each, refusal in judged if refusal is None]
    if found['depends']:
        # The first address that may be dialled decides. If there is none, the client gets the refusal of the last.
        _decide(policy, question, (allowed or addresses[-1:])[0], now, found)
    if not allowed:
        raise judged[-1][1]
    return allowed


def _decide(policy, question, text, now, found):
    """Note in `found` what the rules say about an address. `text`: the address, native text."""
    found.update(depends=False, passed=policy.ruleset.explain(question, text, now), would='')
    if _judge(policy, question, text, now) is None:
        found['would'] = policy.check_address(question, text, now).why


def _listening(settings, net):
    """Return ([(address, port)] on which this proxy listens, sentences that name listeners of unknown address).

    `net`: true if names may be looked up.
    """
    places, unknown = [], []
    for listener in settings.proxy.listen + settings.admin.listen:
        if isinstance(listener, option_types.UnixListener):
            continue                    # no request can be sent there
        hosts = [listener.host] if listener.host else ['0.0.0.0', '::']
        if listener.fd is not None:
            what = listener.fd if listener.fd == option_types.SYSTEMD else 'fd:%d' % listener.fd
            unknown.append('not checked: whether the request leads back to this proxy. Only the running process knows '
                           'the address of listen = %s' % what)
            continue
        if listener.host and not address.is_ip(listener.host):
            hosts = _look_up(listener.host) if net else []
            if not hosts:
                unknown.append('not checked: whether the request leads back to this proxy. The addresses of '
                               "listen = %s are not known here" % listener.host)
        places.extend((host, listener.port) for host in hosts)
    return places, unknown


def _look_up(host):
    """Return the addresses of a host, native texts; none if it does not resolve."""
    try:
        found = compat.native_getaddrinfo(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    return [sockaddr[0] for _family, _type, _proto, _name, sockaddr in found]


def _judge(policy, question, text, now):
    """Return the Denied that refuses an address, or None. `text`: the address, native text."""
    try:
        policy.check_address(question, text, now)
    except errors.Denied as error:
        return error
    return None


def _connect(settings, question, addresses):
    """Connect to the first address that answers. Return (address, seconds). Raises ProxyError."""
    started = compat.monotonic()
    limit = TimeLimit('connect', settings.timeouts.connect, errors.ConnectTimeout)
    routes = settings.routes
    ways = routes.choose(question.host, question.port, question.method == b'CONNECT').routes if routes else ()
    sources = next((way.sources for way in ways if not way.parents), ())
    sock, reached = Attempts(question.host, addresses, question.port, limit, sources).run()
    sock.close()
    return reached, compat.monotonic() - started


def verdict(finding):
    """Return the verdict of `finding`, a Finding, native text: a key of EXITS."""
    if finding.error is None:
        return 'it depends on the address' if finding.depends else 'allowed'
    refused = isinstance(finding.error, (errors.Denied, errors.LoginRequired))
    return 'refused' if refused else 'out of reach'


# --- output

def _show(finding, settings):
    question, error = finding.question, finding.error
    who = address.show_ip(question.client) + (' as %s' % compat.to_native(question.user) if question.user else '')
    lines = ['%s %s port %d, from %s' % (
        compat.to_native(question.method), compat.to_native(question.host), question.port, who)]
    if len(finding.passed) > SHOWN:
        lines.append('  (%d rules before these do not match)' % (len(finding.passed) - SHOWN))
    for rule, missed in finding.passed[-SHOWN:]:
        lines.append('  %s: %s' % (rules.show(rule), 'no match (%s)' % missed if missed else 'decides'))
    for each, refusal in finding.addresses:
        said = refusal or 'may be dialled'
        lines.append('  %s' % said if said.startswith(each + ' ') else '  %s: %s' % (each, said))
    if finding.connected:
        lines.append('  connected directly to %s in %d ms' % (finding.connected[0], finding.connected[1] * 1000))
    if finding.routing:
        lines += finding.routing.lines()
    elif environment_routes.is_in(settings):
        lines.append('  routes: none%s' % why_routes.HERE)
    if error is None:
        would = ', but only because of policy = report; otherwise refused: %s' % finding.would if finding.would else ''
        return lines + [verdict(finding) + would] + ['  ' + what for what in finding.unknown]
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
        ('rule', finding.passed[-1][0].source if finding.passed and not finding.passed[-1][1] else None),
        ('rules', [{'place': rule.source, 'rule': rule.text, 'comment': rule.comment, 'passed': missed or None}
                   for rule, missed in finding.passed]),
        ('addresses', [{'address': each, 'refused': refusal or None} for each, refusal in finding.addresses]),
        ('route', finding.routing.first() if finding.routing else 'direct'),
        ('routing', finding.routing and finding.routing.as_json()),
        ('connected', finding.connected and {'address': finding.connected[0], 'seconds': finding.connected[1]}),
        ('status', error.status if error else 200), ('reason', error.token if error else None),
        ('message', str(error) if error else None), ('would_refuse', finding.would or None),
        ('unknown', finding.unknown))), indent=1)]
