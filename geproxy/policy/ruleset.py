"""Finds the first rule that matches a request, without comparing all rules. Pure.

A rule about networks can be compared only when the address is known. Before that, the decision may be that it depends
on the address.
"""
from __future__ import absolute_import, division, print_function

import collections
import datetime
import heapq

from geproxy.http1 import grammar
from geproxy.memo import Bounded
from geproxy.net import address
from geproxy.policy import rules

# `allowed`: True, False, or None if it depends on the address; `rule`, `where`: the Rule that decided and its Where, or
# None; `why`: native text, why the request is denied, else ''.
Decision = collections.namedtuple('Decision', 'allowed rule where why')
ALLOWED = Decision(True, None, None, '')
DEPENDS = Decision(None, None, None, '')

REMEMBERED = 10000      # decisions: clients ask the same again and again
METHOD_SIZE = 32        # octets: a decision about a longer method is not remembered, as it would need more memory
FEW = 8                 # entries: so many are compared one by one with the client; more are looked up
PORTS = 16              # ports of a rule: so many are put into a look-up table one by one
WARNING = 14            # days before the end of a rule from which on there is a warning

# A Rule and one of its Wheres. `order`: sorts the entries; no two have the same.
_Entry = collections.namedtuple('_Entry', 'order rule where')


class Ruleset(object):
    """Rules in their order. It never changes: a reload makes another one."""

    def __init__(self, in_order):
        """`in_order`: an iterable of Rules. Without rules, everything is allowed."""
        self.rules = tuple(in_order)
        self._any_host = []             # entries for any host
        self._lists = []                # entries with many names: each has a set of them
        self._by_name = {}              # {one of host_keys: [entry]}
        self._by_network = {}           # {(version, shift): {value: [entry]}}
        self._unresolved = {}           # {kind: entry with networks}: for questions while no address is known
        self._denied = Decision(False, None, None, 'no rule allows it (none of the %d in %s)' % (
            len(self.rules), ', '.join(_files(self.rules))))
        self._remembered = Bounded(REMEMBERED)
        self._timed = any(rule.options.until or rule.options.hours or rule.options.days != rules.ALL_DAYS
                          for rule in self.rules)
        self._minute = 0                # of the decisions that are remembered; always 0 if no rule depends on the time
        for order, rule in enumerate(self.rules):
            for number, where in enumerate(rule.wheres):
                # Within a rule, a Where that names ports comes before a Where that leaves them to the lists of ports.
                self._add(_Entry((order, where.ports is None, number), rule, where))
        self._first_unresolved = _bucket(sorted(self._unresolved.values()))
        self._any_host, self._lists = _bucket(self._any_host), _bucket(self._lists)
        for by_key in [self._by_name] + list(self._by_network.values()):
            by_key.update((key, _bucket(entries)) for key, entries in by_key.items() if len(entries) > FEW)

    def _add(self, entry):
        names, networks = entry.where.names, entry.where.networks
        if names is not None and len(names) == 1:
            self._by_name.setdefault(next(iter(names)), []).append(entry)
        elif names is not None:
            self._lists.append(entry)
        elif networks:
            # While no address is known, an entry that differs from an earlier one only in its networks adds nothing.
            rule = entry.rule
            kind = (rule.allows, rule.who, rule.methods, rule.options, entry.where.tunnel, entry.where.ports)
            self._unresolved.setdefault(kind, entry)
            for network in networks:
                by_value = self._by_network.setdefault((network.version, network.shift), {})
                by_value.setdefault(network.value, []).append(entry)
        else:
            self._any_host.append(entry)

    def decide(self, question, text, now):
        """Return the Decision about a request.

        `question`: a rules.Question; `text`: the address that the proxy is going to connect to, native text, or None if
        it is not known yet; `now`: seconds since the epoch.
        """
        if not self.rules:
            return ALLOWED
        minute = now // 60 if self._timed else 0
        if minute != self._minute:
            self._remembered.clear()
            self._minute = minute
        decision = self._remembered.get((question, text))
        if decision is None:
            carried = None if text is None else address.unwrap(address.unmap(address.parse_ip(text)))
            decision = self._find(question, carried, datetime.datetime.fromtimestamp(now))
            if len(question.method) <= METHOD_SIZE:
                self._remembered.remember((question, text), decision)
        return decision

    def _find(self, question, carried, moment):
        undecided = False               # an earlier rule may deny the request when the address is known
        for entry in heapq.merge(*self.candidates(question, carried)):
            rule, where = entry.rule, entry.where
            if rules.mismatch(rule, where, question, moment):
                continue
            if where.networks and carried is None:
                if rule.allows:
                    return DEPENDS
                undecided = True
                continue
            if where.networks and rule.allows and not _covers(where.networks, carried):
                continue
            decision = _decision(rule, where, moment)
            return DEPENDS if undecided and decision.allowed else decision
        # Denied before the name is looked up: the look-up itself could carry secrets out.
        return self._denied

    def pending(self, question, now):
        """Return the first Rule that matches a request only if its address does, or None.

        `question`, `now`: as for `decide`.
        """
        moment = datetime.datetime.fromtimestamp(now)
        return next((entry.rule for entry in heapq.merge(*self.candidates(question, None))
                     if entry.where.networks and not rules.mismatch(entry.rule, entry.where, question, moment)), None)

    def candidates(self, question, carried):
        """Return the entries that may match a request, as a list of lists, each of which is in order.

        `question`: a rules.Question; `carried`: the IPs of the address (address.unwrap), or None if it is not known. An
        entry may be in several lists.
        """
        keys = rules.host_keys(question.host)
        buckets = [self._any_host]
        buckets.extend(self._by_name[key] for key in keys if key in self._by_name)
        if carried is None:
            buckets.append(self._first_unresolved)
        else:
            for (version, shift), by_value in self._by_network.items():
                buckets.extend(by_value[ip.value >> shift] for ip in carried
                               if ip.version == version and ip.value >> shift in by_value)
        found = _lists_of(buckets, question)
        found.extend([entry] for entries in _lists_of([self._lists], question) for entry in entries
                     if not entry.where.names.isdisjoint(keys))
        return found

    def explain(self, question, text, now):
        """Return the rules up to the one that decides, as a list of (Rule, the part that does not match or '').

        `question`, `text`, `now`: as for `decide`.
        """
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
        """Return warnings for the operator, as a list of texts: rules that end soon or have ended, and unknown users.

        `now`: seconds since the epoch; `users`, `groups`: sets of octets, those that [auth] knows; `users` is None if
        certificates may name any user.
        """
        today = datetime.datetime.fromtimestamp(now).date()
        said = []
        for rule in self.rules:
            days = rule.options.until and (rule.options.until - today).days
            if days is not None and days < WARNING:
                when = 'ended on' if days < 0 else 'ends after'
                said.append('%s %s %s' % (rules.show(rule), when, rule.options.until))
            strange = rule.who.users - users - {rules.ANYBODY} if users is not None else frozenset()
            unknown = strange | (rule.who.groups - groups)
            if unknown:
                said.append('%s names %s: [auth] has no such user or group' % (
                    rules.show(rule), ', '.join(sorted(grammar.printable(name) for name in unknown))))
        return said


