"""Which rule decides: the first that fits, found without asking each. Pure; the same question gets the same answer.

A rule about networks can only be judged once an address is known: until then the answer may be that it depends.
"""
from __future__ import absolute_import, division, print_function

import collections
import datetime

from geproxy import address, rules

# `allowed`: True or False, None if it depends on the address; `rule`, `where`: what decided, or None; `why`: why not.
Decision = collections.namedtuple('Decision', 'allowed rule where why')
ALLOWED = Decision(True, None, None, '')
DEPENDS = Decision(None, None, None, '')

REMEMBERED = 10000      # decisions; a kept-alive client asks the same again and again
WARNING = 14            # days before a rule ends

# Both of a rule and one of its Wheres, with its place in the order.
_Entry = collections.namedtuple('_Entry', 'order rule where')


class RuleBook(object):
    """Rules in their order; never changed, only replaced."""

    def __init__(self, ruled):
        """`ruled`: Rules, as rules.parse makes them. Without any, all is allowed."""
        self.rules = tuple(ruled)
        self._anywhere = []             # entries for any host
        self._lists = []                # those with many names, each looked up in a set of its own
        self._by_name = {}              # {one of host_keys: [entry]}
        self._networked = []            # those with networks
        self._by_network = {}           # {(version, shift): {value: [entry]}}
        self._remembered = {}
        self._minute = 0                # of what is remembered: some rules go by the clock
        for order, rule in enumerate(self.rules):
            for where in rule.wheres:
                self._add(_Entry(order, rule, where))

    def _add(self, entry):
        names, networks = entry.where.names, entry.where.networks
        if names is not None and len(names) == 1:
            self._by_name.setdefault(next(iter(names)), []).append(entry)
        elif names is not None:
            self._lists.append(entry)
        elif networks:
            self._networked.append(entry)
            for network in networks:
                by_value = self._by_network.setdefault((network.version, network.shift), {})
                by_value.setdefault(network.value, []).append(entry)
        else:
            self._anywhere.append(entry)

    def decide(self, question, text, now):
        """The Decision about a rules.Question. `text`: the address that is about to be dialled, native, or None if it
        is not known yet; `now`: seconds since the epoch."""
        if not self.rules:
            return ALLOWED
        minute = now // 60
        if minute != self._minute or len(self._remembered) >= REMEMBERED:
            self._remembered, self._minute = {}, minute
        key = (question, text)
        decision = self._remembered.get(key)
        if decision is None:
            carried = None if text is None else address.unwrap(address.unmap(address.parse_ip(text)))
            moment = datetime.datetime.fromtimestamp(now)
            decision = self._remembered[key] = self._find(question, carried, moment)
        return decision

    def _find(self, question, carried, moment):
        open_yet = False                # a rule has been passed over that may deny it, once the address is known
        for entry in sorted(self._candidates(question.host, carried), key=_order):
            rule, where = entry.rule, entry.where
            if rules.mismatch(rule, where, question, moment):
                continue
            if where.networks and carried is None:
                if rule.allows:
                    return DEPENDS
                open_yet = True
                continue
            if where.networks and rule.allows and not _covers(where.networks, carried):
                continue
            decision = _decision(rule, where, moment)
            return DEPENDS if open_yet and decision.allowed else decision
        # Not even a look-up for what cannot be allowed: names can carry secrets out.
        return Decision(False, None, None, 'no rule allows it (the last is %s)' % rules.show(self.rules[-1]))

    def _candidates(self, host, carried):
        found = list(self._anywhere)
        keys = rules.host_keys(host)
        for key in keys:
            found.extend(self._by_name.get(key, ()))
        for entry in self._lists:
            if not entry.where.names.isdisjoint(keys):
                found.append(entry)
        if carried is None:
            return found + self._networked
        for (version, shift), by_value in self._by_network.items():
            for ip in carried:
                if ip.version == version:
                    found.extend(by_value.get(ip.value >> shift, ()))
        return found

    def explain(self, question, text, now):
        """All rules up to the one that decides, as [(Rule, why it says nothing about `question`, or '')]."""
        carried = None if text is None else address.unwrap(address.unmap(address.parse_ip(text)))
        moment = datetime.datetime.fromtimestamp(now)
        passed = []
        for rule in self.rules:
            missed = min((_missed(rule, where, question, carried, moment) for where in rule.wheres), key=len)
            passed.append((rule, missed))
            if not missed:
                break
        return passed

    def warnings(self, now):
        """What an operator should know of rules that end soon or have ended, as texts."""
        today = datetime.datetime.fromtimestamp(now).date()
        said = []
        for rule in self.rules:
            days = rule.options.until and (rule.options.until - today).days
            if days is not None and days < WARNING:
                when = 'ended on' if days < 0 else 'ends after'
                said.append('%s %s %s' % (rules.show(rule), when, rule.options.until))
        return said


def _order(entry):
    return entry.order


def _decision(rule, where, moment):
    if not rule.allows:
        return Decision(False, rule, where, 'denied by %s' % rules.show(rule))
    if rules.expired(rule, moment):
        return Decision(False, rule, where, 'no longer allowed by %s' % rules.show(rule))
    return Decision(True, rule, where, '')


def _covers(networks, carried):
    """True if `networks` hold an address itself, or all that it carries: to deny one of these is enough."""
    return address.within(carried[0], networks) is not None or len(carried) > 1 and all(
        address.within(ip, networks) for ip in carried[1:])


def _missed(rule, where, question, carried, moment):
    """As rules.mismatch, of hosts and addresses too."""
    missed = rules.mismatch(rule, where, question, moment)
    if missed:
        return missed
    if where.names is not None:
        return 'host' if where.names.isdisjoint(rules.host_keys(question.host)) else ''
    if not where.networks:
        return ''
    if carried is None:
        return 'address'
    holds = _covers(where.networks, carried) if rule.allows else any(
        address.within(ip, where.networks) for ip in carried)
    return '' if holds else 'address'
