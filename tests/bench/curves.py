"""Measure how the cost grows: the same work, while there is more and more of something else."""
from __future__ import absolute_import, division, print_function

import collections
import time

import measure
import scenes
from load import FIELDS
from program import Failed

# `points`: the amounts; `run`: a function of (Bench, point) that returns {figure: value}; `figures`: [(name, unit)], the
# first one is compared; `start`: a function of a point that returns more arguments for start_geproxy, or None for a curve
# that works with any proxy.
Curve = collections.namedtuple('Curve', 'name points run figures start sentence')

FEWEST = FIELDS.count(b'\r\n') + 2      # fields of the smallest request: also Host and Cookie
MANY = 128                              # clients: enough that they are shared evenly between processes


def _kept(bench, clients=scenes.CLIENTS, more_fields=0):
    return scenes.of_requests(bench, lambda seconds: scenes.wrk(bench, clients, seconds, more_fields=more_fields))


def open_connections(bench, count):
    """Measure requests while `count` other connections are open and idle."""
    with scenes.Holder(bench, 'idle-clients', count):
        return _kept(bench)


def idle_tunnels(bench, count):
    """Measure what `count` idle tunnels cost in a second."""
    with scenes.Holder(bench, 'idle-tunnels', count):
        time.sleep(1)
        meter, began = measure.Meter(bench.proxy.pids), measure.clock()
        time.sleep(3 * bench.seconds)
        return {'cpu': sum(meter.read()) * 1e3 / (measure.clock() - began)}


def fields(bench, count):
    """Measure requests with `count` fields."""
    return _kept(bench, more_fields=max(0, count - FEWEST))


def rules(count):
    """Return arguments for start_geproxy: an ini file with `count` rules before the one that decides."""
    lines = ['    deny any host-%d.bench.test:80' % number for number in range(count)]
    return {'access': 'rules =\n' + '\n'.join(lines + ['    allow any any'])} if count else {}


def hosts(bench, count):
    """Measure requests to `count` hosts in turn, each with a connection of its own. Raises Failed."""
    if not bench.origin.many_hosts:
        raise Failed('the origin cannot listen on all addresses of lo: this needs Linux 5.7 or root')
    return scenes.of_requests(bench, lambda seconds: scenes.load(bench, 'hosts', count, seconds))


def cores(bench, _processes):
    """Measure requests while several processes share a listener, and how evenly they share the work."""
    _kept(bench, MANY)
    meter = measure.Meter(bench.proxy.pids)
    result = scenes.wrk(bench, MANY, bench.seconds)
    spent = [sum(pair) for pair in meter.each()]
    return {'cpu': sum(spent) * 1e6 / result['done'], 'busiest': 100 * max(spent) / sum(spent)}


_US = [('cpu', 'us')]
CURVES = [Curve(*row) for row in (
    ('open', (10, 100, 1000, 8000), open_connections, _US, None, 'one request, by other connections that are open and idle'),
    ('tunnels', (10, 1000, 8000), idle_tunnels, [('cpu', 'ms/s')], None, 'all idle tunnels together, by their number'),
    ('fields', (10, 40, 100), fields, _US, None, 'one request, by fields in its head'),
    ('rules', (0, 10, 100, 1000, 10000), lambda bench, count: _kept(bench), _US, rules, 'one request, by rules before the one that decides'),
    ('hosts', (1, 10, 100, 1000, 10000), hosts, _US, None, 'one request of one client, by hosts that it asks in turn'),
    ('cores', (1, 2), cores, [('cpu', 'us'), ('busiest', '%')], lambda count: {'processes': count},
     'one request, by processes on one listener'),
)]
