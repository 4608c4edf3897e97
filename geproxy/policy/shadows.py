"""Rules that can never decide, as an earlier one fits whatever they fit. Pure; for --check, never for requests.

Nothing is said that is not so: what several earlier rules cover only together, or only today, is not told.
"""
from __future__ import absolute_import, division, print_function

from geproxy.net.address import IP
from geproxy.policy import rules
from geproxy.policy.ruleset import Ruleset

MOST_LOOKS = 300000         # comparisons of two rules: about a second; after that nothing more is told
EVERY_PORT = ((1, 65535),)  # of a rule that names none
_NOBODY = b'\x00'           # a user, a group and a host that no rule can name


def find(ruled):
    """Return what is to be said of Rules that can never decide, as texts, with the places of both.

    `ruled`: Rules in their order. Takes a second at most, for thousands of rules that are much alike."""
    ruleset, said, looks = Ruleset(ruled), [], MOST_LOOKS
    for order, rule in enumerate(ruleset.rules):
        earlier = []
        for where in rule.wheres:
            covering, looked = _covering(ruleset, order, rule, where, looks)
            looks -= looked
            if looks <= 0:
                return said
            if covering is None:
                break
            if covering not in earlier:
                earlier.append(covering)
        else:
            said.append('%s can never decide: %s comes before it, and fits all that it fits' % (
                rules.show(rule), ' with '.join(rules.show(each) for each in earlier)))
    return said


def _covering(ruleset, order, rule, where, looks):
    """Return (the first rule before that `order` that covers `rule` at `where`, or None; how many were looked at)."""
    # A rule that covers another fits each question that the other fits: only those are looked at that may fit this one.
    if where.names is not None and not where.names:
        return None, 1                  # a list that is empty today
    question, carried = _witness(rule, where)
    found, looked = None, 0
    for entries in ruleset.candidates(question, carried):
        for entry in entries:
            if entry.order[0] >= (order if found is None else found[0]):
                break                   # entries are in order
            looked += 1
            if looked > looks:
                return None, looked
            if _covers(entry.rule, entry.where, rule, where):
                found = entry.order[0], entry.rule
                break
    return found and found[1], looked


def _witness(rule, where):
    """Return a question that `rule` fits by `where`, and the IPs of its address, or None."""
    who, client, user, groups = rule.who, IP(4, 0), None, frozenset()
    if who.networks:
        client = IP(who.networks[0].version, who.networks[0].value << who.networks[0].shift)
    elif who.users:
        user = next(iter(who.users))
        user = _NOBODY if user == rules.ANYBODY else user
    else:
        user, groups = _NOBODY, frozenset(list(who.groups)[:1])
    host, carried = _NOBODY, None
    if where.names:
        host = next(iter(where.names))
        host = _NOBODY + host[1:] if host[:2] == b'*.' else host.lstrip(b'.')
    elif where.networks:
        carried = [IP(where.networks[0].version, where.networks[0].value << where.networks[0].shift)]
    return rules.Question(client, user, groups, b'GET', host, 80), carried


def _covers(earlier, its_where, rule, where):
    """Return True if `earlier`, by one of its Wheres, fits all that `rule` fits by `where`, now and later."""
    return (_covers_options(earlier, rule) and _covers_methods(earlier, rule) and _covers_who(earlier.who, rule.who) and
            (its_where.tunnel is None or its_where.tunnel == where.tunnel) and
            _covers_ports(its_where.ports, where.ports) and
            _covers_hosts(earlier.allows, its_where, rule.allows, where))


def _covers_options(earlier, rule):
    if not earlier.allows and earlier.options.until is not None:
        return False                    # one day it is over; an allow refuses then
    always = earlier.options.hours is None and earlier.options.days == rules.ALL_DAYS
    return always or (earlier.options.hours, earlier.options.days) == (rule.options.hours, rule.options.days)


def _covers_methods(earlier, rule):
    # What is denied is denied in any case of its letters, what is allowed is not.
    return earlier.methods is None or rule.methods is not None and rule.methods <= earlier.methods and (
        rule.allows or not earlier.allows)


def _covers_who(earlier, who):
    if earlier is rules.EVERYBODY:
        return True
    if rules.ANYBODY not in earlier.users and not (who.users <= earlier.users and who.groups <= earlier.groups):
        return False
    return all(_covers_network(earlier.networks, network) for network in who.networks)


def _covers_network(networks, inner):
    return any(outer.version == inner.version and outer.shift >= inner.shift and
               inner.value >> outer.shift - inner.shift == outer.value for outer in networks)


def _covers_ports(earlier, ports):
    if earlier is None:
        return True
    return all(any(first <= low and high <= last for first, last in earlier.ranges)
               for low, high in (EVERY_PORT if ports is None else ports.ranges))


def _covers_hosts(earlier_allows, earlier, allows, where):
    if earlier.names is None and not earlier.networks:
        return True
    if earlier.names is not None:
        return where.names is not None and (
            earlier.names is where.names or all(_covers_name(earlier.names, name) for name in where.names))
    # To deny, one of the addresses in a wrapped one is enough; to allow, it takes all: see ruleset.
    return bool(where.networks) and (allows or not earlier_allows) and all(
        _covers_network(earlier.networks, network) for network in where.networks)


def _covers_name(names, name):
    """True if all that `name`, one of rules.host_keys, means is meant by one of `names`."""
    if name[:1] not in (b'.', b'*'):
        return not names.isdisjoint(rules.host_keys(name))
    keys = rules.host_keys(name.lstrip(b'*.'))[1:]          # all but the host alone
    return name in names or not names.isdisjoint(keys)
