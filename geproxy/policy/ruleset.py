"""Which rule decides: the first that fits, found without asking each. Pure; the same question gets the same answer.

A rule about networks can only be judged once an address is known: until then the answer may be that it depends.
"""
from __future__ import absolute_import, division, print_function

import collections
import datetime
import heapq

from geproxy.http1 import grammar
from geproxy.net import address
from geproxy.policy import rules

# `allowed`: True or False, None if it depends on the address; `rule`, `where`: what decided, or None; `why`: why not.
Decision = collections.namedtuple('Decision', 'allowed rule where why')
ALLOWED = Decision(True, None, None, '')
DEPENDS = Decision(None, None, None, '')

REMEMBERED = 10000      # decisions; a kept-alive client asks the same again and again
METHOD_SIZE = 32        # octets of a method that decisions are remembered for: what is bounded by number is so by size
FEW = 8                 # entries that are asked one by one whether they are for this client
PORTS = 16              # of a rule, that are looked up one by one
WARNING = 14            # days before a rule ends

# Both of a rule and one of its Wheres. `order`: its place, which no other has.
_Entry = collections.namedtuple('_Entry', 'order rule where')


class Ruleset(object):
    """Rules in their order; never changed, only replaced."""

    def __init__(self, ruled):
        """`ruled`: Rules, as rulelines.parse makes them. Without any, all is allowed."""
        self.rules = tuple(ruled)
        self._anywhere = []             # entries for any host
        self._lists = []                # those with many names, each looked up in a set of its own
        self._by_name = {}              # {one of host_keys: [entry]}
        self._waiting = {}              # of those with networks, the first of each kind: for while no address is known
        self._by_network = {}           # {(version, shift): {value: [entry]}}
        self._denied = Decision(False, None, None, 'no rule allows it (of the %d in %s)' % (
            len(self.rules), ', '.join(_files(self.rules))))
        self._remembered = {}
        self._timed = any(rule.options.until or rule.options.hours or rule.options.days != rules.ALL_DAYS
                          for rule in self.rules)
        self._minute = 0                # of what is remembered, if some rules go by the clock
        for order, rule in enumerate(self.rules):
            for number, where in enumerate(rule.wheres):
                # Of one rule, what names ports counts before what leaves them to the lists.
                self._add(_Entry((order, where.ports is None, number), rule, where))
        self._first_waiting = _bucket(sorted(self._waiting.values()))
        self._anywhere, self._lists = _bucket(self._anywhere), _bucket(self._lists)
        for by_key in [self._by_name] + list(self._by_network.values()):
            by_key.update((key, _bucket(entries)) for key, entries in by_key.items() if len(entries) > FEW)

    def _add(self, entry):
        names, networks = entry.where.names, entry.where.networks
        if names is not None and len(names) == 1:
            self._by_name.setdefault(next(iter(names)), []).append(entry)
        elif names is not None:
            self._lists.append(entry)
        elif networks:
            # One that asks for the same as an earlier one can add nothing as long as the address is not known.
            rule = entry.rule
            kind = (rule.allows, rule.who, rule.methods, rule.options, entry.where.tunnel, entry.where.ports)
            self._waiting.setdefault(kind, entry)
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
        minute = now // 60 if self._timed else 0
        if minute != self._minute or len(self._remembered) >= REMEMBERED:
            self._remembered, self._minute = {}, minute
        decision = self._remembered.get((question, text))
        if decision is None:
            carried = None if text is None else address.unwrap(address.unmap(address.parse_ip(text)))
            decision = self._find(question, carried, datetime.datetime.fromtimestamp(now))
            if len(question.method) <= METHOD_SIZE:
                self._remembered[question, text] = decision
        return decision

    def _find(self, question, carried, moment):
        open_yet = False                # a rule has been passed over that may deny it, once the address is known
        for entry in heapq.merge(*self.candidates(question, carried)):
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
        return self._denied

    def candidates(self, question, carried):
        """Return the entries that may fit, as lists in order: an entry compares by its place, which comes first. Some
        may be there twice. `carried`: the IPs of an address (address.unwrap), or None if it is not known."""
        keys = rules.host_keys(question.host)
        buckets = [self._anywhere]
        buckets.extend(self._by_name[key] for key in keys if key in self._by_name)
        if carried is None:
            buckets.append(self._first_waiting)
        else:
            for (version, shift), by_value in self._by_network.items():
                buckets.extend(by_value[ip.value >> shift] for ip in carried
                               if ip.version == version and ip.value >> shift in by_value)
        found = _lists_of(buckets, question)
        found.extend([entry] for entries in _lists_of([self._lists], question) for entry in entries
                     if not entry.where.names.isdisjoint(keys))
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

    def warnings(self, now, users, groups):
        """What an operator should know, as texts: rules that end soon or have ended, and those that name somebody who
        is not among `users` and `groups`, sets of octets."""
        today = datetime.datetime.fromtimestamp(now).date()
        said = []
        for rule in self.rules:
            days = rule.options.until and (rule.options.until - today).days
            if days is not None and days < WARNING:
                when = 'ended on' if days < 0 else 'ends after'
                said.append('%s %s %s' % (rules.show(rule), when, rule.options.until))
            strangers = (rule.who.users - users - {rules.ANYBODY}) | (rule.who.groups - groups)
            if strangers:
                said.append('%s names %s, whom [auth] does not know' % (
                    rules.show(rule), ', '.join(sorted(grammar.printable(name) for name in strangers))))
        return said


