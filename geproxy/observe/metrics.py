"""Counters of what went through, and how Prometheus reads them: the table COUNTERS, with advice for the operator.

Counting is a few integer additions per exchange; whatever must be formatted, summed or asked for waits until somebody
reads. No label has more values than a table or a limit allows, whatever clients send. No I/O.
"""
from __future__ import absolute_import, division, print_function

import bisect
import collections

from geproxy.compat import to_native

METHODS = frozenset((b'GET', b'HEAD', b'POST', b'PUT', b'DELETE', b'PATCH', b'OPTIONS', b'TRACE', b'CONNECT'))
OTHER, OTHER_METHOD, OTHER_STATUS = 'other', b'other', -1
MOST_SERIES = 1000          # of one counter; more, and they are counted as other
# Seconds: the upper bounds of the histograms' buckets. One set for all, so that they can be laid over each other.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DENIED = 403
LOGINS = ('login_failed', 'login_throttled', 'login_timeout')       # reasons

Counter = collections.namedtuple('Counter', 'name kind labels sentence')

# (name, Prometheus type, names of labels, what it is and what to do about it).
COUNTERS = [Counter(*row) for row in (
    ('geproxy_build_info', 'gauge', ('version', 'python', 'gevent'),
     'Which geproxy on what; always 1. After a roll, all processes should agree.'),
    ('process_start_time_seconds', 'gauge', (),
     'When the process started, since the epoch. Changes nobody asked for are crashes: see the error log.'),
    ('process_cpu_seconds_total', 'counter', (),
     'Processor time, user and system. A rate near 1 is a full core: run more processes (fd:0).'),
    ('process_resident_memory_bytes', 'gauge', (),
     'Memory. About 20 KiB per open connection are normal; growth without connections is not, please report it.'),
    ('process_open_fds', 'gauge', (),
     'File descriptors in use. Near process_max_fds, clients get 503: raise ulimit -n.'),
    ('process_max_fds', 'gauge', (), 'File descriptors allowed (ulimit -n).'),
    ('geproxy_connections', 'gauge', ('listener',), 'Connections of clients now, idle ones and tunnels included.'),
    ('geproxy_connections_limit', 'gauge', (),
     'How many connections there may be at once ([limits] connections). Alert at nine tenths of it.'),
    ('geproxy_connections_total', 'counter', (),
     'Connections accepted. Far fewer requests than that: clients do not keep theirs.'),
    ('geproxy_connections_rejected_total', 'counter', (),
     'Connections turned away at once: no room, too many of one client, a PROXY header that was wrong. '
     'geproxy_errors_total says which; of a flood only the first hundred at a time are told and logged. Strangers are '
     'among them.'),
    ('geproxy_strangers_total', 'counter', ('section', 'answer'),
     'Connections of peers that are not among the clients of that section, by what they got. told: the reason; left: '
     'nothing, as they left within a second; dropped: nothing, as there were too many. The error log names them.'),
    ('geproxy_phase_connections', 'gauge', ('phase',),
     'The same connections, by what each is doing now. Many in dns: name servers; in connect: the way out; waiting: '
     'slow origins; head: clients that trickle. geproxy ps shows them.'),
    ('geproxy_draining', 'gauge', (), '1 once the process was told to stop: it serves to the end what it has.'),
    ('geproxy_reloads_total', 'counter', ('result',), 'Reloads, by whether the ini file was taken or refused.'),
    ('geproxy_config_last_reload_successful', 'gauge', (),
     '0 if the last reload was refused: then the older file holds until the next start, which will fail. geproxy '
     '--check FILE says why.'),
    ('geproxy_requests_total', 'counter', ('method', 'code'),
     'Exchanges that have ended, tunnels included; code 000: the client got none. 5xx are origins or limits: see '
     'geproxy_errors_total.'),
    ('geproxy_tunnels', 'gauge', (), 'Tunnels open now (CONNECT, upgraded connections).'),
    ('geproxy_tunnels_total', 'counter', (), 'Tunnels opened.'),
    ('geproxy_bytes_total', 'counter', ('side', 'direction'),
     'Octets from (in) and to (out) clients and origins, heads and what is on its way included. Far more from origins '
     'than to clients: clients leave before the end.'),
    ('geproxy_request_duration_seconds', 'histogram', (),
     'From the first octet of a request to the last of its response, tunnels left out. Slow ones: geproxy tail '
     'slow:>2s says which.'),
    ('geproxy_response_start_seconds', 'histogram', (),
     'From the first octet of a request to the first of its response, where there was an origin. High, while connect '
     'and dns are low: the origins are slow.'),
    ('geproxy_connect_duration_seconds', 'histogram', (),
     'To connect to an origin, where no kept connection served. High: the way out, or the origins, are slow.'),
    ('geproxy_dns_duration_seconds', 'histogram', (),
     'For the addresses of a name before a new connection, cached ones included. High: look at the name servers.'),
    ('geproxy_kept_requests_total', 'counter', (),
     'Requests served by a kept connection to the origin, which saves a connect. Few: raise [upstream] keep or '
     'keep_time.'),
    ('geproxy_errors_total', 'counter', ('reason',),
     'Exchanges that failed, by the reason in the log; the README has what to do about each.'),
    ('geproxy_auth_failures_total', 'counter', ('reason',),
     'Log-ins refused: wrong (login_failed), too many from an address that guesses (login_throttled), or not verified '
     'in time (login_timeout). Hundreds of the first two: somebody guesses, and the error log says from where.'),
    ('geproxy_denied_total', 'counter', ('rule',),
     'Exchanges refused by policy, by the line of the rule; rule="-": by clients, ports or addresses. geproxy why URL '
     'explains one.'),
    ('geproxy_pool_connections', 'gauge', (),
     'Connections to origins now, tunnels and kept ones included. Each takes a file descriptor.'),
    ('geproxy_pool_idle_connections', 'gauge', (),
     'Kept connections to origins that wait for a request, those that are logged in for one client included.'),
    ('geproxy_memory_held_bytes', 'gauge', (),
     'Octets that connections hold: large heads, and data that slow peers have not taken yet. Near '
     'geproxy_memory_limit_bytes: look for clients that do this on purpose, or raise [limits] memory.'),
    ('geproxy_memory_limit_bytes', 'gauge', (), 'What they may hold in all: [limits] memory.'),
    ('geproxy_memory_refused_total', 'counter', (), 'Heads that were refused since that limit was reached.'),
    ('geproxy_dns_lookups_total', 'counter', (),
     'Names that the system was asked for. Nearly as many as geproxy_dns_duration_seconds_count: raise [upstream] '
     'dns_keep.'),
    ('geproxy_dns_cached_names', 'gauge', (), 'Names whose addresses are known.'),
    ('geproxy_dns_pending', 'gauge', (),
     'Names that are looked up, or wait for their turn. Dozens that stay: the name servers do not answer.'),
    ('geproxy_hub_lag_seconds', 'gauge', (),
     'The longest that everybody had to wait for something else in this process, within the last minute or so. Above '
     '0.1: too much for one core, or something blocks.'),
    ('geproxy_hub_blocked_total', 'counter', (),
     'How often nothing was served for over a second. The error log says where it stood: please report it.'),
    ('geproxy_task_failures_total', 'counter', ('task',),
     'How often a task that must always run (housekeeping, logs, quotas) failed and was started again. The error log '
     'has the traceback: please report it.'),
    ('geproxy_log_dropped_total', 'counter', (),
     'Lines that no log got: a disk is full, or nobody reads standard output.'),
)]
BY_NAME = dict((counter.name, counter) for counter in COUNTERS)


