"""How the cost grows: the same work, with more and more of something around it."""
from __future__ import absolute_import, division, print_function

import collections
import time

import measure
import scenes
from load import FIELDS
from program import Failed

# points: how much of it; run: a function of (Bench, point) -> {figure: value}, of which the first of `figures`, pairs of
# (name, unit), is compared; start: a function of a point -> more arguments for start_geproxy, None if any proxy will do.
Curve = collections.namedtuple('Curve', 'name points run figures start sentence')

FEWEST = FIELDS.count(b'\r\n') + 2      # fields of a request that has no more than it must: also Host and Cookie
MANY = 128                              # clients, so that it is no accident which process has more of them


def _kept(bench, clients=scenes.CLIENTS, more_fields=0):
    return scenes.of_requests(bench, lambda seconds: scenes.wrk(bench, clients, seconds, more_fields=more_fields))


def open_connections(bench, count):
    """Requests, while many other connections are open and idle."""
    with scenes.Holder(bench, 'idle-clients', count):
        return _kept(bench)


def idle_tunnels(bench, count):
    """What idleness costs, per second."""
    with scenes.Holder(bench, 'idle-tunnels', count):
        time.sleep(1)
        meter, began = measure.Meter(bench.proxy.pids), measure.clock()
        time.sleep(3 * bench.seconds)
        return {'cpu': sum(meter.read()) * 1e3 / (measure.clock() - began)}


def fields(bench, count):
    """Requests with so many fields."""
    return _kept(bench, more_fields=max(0, count - FEWEST))


def rules(count):
    """Arguments for a geproxy with so many rules before the one that decides.

    As DESIGN, 4 sketches them: `allow|deny SOURCE DESTINATION[:PORTS]`. A geproxy without them says so.
    """
    lines = ['    deny any host-%d.bench.test:80' % number for number in range(count)]
    return {'access': 'rules =\n' + '\n'.join(lines + ['    allow any any'])} if count else {}


def hosts(bench, count):
    """Requests to so many hosts in turn, each with its own connection."""
    if not bench.origin.many_hosts:
        raise Failed('the origin could not be bound to all of lo (that takes Linux 5.7, or root)')
    return scenes.of_requests(bench, lambda seconds: scenes.load(bench, 'hosts', count, seconds))


def cores(bench, _processes):
    """Requests, with so many processes on one listener, and how evenly they share the work."""
    _kept(bench, MANY)
    meter = measure.Meter(bench.proxy.pids)
    result = scenes.wrk(bench, MANY, bench.seconds)
    spent = [sum(pair) for pair in meter.each()]
    return {'cpu': sum(spent) * 1e6 / result['done'], 'busiest': 100 * max(spent) / sum(spent)}


_US = [('cpu', 'us')]
CURVES = [Curve(*row) for row in (
    ('open', (10, 100, 1000, 8000), open_connections, _US, None, 'request, other connections open and idle'),
    ('tunnels', (10, 1000, 8000), idle_tunnels, [('cpu', 'ms/s')], None, 'idle tunnels, all of them'),
    ('fields', (10, 40, 100), fields, _US, None, 'request, fields in its head'),
    ('rules', (0, 10, 100, 1000, 10000), lambda bench, count: _kept(bench), _US, rules, 'request, rules'),
    ('hosts', (1, 10, 100, 1000, 10000), hosts, _US, None, 'request by one client, hosts in turn'),
    ('cores', (1, 2), cores, [('cpu', 'us'), ('busiest', '%')], lambda count: {'processes': count},
     'request, processes on one listener'),
)]
