"""Decides which clients may go where, and which addresses may be dialled. Pure: no I/O. A refusal is an error that says
why.

There are three questions, asked in this order: may this client use the proxy? May it ask for this host and port? May it
reach this address? The last one is asked for each address, just before the proxy connects to it.
"""
from __future__ import absolute_import, division, print_function

from geproxy import compat, errors
from geproxy.memo import Bounded
from geproxy.net.address import allows_ip, allows_port, kind, parse_ip, show_ip, unmap, unwrap, within
from geproxy.policy import ruleset

REMEMBERED = 10000      # decisions of each kind: clients ask the same again and again
_NOUNS = {'unspecified': 'an unspecified address'}
# A port in http_ports does not count for CONNECT, because neither rules nor logs see the requests inside a tunnel.
PORT_HINT = 'The operator of this proxy can add the port to [access] %s, or allow it by a rule that names the port.'
HTTP_HINT = PORT_HINT % 'http_ports'
CONNECT_HINT = PORT_HINT % 'connect_ports' + (
    ' '
    "http_ports does not count for CONNECT, which some clients use for plain http, too (Node's fetch, WebSocket).")
PERIOD = 10             # seconds that a decision is remembered at most: this host may get or lose addresses


class Access(object):
    """The policy of one [access] section. It never changes: a reload makes another one."""

    def __init__(self, settings, is_own, is_local):
        """`settings`: the section [access]; `is_own`: a function of (IP, port) that returns True if this proxy listens
        there; `is_local`: a function of an IP that returns True if this host has it."""
        self._settings = settings
        self._is_own, self._is_local = is_own, is_local
        # Remembered for one PERIOD:
        self._local = Bounded(REMEMBERED)       # {IP: True if this host has it}
        self._addresses = Bounded(REMEMBERED)   # {(client, address, port, True for CONNECT): Decision} of check_address
        self._targets = Bounded(REMEMBERED)     # {Question: Decision} of check_target
        self._period = 0                        # its number, since the epoch
        # Remembered for as long as this Access:
        self._clients = Bounded(REMEMBERED)     # {IP of a client that may use the proxy: True}
        self.ruleset = ruleset.Ruleset(settings.rules)

    def check_client(self, client):
        """Raise Denied if this client may not use the proxy. `client`: its IP, never a mapped one."""
        if client in self._clients:
            return
        if not within(client, self._settings.clients):
            raise errors.ClientDenied('client %s is not among [access] clients' % show_ip(client))
        self._clients.remember(client, True)

    def check_target(self, question, now):
        """Return the ruleset.Decision about a host and port, by the rules and the lists of ports.

        `question`: a rules.Question; `now`: seconds since the epoch. The `allowed` of the Decision is None if it
        depends on the address. Raises Denied; with `policy = report` the Decision that denies is returned instead.
        """
        if now // PERIOD != self._period:
            self._forget(now)
        decision = self._targets.get(question)
        if decision is None:
            address = literal(question.host) if self.ruleset.rules else None
            decision = self._enforce(self.ruleset.decide(question, address, now), question)
            if len(question.method) <= ruleset.METHOD_SIZE:
                self._targets.remember(question, decision)
        return decision

    def check_address(self, question, text, now):
        """Return the ruleset.Decision about an address that the proxy is going to connect to.

        `question`: a rules.Question; `text`: the address as native text; `now`: seconds since the epoch. Raises
        AddressDenied, or Denied as check_target does. The address itself is judged, and not the name that led to it, so
        no trick with names gets around this.
        """
        if now // PERIOD != self._period:
            self._forget(now)
        asked = (question.client, text, question.port, question.method == b'CONNECT')
        decision = self._addresses.get(asked)
        if decision is None:                # 1 us instead of 20 for an address that is remembered (3.13)
            self._check_special(question, unmap(parse_ip(text)))
        if decision is None or self.ruleset.rules:
            decision = self._enforce(self.ruleset.decide(question, text, now), question)
            self._addresses.remember(asked, decision)
        return decision

    def check_parent(self, text, port):
        """Raise LoopDetected if this proxy itself listens at the address of a parent. No rule of clients counts here.

        `text`: the address as native text; `port`: an int.
        """
        if self._is_own(unmap(parse_ip(text)), port):
            raise errors.LoopDetected('the parent at %s port %d is this proxy itself: correct [upstream] routes' % (
                text, port))

    def may_be_ours(self, host, port, listening):
        """Return True if a request for a host and port may be meant for this proxy itself.

        `host`: octets; `port`: an int; `listening`: the port that the client has connected to. An address has to be one
        of the proxy. A name is not looked up: only its port is compared.
        """
        address = literal(host)
        return port == listening if address is None else self._is_own(parse_ip(address), port)

    def _forget(self, now):
        self._period = now // PERIOD
        for each in (self._addresses, self._targets, self._local):
            each.clear()

    def _enforce(self, decision, question):
        """Return the Decision by rules and lists of ports. Raises Denied if it denies, unless `policy = report`.

        `decision`: the Decision by the rules alone.
        """
        if decision.allowed is None:
            return decision
        hint = None
        # A rule that names ports allows these ports, even if they are not in the lists.
        if decision.allowed and not (decision.where and decision.where.ports):
            name = 'connect_ports' if question.method == b'CONNECT' else 'http_ports'
            ports = getattr(self._settings, name)
            if not allows_port(ports, question.port):
                decision = ruleset.Decision(
                    False, None, None, 'port %d is not among [access] %s (%s)' % (question.port, name, ports.text))
                hint = CONNECT_HINT if question.method == b'CONNECT' else HTTP_HINT
        if decision.allowed or self._settings.policy == 'report':
            return decision
        error = errors.Denied(decision.why, decision.rule.source if decision.rule else '')
        error.hint = hint or error.hint
        raise error

    def _check_special(self, question, ip):
        """Raise AddressDenied if `ip`, or an address inside it, is special and not allowed."""
        if self._is_own(ip, question.port):
            raise errors.Ourselves('%s port %d is this proxy itself' % (show_ip(ip), question.port))
        carried = unwrap(ip)
        for inner in carried:
            denied = within(inner, self._settings.deny_addresses)
            if denied:
                raise errors.AddressDenied('%s is in [access] deny_addresses (%s)%s' % (
                    show_ip(inner), denied.text, _through(question.host, ip, inner)))
        if allows_ip(self._settings.allow_addresses, ip):
            return
        for inner in carried:
            self._check_kind(question, ip, inner)

    def _check_kind(self, question, ip, inner):
        """Raise AddressDenied if `inner` is special for this client. Packets to the address `ip` may end at `inner`."""
        what = kind(inner)
        usual = what == 'public' or what == 'private' and self._settings.private
        here = what == 'loopback' or (usual or what in ('link-local', 'reserved')) and self._is_this_host(inner)
        if usual and not here:
            return
        # A client on this host reaches all addresses of it without the proxy, too, but not through a wrapped address.
        if here and inner == ip and self._settings.loopback == 'auto' and (
                kind(question.client) == 'loopback' or self._is_this_host(question.client)):
            return
        noun = 'an address of this host' if usual else _NOUNS.get(what) or 'a %s address' % what
        raise errors.AddressDenied('%s is %s%s' % (show_ip(inner), noun, _through(question.host, ip, inner)))

    def _is_this_host(self, ip):
        """Return True if this host has the address `ip`. The answer may be one PERIOD old."""
        found = self._local.get(ip)
        if found is None:
            found = self._is_local(ip)
            self._local.remember(ip, found)
        return found


def literal(host):
    """Return the address as native text if `host`, octets, is an address; None if it is a name."""
    try:
        return show_ip(parse_ip(compat.to_native(host)))
    except ValueError:
        return None


def _through(host, ip, inner):
    """Return words that say how a request for `host` leads through the address `ip` to `inner`; '' if all are the
    same."""
    ways = ([] if inner == ip else [show_ip(ip)]) + ([] if literal(host) else [compat.to_native(host)])
    return ', reached through %s' % ' of '.join(ways) if ways else ''
