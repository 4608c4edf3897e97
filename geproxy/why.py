"""``python -m geproxy why URL``: what this proxy would do with a request, and which line of the ini file has it so.

Asks the very code that decides for clients, so that what it says and what they get cannot differ.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import json
import sys
import time

from geproxy import access, address, compat, config, errors, listeners, message, responses, rules
from geproxy.resolver import Resolver
from geproxy.stream import Limit
from geproxy.upstream import Dial

USAGE = 2
EXITS = {'allowed': 0, 'refused': 1, 'out of reach': 3, 'it depends on the address': 4}     # by verdict
SHOWN = 20              # rules; of more, only the last are listed

# `error`: the ProxyError that the client would be told, or None; `passed`: [(Rule, why not, '' for the one that
# decides)]; `addresses`: [(native text, why not or '')]; `connected`: (address, seconds) or None; `would`: with
# policy = report, why it would be refused; `depends`: on the address, which is not known.
Finding = collections.namedtuple('Finding', 'question error passed addresses connected would depends')


def main(arguments):
    """`arguments`: from the name of the command on. The exit code: one of EXITS, or USAGE."""
    options = _parser().parse_args(arguments[1:])
    try:
        settings = config.load(options.config)
        client = address.unmap(address.parse_ip(options.client))
        request = message.parse_request(request_head(options.url, options.method))
    except (config.ConfigError, EnvironmentError, ValueError, errors.ProxyError) as error:
        sys.stderr.write('geproxy: %s\n' % error)
        return USAGE
    user, book = compat.to_octets(options.user) if options.user else None, settings.book
    if user is not None and (book is None or user not in book.users):
        sys.stderr.write("geproxy: [auth] users knows no '%s'\n" % options.user)
        return USAGE
    groups = book.groups.get(user, frozenset()) if book else frozenset()
    question = rules.Question(client, user, groups, request.method, request.host(), request.port())
    finding = find(settings, question, options.net)
    say = _show_json if options.output == 'json' else _show
    print('\n'.join(say(finding, settings)))
    return EXITS[verdict(finding)]


def _parser():
    parser = argparse.ArgumentParser(
        prog='geproxy why', description='Say what geproxy would do with a request, and why. Exit code 0: allowed, 1: '
        'refused, 2: usage or ini file, 3: allowed, but out of reach, 4: with --no-net, it depends on the address.')
    parser.add_argument('url', metavar='URL', help='http://host/path, https://host, or host:port as CONNECT has it')
    parser.add_argument('--from', dest='client', metavar='ADDRESS', default='127.0.0.1', help='the client (127.0.0.1)')
    parser.add_argument('--user', metavar='NAME', help='who has logged in')
    parser.add_argument('--method', metavar='M', default='GET', help='for http:// (GET)')
    parser.add_argument('-c', '--config', metavar='FILE', help='the ini file; without it: all defaults')
    parser.add_argument('--no-net', dest='net', action='store_false', help='look nothing up, connect to nothing')
    parser.add_argument('-o', '--output', choices=('text', 'json'), default='text')
    return parser


def request_head(url, method):
    """The octets of the request that a client sends for a URL: native text; an https one by CONNECT."""
    scheme, separator, rest = url.partition('://')
    if scheme == 'https' and separator or not separator:
        target = rest.partition('/')[0] if separator else url
        if separator and not target.rpartition(':')[2].isdigit():
            target += ':443'
        method = 'CONNECT'
    else:
        target = url
    return compat.to_octets('%s %s HTTP/1.1\r\nHost: x\r\n\r\n' % (method, target))


def find(settings, question, net):
    """The Finding about a rules.Question. `net`: may look up and connect; both may wait."""
    policy = access.Access(settings.access, listeners.own_test(_places(settings)))
    now = time.time()
    found = dict(error=None, passed=[], addresses=[], connected=None, would='', depends=False)
    try:
        policy.check_client(question.client)
        if settings.auth.users and question.user is None and not address.within(question.client, settings.auth.exempt):
            raise errors.LoginRequired('this proxy asks for a name and a password')
        found['passed'] = policy.book.explain(question, access.literal(question.host), now)
        decision = policy.check_target(question, now)
        found['would'], found['depends'] = decision.why, decision.allowed is None
        judged = [(each,) + _judge(policy, question, each, now) for each in _addresses(settings, question, net)]
        found['addresses'] = [(each, str(refusal) if refusal else '') for each, refusal, _would in judged]
        if judged:
            found['depends'] = False
            allowed = [each for each, refusal, _would in judged if refusal is None]
            found['passed'] = policy.book.explain(question, (allowed or [judged[0][0]])[0], now)
            found['would'] = ([would for _each, refusal, would in judged if refusal is None] or [''])[0]
            if not allowed:
                raise judged[-1][1]
            found['connected'] = _connect(settings, question, allowed) if net else None
    except errors.ProxyError as error:
        found['error'] = error
    return Finding(question, **found)


def _addresses(settings, question, net):
    if not net and access.literal(question.host) is None:
        return []
    return Resolver().resolve(question.host, Limit('dns', settings.timeouts.dns, errors.DnsTimeout))


def _places(settings):
    """Where this proxy listens, as far as its settings tell."""
    for listener in settings.proxy.listen:
        if listener.fd is None:
            hosts = [listener.host] if listener.host else ['0.0.0.0', '::']
            for host in filter(address.is_ip, hosts):
                yield host, listener.port


def _judge(policy, question, text, now):
    """-> (the error that speaks against an address, or None, what a report would say of it)"""
    try:
        return None, policy.check_address(question, text, now).why
    except errors.Denied as error:
        return error, ''


def _connect(settings, question, addresses):
    started = compat.monotonic()
    limit = Limit('connect', settings.timeouts.connect, errors.ConnectTimeout)
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
        return lines
    lines.append('%s. The client gets:' % verdict(finding))
    answer = responses.failure(error, settings.proxy.name, 'ID', b'GET', False, settings.auth.realm)
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
        ('message', str(error) if error else None), ('would_refuse', finding.would or None))), indent=1)]
