"""Counts exchanges, and shows the counts in Prometheus' text format: the table COUNTERS, with advice for the operator.

Counting is a few integer additions for each exchange. Sums and text are made only when the metrics are read. A table or
a limit bounds the number of values of each label, so clients cannot add more. No I/O.
"""
from __future__ import absolute_import, division, print_function

import bisect
import collections

from geproxy.compat import to_native

METHODS = frozenset((b'GET', b'HEAD', b'POST', b'PUT', b'DELETE', b'PATCH', b'OPTIONS', b'TRACE', b'CONNECT'))
OTHER, OTHER_METHOD, OTHER_STATUS = 'other', b'other', -1
MOST_SERIES = 1000          # of one counter; the rest is counted as other
# Seconds: the upper bounds of the histograms' buckets. One set for all, so that they can be laid over each other.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DENIED = 403
LOGINS = ('login_failed', 'login_throttled', 'login_timeout')       # reasons

Counter = collections.namedtuple('Counter', 'name kind labels sentence')

# (name, Prometheus type, names of the labels, what it counts and what to do about it).
COUNTERS = [Counter(*row) for row in (
    ('geproxy_build_info', 'gauge', ('version', 'python', 'gevent'),
     'Versions of geproxy, Python and gevent; always 1. After a restart of all processes they should be the same.'),
    ('process_start_time_seconds', 'gauge', (),
     'When the process started, in seconds since the epoch. If it changes without a restart by you, the process has '
     'crashed: see the error log.'),
    ('process_cpu_seconds_total', 'counter', (),
     'Processor time, user and system. A rate near 1 is a full core: run more processes (fd:0).'),
    ('process_resident_memory_bytes', 'gauge', (),
     'Memory in use. About 20 KiB for each open connection is normal. If it grows without connections, please report '
     'it.'),
    ('process_open_fds', 'gauge', (),
     'File descriptors in use. Near process_max_fds, clients get 503: raise ulimit -n.'),
    ('process_max_fds', 'gauge', (), 'File descriptors allowed (ulimit -n).'),
    ('geproxy_connections', 'gauge', ('listener',), 'Connections of clients now, idle ones and tunnels included.'),
    ('geproxy_connections_limit', 'gauge', (),
     'How many connections there may be at once ([limits] connections). Alert at nine tenths of it.'),
    ('geproxy_connections_total', 'counter', (),
     'Connections accepted. If there are not more requests than that, clients do not reuse their connections.'),
    ('geproxy_connections_rejected_total', 'counter', (),
     'Connections refused at once: no room, too many of one client, a wrong PROXY header, or a stranger. '
     'geproxy_errors_total has the reasons; in a flood, only the first hundred at a time get an answer and a log '
     'line.'),
    ('geproxy_strangers_total', 'counter', ('section', 'answer'),
     'Connections of peers that are not among the clients of that section, by the answer. told: they got the reason; '
     'left: they closed the connection before; dropped: closed without an answer, as there were too many. The error '
     'log names them.'),
    ('geproxy_tls_handshakes_total', 'counter', ('result',),
     'TLS handshakes of clients that have ended, by result. done: TLS is spoken; failed: the client sent something '
     'wrong or closed the connection, and the error log says what; late: not complete within [timeouts] handshake; '
     'refused: too many of that client ([limits] requests).'),
    ('geproxy_phase_connections', 'gauge', ('phase',),
     'Connections of clients now, by what each is doing. Many in dns: the name servers are slow; in connect: the '
     'network or the origins; in waiting: the origins; in head or handshake: clients send slowly. geproxy ps shows '
     'them.'),
    ('geproxy_draining', 'gauge', (),
     '1 after the process was told to stop: it accepts no more, and lets running exchanges end.'),
    ('geproxy_reloads_total', 'counter', ('result',),
     'Reloads, by result. done: the new settings are in use; refused: the ini file has mistakes, the old ones stay.'),
    ('geproxy_config_last_reload_successful', 'gauge', (),
     '0 if the last reload was refused: the old settings stay in use until the next start, which will fail. geproxy '
     '--check FILE says why.'),
    ('geproxy_certificate_expiration_timestamp_seconds', 'gauge', ('path',),
     'When the certificates in use expire, in seconds since the epoch; for a file of authorities, the first of them. '
     'Alert if less than 14 days are left: geproxy_certificate_expiration_timestamp_seconds - time() < 14 * 86400.'),
    ('geproxy_certificates_last_read_successful', 'gauge', (),
     '0 if files of [tls] have changed and cannot be used: the old certificates stay. The error log says why.'),
    ('geproxy_requests_total', 'counter', ('method', 'code'),
     'Exchanges that have ended, tunnels included. Code 000: the client got no response. 5xx: an origin failed, or a '
     'limit was reached; see geproxy_errors_total.'),
    ('geproxy_tunnels', 'gauge', (), 'Tunnels open now (CONNECT, upgraded connections).'),
    ('geproxy_tunnels_total', 'counter', (), 'Tunnels opened.'),
    ('geproxy_bytes_total', 'counter', ('side', 'direction'),
     'Octets from (in) and to (out) clients and origins, with heads, and with exchanges that are not over yet. Far '
     'more from origins than to clients: clients close before the end.'),
    ('geproxy_request_duration_seconds', 'histogram', (),
     'Time from the first octet of a request to the last octet of its response, without tunnels. geproxy tail '
     'slow:>2s shows the slow ones.'),
    ('geproxy_response_start_seconds', 'histogram', (),
     'Time from the first octet of a request to the first octet of the response of an origin. High, while connect and '
     'dns are low: the origins are slow.'),
    ('geproxy_connect_duration_seconds', 'histogram', (),
     'Time to connect to an origin, where no kept connection was used. High: the network or the origins are slow.'),
    ('geproxy_dns_duration_seconds', 'histogram', (),
     'Time to look up a name before a new connection, cached names included. High: check the name servers.'),
    ('geproxy_kept_requests_total', 'counter', (),
     'Requests that used a kept connection to the origin, which saves the time to connect. Few: raise [upstream] keep '
     'or keep_time.'),
    ('geproxy_errors_total', 'counter', ('reason',),
     'Exchanges that failed, by the reason in the log. The list of failures in the manual says what to do about each.'),
    ('geproxy_auth_failures_total', 'counter', ('reason',),
     'Log-ins refused: wrong name or password (login_failed), too many wrong ones from an address (login_throttled), '
     'or not verified in time (login_timeout). Hundreds of the first two: somebody guesses passwords; the error log '
     'has the addresses.'),
    ('geproxy_denied_total', 'counter', ('rule',),
     'Exchanges refused by policy, by the line of the rule. rule="-": by clients, ports or addresses. geproxy why URL '
     'explains a decision.'),
    ('geproxy_parent_up', 'gauge', ('parent',),
     '0 while a parent of [upstream] routes is left out, because it could not be used; else 1. geproxy status and the '
     'error log say why.'),
    ('geproxy_parent_failures_total', 'counter', ('parent',),
     'How often a parent could not be used: it could not be reached, was silent, or did not speak its protocol. '
     'geproxy_errors_total counts what it refuses.'),
    ('geproxy_pool_connections', 'gauge', (),
     'Connections to origins now, tunnels and kept ones included. Each takes a file descriptor.'),
    ('geproxy_pool_idle_connections', 'gauge', (),
     'Kept connections to origins that wait for the next request, with those that are logged in for one client.'),
    ('geproxy_memory_held_bytes', 'gauge', (),
     'Memory for large heads, and for data that slow peers have not read yet. Near geproxy_memory_limit_bytes: look '
     'for clients that do this on purpose, or raise [limits] memory.'),
    ('geproxy_memory_limit_bytes', 'gauge', (),
     'Most memory for large heads and unread data of all connections: [limits] memory.'),
    ('geproxy_memory_refused_total', 'counter', (),
     'Heads that were refused because the limit [limits] memory was reached.'),
    ('geproxy_dns_lookups_total', 'counter', (),
     'Names that the system was asked to look up. Nearly as many as geproxy_dns_duration_seconds_count: raise '
     '[upstream] dns_keep.'),
    ('geproxy_dns_cached_names', 'gauge', (), 'Names in the cache.'),
    ('geproxy_dns_pending', 'gauge', (),
     'Names that are being looked up, or wait for their turn. Dozens for a long time: the name servers do not answer.'),
    ('geproxy_hub_lag_seconds', 'gauge', (),
     'Longest delay of the event loop within the last minute or two. Above 0.1: too much work for one core, or '
     'something blocks it.'),
    ('geproxy_hub_blocked_total', 'counter', (),
     'How often the event loop was blocked for over a second, so that no client was served. The error log says in '
     'which line: please report it.'),
    ('geproxy_task_failures_total', 'counter', ('task',),
     'How often a task that must always run (housekeeping, logs, quotas, observers) failed and was started again. The '
     'error log has the traceback: please report it.'),
    ('geproxy_log_dropped_total', 'counter', (),
     'Log lines that were dropped: a disk is full, or nobody reads standard output.'),
)]
BY_NAME = dict((counter.name, counter) for counter in COUNTERS)