class Histogram(object):
    """How often what lasted how long."""
    __slots__ = ('counts', 'seconds')

    def __init__(self):
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds):
        """It lasted that long, once."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Metrics(object):
    """What has been counted since the process began. Stands among the observers of records."""

    def __init__(self):
        self._requests = {}             # {(octets of the method, status): how many}
        self._errors, self._denied = {}, {}
        self._received = self._sent = self._kept = self._tunnels = 0
        self._durations, self._starts, self._connects, self._look_ups = [Histogram() for _ in range(4)]

    def ended(self, record):
        """Count an exchange that has ended. `record`: its Record."""
        method = record.request.method
        try:
            self._requests[method, record.status] += 1
        except KeyError:
            self._count_first(method, record.status)
        self._received += record.received
        self._sent += record.sent
        if not record.tunnel:
            self._durations.add(record.seconds)
            if record.first is not None:
                self._starts.add(record.first)
        if record.kept:
            self._kept += 1
        elif record.took[1] is not None:
            self._look_ups.add(record.took[0])
            self._connects.add(record.took[1])
        if record.reason:
            _count(self._errors, record.reason)
            if record.status == DENIED:
                _count(self._denied, record.rule or '-')

    def opened(self, _record):
        """Count a tunnel that has opened."""
        self._tunnels += 1

    def _count_first(self, method, status):
        """The first of its kind, or one of those that have no series of their own."""
        _count(self._requests, (method if method in METHODS else OTHER_METHOD, status), (OTHER_METHOD, OTHER_STATUS))

    def values(self, received, sent, fetched, brought):
        """What was counted, as {name: value, {labels: value} or Histogram}. `received`, `sent`: octets of what is
        going on with clients, which is not counted yet; `fetched`, `brought`: all from and to origins."""
        requests = dict(((to_native(method), OTHER if status == OTHER_STATUS else '%03d' % status), count)
                        for (method, status), count in self._requests.items())
        return {
            'geproxy_requests_total': requests,
            'geproxy_tunnels_total': self._tunnels,
            'geproxy_bytes_total': {('client', 'in'): self._received + received,
                                    ('client', 'out'): self._sent + sent,
                                    ('origin', 'in'): fetched, ('origin', 'out'): brought},
            'geproxy_request_duration_seconds': self._durations,
            'geproxy_response_start_seconds': self._starts,
            'geproxy_connect_duration_seconds': self._connects,
            'geproxy_dns_duration_seconds': self._look_ups,
            'geproxy_kept_requests_total': self._kept,
            'geproxy_errors_total': dict(((reason,), count) for reason, count in self._errors.items()),
            'geproxy_auth_failures_total': dict(((reason,), self._errors.get(reason, 0)) for reason in LOGINS),
            'geproxy_denied_total': dict(((rule,), count) for rule, count in self._denied.items()),
        }


def _count(counts, key, other=OTHER):
    """One more of `key`, or of `other`, if there are too many keys already."""
    if key not in counts and len(counts) >= MOST_SERIES:
        key = other
    counts[key] = counts.get(key, 0) + 1


# --- how it reads

def exposition(values):
    """{name: value, {labels: value} or Histogram} -> Prometheus' text format 0.0.4, native text, in the order of
    COUNTERS. What there is no value of is left out."""
    lines = []
    for counter in COUNTERS:
        value = values.get(counter.name)
        if value is not None:
            lines += ['# HELP %s %s' % (counter.name, counter.sentence), '# TYPE %s %s' % (counter.name, counter.kind)]
            lines += samples(counter, value)
    return '\n'.join(lines) + '\n'


def samples(counter, value):
    """The lines of one Counter that has that value."""
    if isinstance(value, Histogram):
        return _buckets(counter.name, value)
    if not isinstance(value, dict):
        return ['%s %s' % (counter.name, _number(value))]
    return ['%s{%s} %s' % (counter.name, _labels(zip(counter.labels, labels)), _number(value[labels]))
            for labels in sorted(value)]


def _buckets(name, histogram):
    lines, below = [], 0
    for bound, count in zip([_number(bound) for bound in BOUNDS] + ['+Inf'], histogram.counts):
        below += count
        lines.append('%s_bucket{le="%s"} %d' % (name, bound, below))
    return lines + ['%s_sum %s' % (name, _number(histogram.seconds)), '%s_count %d' % (name, below)]


def _labels(pairs):
    escaped = [(name, value.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')) for name, value in pairs]
    return ','.join('%s="%s"' % pair for pair in escaped)


def _number(value):
    return repr(value) if isinstance(value, float) else '%d' % value
