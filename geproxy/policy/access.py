"""Who may go where; which addresses are off limits. Pure: values in, an error with its reason out, no I/O.

Questions, asked in the order in which their answers become known: may this client use the proxy at all, may it ask for
that host and port, and, once per address and just before it is dialled, may it reach that address.
"""
from __future__ import absolute_import, division, print_function

from geproxy import compat, errors
from geproxy.net.address import allows_port, kind, opens, parse_ip, show_ip, unmap, unwrap, within
from geproxy.policy import ruleset

REMEMBERED = 10000      # addresses that may be dialled, with who asked
_NOUNS = {'unspecified': 'an unspecified address'}
# Ports of http_ports do not count for CONNECT: no rule for methods, and no log, sees what goes through a tunnel.
CONNECT_HINT = (
    'The operator of this proxy can add the port to [access] connect_ports, or allow it by a rule that names the port. '
    "http_ports does not count for CONNECT, which some clients use for plain http, too (Node's fetch, WebSocket).")
LATELY = 10             # seconds: addresses of this very host come and go


class Access(object):
    """The policy, built from one immutable [access] section; never changed, only replaced."""

    def __init__(self, settings, is_own, is_local):
        """`settings`: the section [access]; `is_own`: a function of (IP, port) that tells the proxy's listeners;
        `is_local`: a function of an IP that tells the addresses of this host."""
        self._settings = settings
        self._is_own, self._is_local = is_own, is_local
        self._local = {}            # {IP: is it an address of this host?}: what `is_local` said lately
        # {(client, address, port, by CONNECT?): Decision}: what `_check_special` let pass lately.
        self._allowed = {}
        self._settled = {}          # {Question: Decision}: what `check_target` said lately
        self._clients = set()       # those who may use the proxy, as far as they have been seen
        self._moment = 0
        self.ruleset = ruleset.Ruleset(settings.rules)

    def check_client(self, client):
        """May this client (an IP, no mapped one) use the proxy? Raises Denied."""
        if client in self._clients:
            return
        if not within(client, self._settings.clients):
            raise errors.Denied('client %s is not among [access] clients' % show_ip(client))
        if len(self._clients) >= REMEMBERED:
            self._clients.clear()
        self._clients.add(client)

    def check_target(self, question, now):
        """May that be asked for (a rules.Question), by the rules and the lists of ports? The ruleset.Decision: what
        only an address will tell is not decided yet. `now`: seconds since the epoch. Raises Denied; with
        `policy = report` it returns that Decision, and the request goes on."""
        if now // LATELY != self._moment or len(self._settled) >= REMEMBERED:
            self._forget(now)
        decision = self._settled.get(question)
        if decision is None:
            address = literal(question.host) if self.ruleset.rules else None
            decision = self._settle(self.ruleset.decide(question, address, now), question)
            if len(question.method) <= ruleset.METHOD_SIZE:
                self._settled[question] = decision
        return decision

    def check_address(self, question, text, now):
        """May the client reach that address (native text)? The Decision. Raises AddressDenied or Denied.

        Asked for what is about to be dialled, so that no trick with names leads around it.
        """
        if now // LATELY != self._moment or len(self._allowed) >= REMEMBERED:
            self._forget(now)
        asked = (question.client, text, question.port, question.method == b'CONNECT')
        decision = self._allowed.get(asked)
        if decision is None:                # 20 -> 1 us for an address that was allowed lately (3.13)
            self._check_special(question, unmap(parse_ip(text)))
        if decision is None or self.ruleset.rules:
            decision = self._settle(self.ruleset.decide(question, text, now), question)
            self._allowed[asked] = decision
        return decision

    def may_be_ours(self, host, port, listening):
        """True if somebody who asks for that host and port may well mean this proxy: by our address, or by a name
        (which is not looked up) and the port `listening`."""
        address = literal(host)
        return port == listening if address is None else self._is_own(parse_ip(address), port)

    def _forget(self, now):
        self._allowed, self._settled, self._local, self._moment = {}, {}, {}, now // LATELY

    def _settle(self, decision, question):
        if decision.allowed is None:
            return decision
        hint = None
        # A rule that names ports means them.
        if decision.allowed and not (decision.where and decision.where.ports):
            name = 'connect_ports' if question.method == b'CONNECT' else 'http_ports'
            ports = getattr(self._settings, name)
            if not allows_port(ports, question.port):
                decision = ruleset.Decision(False, None, None, 'port %d is not among [access] %s (%s)' % (
                    question.port, name, ports.text))
                hint = CONNECT_HINT if question.method == b'CONNECT' else None
        if decision.allowed or self._settings.policy == 'report':
            return decision
        error = errors.Denied(decision.why, decision.rule.source if decision.rule else '')
        error.hint = hint or error.hint
        raise error

    def _check_special(self, question, ip):
        if self._is_own(ip, question.port):
            raise errors.Ourselves('%s port %d is this proxy itself' % (show_ip(ip), question.port))
        carried = unwrap(ip)
        for inner in carried:
            denied = within(inner, self._settings.deny_addresses)
            if denied:
                raise errors.AddressDenied('%s is in [access] deny_addresses (%s)%s' % (
                    show_ip(inner), denied.text, _way(question.host, ip, inner)))
        if opens(self._settings.allow_addresses, ip):
            return
        for inner in carried:
            self._check_kind(question, ip, inner)

    def _check_kind(self, question, ip, inner):
        """Raise AddressDenied if what a packet to `ip` may end at, `inner`, is special for this client."""
        what = kind(inner)
        usual = what == 'public' or what == 'private' and self._settings.private
        here = what == 'loopback' or (usual or what in ('link-local', 'reserved')) and self._is_here(inner)
        if usual and not here:
            return
        # A client on this very host reaches all of it without the proxy, too. Not by way of another address, though.
        if here and inner == ip and self._settings.loopback == 'auto' and (
                kind(question.client) == 'loopback' or self._is_here(question.client)):
            return
        noun = 'an address of this host' if usual else _NOUNS.get(what) or 'a %s address' % what
        raise errors.AddressDenied('%s is %s%s' % (show_ip(inner), noun, _way(question.host, ip, inner)))

    def _is_here(self, ip):
        """Return True if `ip` is an address of this host, as far as was known a few seconds ago."""
        found = self._local.get(ip)
        if found is None:
            if len(self._local) >= REMEMBERED:
                self._local.clear()
            found = self._local[ip] = self._is_local(ip)
        return found


def literal(host):
    """The address as native text, if a host (octets) is one and no name; else None."""
    try:
        return show_ip(parse_ip(compat.to_native(host)))
    except ValueError:
        return None


def _way(host, ip, inner):
    """How a packet for `host`, by the address `ip`, comes to `inner`, in words."""
    ways = ([] if inner == ip else [show_ip(ip)]) + ([] if literal(host) else [compat.to_native(host)])
    return ', by way of %s' % ' of '.join(ways) if ways else ''
