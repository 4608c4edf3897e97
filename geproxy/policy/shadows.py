"""Finds rules that can never decide, because an earlier rule matches all of their requests. Pure; used by --check only.

It reports only what is certain: not a rule that several earlier rules cover together, and not one that is covered today
only.
"""
from __future__ import absolute_import, division, print_function

from geproxy.net.address import IP
from geproxy.policy import rules
from geproxy.policy.ruleset import Ruleset

MOST_COMPARISONS = 300000   # of two rules: they take about a second; after that nothing more is reported
EVERY_PORT = ((1, 65535),)  # the ports of a rule that names none
_UNKNOWN = b'\x00'          # a user, a group or a host that no rule can name


def find(in_order):
    """Return a warning for each rule that can never decide, as a list of texts that name both rules.

    `in_order`: an iterable of Rules. Takes a second at most, even for thousands of rules that are alike.
    """
    ruleset = Ruleset(in_order)
    return ['%s can never decide, because %s all of its requests: %s' % (
        rules.show(rule), 'an earlier rule matches' if len(earlier) == 1 else 'earlier rules match',
        ' and '.join(rules.show(each) for each in earlier))
            for rule, earlier in _covered(ruleset.rules, lambda *asked: _covering(ruleset, *asked))]


def _covered(items, covering):
    """Return those rules or rows that earlier ones cover, as a list of (item, earlier items).

    `items`: Rules or routes.Rows, in their order; `covering`: a function of (order, item, where, how many comparisons
    are left) that returns (the first earlier item that covers this one at `where`, or None; comparisons made).
    """
    found, left = [], MOST_COMPARISONS
    for order, item in enumerate(items):
        earlier = []
        for where in item.wheres:
            covers, compared = covering(order, item, where, left)
            left -= compared
            if left <= 0:
                return found
            if covers is None:
                break
            if covers not in earlier:
                earlier.append(covers)
        else:
            found.append((item, earlier))
    return found


def _covering(ruleset, order, rule, where, left):
    """Return (the first rule before `order` that covers `rule` at `where`, or None; the number of rules compared).

    `left`: how many rules may be compared.
    """
    # A rule that covers another one matches each request of that one. So it is enough to compare the rules that match
    # one of these requests.
    if where.names is not None and not where.names:
        return None, 1                  # a list of names that is empty today
    question, carried = _example(rule, where)
    found, compared = None, 0
    for entries in ruleset.candidates(question, carried):
        for entry in entries:
            if entry.order[0] >= (order if found is None else found[0]):
                break                   # entries are in order
            compared += 1
            if compared > left:
                return None, compared
            if _covers(entry.rule, entry.where, rule, where):
                found = entry.order[0], entry.rule
                break
    return found and found[1], compared


def _example(rule, where):
    """Return (a Question that `rule` matches by `where`, the IPs of its address, or None)."""
    who, client, user, groups = rule.who, IP(4, 0), None, frozenset()
    if who.networks:
        client = IP(who.networks[0].version, who.networks[0].value << who.networks[0].shift)
    elif who.users:
        user = next(iter(who.users))
        user = _UNKNOWN if user == rules.ANYBODY else user
    else:
        user, groups = _UNKNOWN, frozenset(list(who.groups)[:1])
    host, carried = _UNKNOWN, None
    if where.names:
        host = next(iter(where.names))
        host = _UNKNOWN + host[1:] if host[:2] == b'*.' else host.lstrip(b'.')
    elif where.networks:
        carried = [IP(where.networks[0].version, where.networks[0].value << where.networks[0].shift)]
    return rules.Question(client, user, groups, b'GET', host, 80), carried


def _covers(earlier, its_where, rule, where):
    """Return True if `earlier`, by its Where `its_where`, matches all that `rule` matches by `where`, now and later."""
    return (_covers_options(earlier, rule) and _covers_methods(earlier, rule) and _covers_who(earlier.who, rule.who) and
            (its_where.tunnel is None or its_where.tunnel == where.tunnel) and
            _covers_ports(its_where.ports, where.ports) and
            _covers_hosts(earlier.allows, its_where, rule.allows, where))


def _covers_options(earlier, rule):
    if not earlier.allows and earlier.options.until is not None:
        return False                    # a deny rule that has ended is skipped; an allow rule that has ended refuses
    always = earlier.options.hours is None and earlier.options.days == rules.ALL_DAYS
    return always or (earlier.options.hours, earlier.options.days) == (rule.options.hours, rule.options.days)


def _covers_methods(earlier, rule):
    # A deny rule matches a method in upper and lower case, an allow rule only as it is written.
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
    # A deny rule matches if it holds one of the addresses inside another one, an allow rule if it holds all: see
    # ruleset.
    return bool(where.networks) and (allows or not earlier_allows) and all(
        _covers_network(earlier.networks, network) for network in where.networks)


def _covers_name(names, name):
    """Return True if `names` hold a name that means all hosts of `name`, which is one of rules.host_keys."""
    if name[:1] not in (b'.', b'*'):
        return not names.isdisjoint(rules.host_keys(name))
    keys = rules.host_keys(name.lstrip(b'*.'))[1:]          # all but the host alone
    return name in names or not names.isdisjoint(keys)


# --- rows of [upstream] routes

def find_rows(rows):
    """Return a warning for each row of routes that can never be used, as a list of texts that name all rows.

    `rows`: routes.Rows, in their order. Takes about a second at most, as `find` does.
    """
    def covering(order, _row, where, left):
        return _covering_row(rows[:order], where, left)
    return ['%s can never be used, because %s all of its requests: %s' % (
        _show_row(row), 'an earlier row takes' if len(earlier) == 1 else 'earlier rows take',
        ' and '.join(_show_row(each) for each in earlier)) for row, earlier in _covered(rows, covering)]


def _covering_row(rows, where, left):
    """Return (the first of `rows` that covers `where`, or None; how many names and destinations were compared)."""
    compared = 0
    for row in rows:
        for its_where in row.wheres:
            compared += 1 if where.names is None else max(1, len(where.names))
            if compared > left:
                return None, compared
            if ((its_where.tunnel is None or its_where.tunnel == where.tunnel) and
                    _covers_ports(its_where.ports, where.ports) and _covers_hosts(True, its_where, True, where)):
                return row, compared
    return None, compared


def _show_row(row):
    return '%s: %s' % (row.source, row.text)