class _ByClient(object):
    """Entries that are alike in where they lead, by whom they are for, and those for everybody by their ports. Those
    that cannot fit are not looked at."""

    def __init__(self, entries):
        self._everybody, self._ports, self._users, self._groups, self._networks = [], {}, {}, {}, {}
        for entry in entries:
            who = entry.rule.who
            if who is rules.EVERYBODY:
                for port in _ports_of(entry.where) or (None,):
                    (self._everybody if port is None else self._ports.setdefault(port, [])).append(entry)
                continue
            for network in set((network.version, network.shift, network.value) for network in who.networks):
                by_value = self._networks.setdefault(network[:2], {})
                by_value.setdefault(network[2], []).append(entry)
            for by_name, names in ((self._users, who.users), (self._groups, who.groups)):
                for name in names:
                    by_name.setdefault(name, []).append(entry)

    def lists(self, question):
        """Return the entries that are for the client of a rules.Question, as lists, each in order. An entry may be in
        several."""
        found, client = [self._everybody, self._ports.get(question.port, ())], question.client
        for (version, shift), by_value in self._networks.items():
            if version == client.version and client.value >> shift in by_value:
                found.append(by_value[client.value >> shift])
        if question.user is not None:
            found.extend(self._users[user] for user in (question.user, rules.ANYBODY) if user in self._users)
            found.extend(self._groups[group] for group in question.groups if group in self._groups)
        return found


def _ports_of(where):
    """Return the ports of a Where, as a set; an empty one if it names none, or too many to be looked up by each."""
    ranges = where.ports.ranges if where.ports is not None else ()
    if sum(last - first + 1 for first, last in ranges) > PORTS:
        return frozenset()
    return frozenset(port for first, last in ranges for port in range(first, last + 1))


def _bucket(entries):
    """Return what `_lists_of` takes: a list of entries, or a _ByClient where that is quicker than to ask each."""
    return entries if len(entries) <= FEW else _ByClient(entries)


def _lists_of(buckets, question):
    found = []
    for bucket in buckets:
        if isinstance(bucket, _ByClient):
            found.extend(bucket.lists(question))
        else:
            found.append(bucket)
    return found


def _files(ruled):
    """Return the names of the files that Rules come from, in their order."""
    names = collections.OrderedDict((rule.source.rpartition(':')[0], None) for rule in ruled)
    return list(names)


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
