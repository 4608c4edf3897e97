"""What goes on in this process now: its connections as rows, its figures. Read on demand only; changes nothing.

Handlers keep no view of themselves beyond what they need for their work: the phase follows from that, and since when
nothing has moved the kernel knows.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import platform
import resource
import socket
import struct
import time

import gevent

from geproxy import __version__
from geproxy.admin import watchdog
from geproxy.compat import monotonic
from geproxy.net import memory, supervise
from geproxy.observe import metrics
from geproxy.observe.formats import show, show_url

PHASES = ('head', 'dns', 'connect', 'waiting', 'body', 'tunnel', 'linger', 'idle')
_TCP_INFO = getattr(socket, 'TCP_INFO', None)
_find_times = struct.Struct('=44xI4xI')         # of struct tcp_info: milliseconds since data was sent, received
_started = time.time()
_PAGE = resource.getpagesize()


def phase(handler):
    """Where the story of a connection stands, one of PHASES.

    head: its request is being read, and judged; dns, connect: on the way to the origin; waiting: for the response;
    body: one goes up or down; linger: all is said, and the client has to hang up; idle: the next request may come.
    """
    if handler.waiting:
        return 'linger' if handler.lingers else 'idle'
    if handler.request is None:
        return 'head'
    if handler.reply.begun:
        return 'tunnel' if handler.record.tunnel else 'body'
    if handler.reaching:
        return handler.reaching
    if not handler.record.address:
        return 'head'
    return 'waiting' if handler.body is None or handler.body.done else 'body'


def octets(handler):
    """(received, sent) of the exchange that is going on, (0, 0) if there is none."""
    if handler.waiting or handler.record is None:
        return 0, 0
    client, record = handler.client, handler.record
    return record.received + client.received - len(client.buffer), record.sent + client.sent


def row(handler, query):
    """A connection as an ordered dictionary; its exchange too, if there is one. `query`: as for record.show_url."""
    now, record, busy = monotonic(), handler.record, not handler.waiting and handler.record is not None
    received, sent = octets(handler)
    silent = silence(handler.client.transport)
    return collections.OrderedDict((
        ('id', connection_id(handler)),
        ('phase', phase(handler)),
        ('client', handler.client.peer),
        ('age', round(now - handler.since, 3)),
        ('idle', None if silent is None else round(min(silent, now - handler.since), 3)),     # the kernel rounds
        ('request', record.id if busy else None),
        ('seconds', round(now - record.began, 3) if busy else None),
        ('user', show(record.user) if busy and record.user else None),
        ('method', show(record.method) if busy and record.method else None),
        ('url', show_url(record, query) if busy and record.url else None),
        ('address', record.address or None if busy else None),
        ('rule', record.rule or None if busy else None),
        ('received', received),
        ('sent', sent)))


def silence(sock):
    """Seconds since octets last went either way, as the kernel has it; None where it does not say."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _find_times.size)
        return min(_find_times.unpack(info)) / 1000
    except (socket.error, struct.error, TypeError):
        return None                     # not TCP, not Linux


def connection_id(handler):
    """The name of a connection, among all processes of this host."""
    return '%d-%d' % (os.getpid(), handler.number)


def find(handlers, name):
    """The handler whose connection, or whose exchange, has that id; None if there is none."""
    for handler in handlers:
        if name == connection_id(handler) or (
                handler.record is not None and not handler.waiting and name == handler.record.id):
            return handler
    return None


def phases(handlers):
    """{phase: how many are in it}, in the order of PHASES."""
    counts = collections.Counter(phase(handler) for handler in handlers)
    return collections.OrderedDict((each, counts[each]) for each in PHASES if counts[each])


def state(server):
    """All of a server.Server, for people, as lines: where its connections are, its figures, what its greenlets do."""
    values = figures(server)
    if server.admin is not None:
        values.update(server.admin.counted())
    lines = ['state: %s' % (', '.join('%d %s' % (count, name) for name, count in phases(server.live).items())
                            or 'no connections')]
    for counter in metrics.COUNTERS:
        value = values.get(counter.name)
        if value is not None and counter.kind != 'histogram':
            lines += metrics.samples(counter, value)
    return lines + watchdog.stacks()


# --- figures, by their names in metrics.COUNTERS

def figures(server):
    """What a server.Server looks like now, and what the system says of its process: {name: value}."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return dict(
        _connections(server),
        geproxy_build_info={(__version__, platform.python_version(), gevent.__version__): 1},
        process_start_time_seconds=_started,
        process_cpu_seconds_total=usage.ru_utime + usage.ru_stime,
        process_resident_memory_bytes=_resident(),
        process_open_fds=_open_descriptors(),
        process_max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        geproxy_draining=int(server.draining),
        geproxy_reloads_total={('done',): server.reloads.done, ('refused',): server.reloads.refused},
        geproxy_config_last_reload_successful=int(not server.reloads.failing),
        geproxy_pool_connections=server.proxy.upstream.connections,
        geproxy_pool_idle_connections=server.proxy.upstream.kept,
        geproxy_memory_held_bytes=memory.budget.held,
        geproxy_memory_limit_bytes=memory.budget.most,
        geproxy_memory_refused_total=memory.budget.refused,
        geproxy_dns_lookups_total=server.proxy.upstream.resolver.asked,
        geproxy_dns_cached_names=server.proxy.upstream.resolver.cached,
        geproxy_dns_pending=server.proxy.upstream.resolver.pending,
        geproxy_hub_lag_seconds=server.watchdog.lag,
        geproxy_hub_blocked_total=server.watchdog.blocked,
        geproxy_task_failures_total=dict(((name,), count) for name, count in sorted(supervise.failures.items())),
        geproxy_log_dropped_total=server.log.dropped())


def _connections(server):
    counts = dict(((show_place(place),), 0) for place in server.places)
    for handler in server.live:
        label = (show_place(handler.local),)
        counts[label] = counts.get(label, 0) + 1
    found = dict(dict.fromkeys(PHASES, 0), **phases(server.live))
    strangers = dict((('access', answer), count) for answer, count in server.strangers.counts.items())
    if server.admin is not None:
        strangers.update((('admin', answer), count) for answer, count in server.admin.strangers.counts.items())
    return dict(geproxy_connections=counts, geproxy_connections_total=server.accepted,
                geproxy_connections_limit=server.proxy.limits.connections,
                geproxy_connections_rejected_total=server.rejected,
                geproxy_strangers_total=strangers,
                geproxy_phase_connections=dict(((name,), count) for name, count in found.items()),
                geproxy_tunnels=found['tunnel'])


def show_place(place):
    """(address, port) as people write it."""
    return ('[%s]:%d' if ':' in place[0] else '%s:%d') % place


def _resident():
    """Octets of memory, None where nobody says."""
    try:
        with open('/proc/self/statm') as opened:
            return int(opened.read().split()[1]) * _PAGE
    except (IOError, OSError):
        return None


def _open_descriptors():
    try:
        return len(os.listdir('/proc/self/fd')) - 1     # one was open for this
    except OSError:
        return None