class _ByClient(object):
    """Finds, among many entries for the same hosts, those for one client: by its network, user and groups. Entries for
    all clients are found by their ports."""

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
        """Return the entries for the client of a request, as a list of lists, each of which is in order.

        `question`: a rules.Question. An entry may be in several lists.
        """
        found, client = [self._everybody, self._ports.get(question.port, ())], question.client
        for (version, shift), by_value in self._networks.items():
            if version == client.version and client.value >> shift in by_value:
                found.append(by_value[client.value >> shift])
        if question.user is not None:
            found.extend(self._users[user] for user in (question.user, rules.ANYBODY) if user in self._users)
            found.extend(self._groups[group] for group in question.groups if group in self._groups)
        return found


def _ports_of(where):
    """Return the ports of a Where as a frozenset; an empty one if it names no ports, or more than PORTS."""
    ranges = where.ports.ranges if where.ports is not None else ()
    if sum(last - first + 1 for first, last in ranges) > PORTS:
        return frozenset()
    return frozenset(port for first, last in ranges for port in range(first, last + 1))


def _bucket(entries):
    """Return `entries`, a list, or a _ByClient of them if there are many, because that is faster."""
    return entries if len(entries) <= FEW else _ByClient(entries)


def _lists_of(buckets, question):
    found = []
    for bucket in buckets:
        if isinstance(bucket, _ByClient):
            found.extend(bucket.lists(question))
        else:
            found.append(bucket)
    return found


def _files(in_order):
    """Return the names of the files that Rules come from, in their order."""
    names = collections.OrderedDict((rule.source.rpartition(':')[0], None) for rule in in_order)
    return list(names)


def _decision(rule, where, moment):
    if not rule.allows:
        return Decision(False, rule, where, 'denied by %s' % rules.show(rule))
    if rules.expired(rule, moment):
        return Decision(False, rule, where, 'no longer allowed by %s' % rules.show(rule))
    return Decision(True, rule, where, '')


def _covers(networks, carried):
    """Return True if an allow rule for `networks` matches an address: they hold it, or all addresses inside it.

    `carried`: the address and those inside it, as IPs. For a deny rule one of these is enough.
    """
    return address.within(carried[0], networks) is not None or len(carried) > 1 and all(
        address.within(ip, networks) for ip in carried[1:])


def _missed(rule, where, question, carried, moment):
    """Return what rules.mismatch returns, but hosts and addresses are compared, too."""
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