class Histogram(object):
    """Counts durations in the buckets of BOUNDS. `counts`: for each bucket; `seconds`: the sum of all durations."""
    __slots__ = ('counts', 'seconds')

    def __init__(self):
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds):
        """Count one duration. `seconds`: a float."""
        self.counts[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Metrics(object):
    """An observer that counts exchanges since the process began."""

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
        """Count a tunnel that has opened. `_record`: the Record of its exchange, not used."""
        self._tunnels += 1

    def _count_first(self, method, status):
        """Count a method and status that has no series yet: it gets one, or is counted as other."""
        _count(self._requests, (method if method in METHODS else OTHER_METHOD, status), (OTHER_METHOD, OTHER_STATUS))

    def values(self, received, sent, fetched, brought):
        """Return the counts as {name: value, {labels: value} or Histogram}.

        `received`, `sent`: octets from and to clients in exchanges that have not ended; `fetched`, `brought`: octets
        from and to all origins since the process began.
        """
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
    """Add one to the count of `key`; to that of `other` if there are too many keys already."""
    if key not in counts and len(counts) >= MOST_SERIES:
        key = other
    counts[key] = counts.get(key, 0) + 1


# --- Prometheus' text format

def exposition(values):
    """Return values in Prometheus' text format 0.0.4, as native text, in the order of COUNTERS.

    `values`: as Metrics.values returns them; counters without a value are left out.
    """
    lines = []
    for counter in COUNTERS:
        value = values.get(counter.name)
        if value is not None:
            lines += ['# HELP %s %s' % (counter.name, counter.sentence), '# TYPE %s %s' % (counter.name, counter.kind)]
            lines += samples(counter, value)
    return '\n'.join(lines) + '\n'


def samples(counter, value):
    """Return the lines of one counter. `counter`: a Counter; `value`: a number, {labels: number} or Histogram."""
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
