"""Shows the connections and figures of this process. Reads them only when asked, and changes nothing.

It uses only the `view()` of a connection, and the time since the kernel last moved octets of it.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import platform
import resource
import time

import gevent

from geproxy import __version__
from geproxy.admin import watchdog
from geproxy.compat import monotonic
from geproxy.exchange.conversation import PHASES
from geproxy.exchange.state import View
from geproxy.net import memory, supervise
from geproxy.observe import metrics
from geproxy.observe.formats import CERTIFICATES_FAILING, certificate_state, parent_state, show, show_url

NO_EXCHANGE = View('', None, None, b'', b'', b'', '', '', '', 0, 0)
_started = time.time()
_PAGE = resource.getpagesize()


def octets(conversation):
    """Return (received, sent) of the current exchange of `conversation`, a Conversation, as ints; (0, 0) if there is
    none."""
    exchange = conversation.view().exchange or NO_EXCHANGE
    return exchange.received, exchange.sent


def row(conversation, query):
    """Return a connection, and its exchange if one is on its way, as an ordered dictionary that json can write.

    `conversation`: a Conversation; `query`: True to show the query string of the URL, as for record.show_url.
    """
    now, view, silent = monotonic(), conversation.view(), conversation.silence()
    exchange = view.exchange or NO_EXCHANGE
    return collections.OrderedDict((
        ('id', connection_id(view)),
        ('phase', view.phase),
        ('client', view.client),
        ('age', round(now - view.since, 3)),
        ('idle', None if silent is None else round(min(silent, now - view.since), 3)),    # the kernel rounds
        ('request', view.exchange and view.exchange.id),
        ('seconds', None if exchange.began is None else round(now - exchange.began, 3)),
        ('user', show(exchange.user) if exchange.user else None),
        ('method', show(exchange.method) if exchange.method else None),
        ('url', show_url(exchange, query) if exchange.url else None),
        ('address', exchange.address or None),
        ('route', exchange.route or None),
        ('rule', exchange.rule or None),
        ('received', exchange.received),
        ('sent', exchange.sent)))


def process(server):
    """Return the facts about the process as an ordered dictionary that json can write. `server`: the server.Server."""
    return collections.OrderedDict((
        ('pid', os.getpid()), ('version', __version__), ('name', server.proxy.name),
        ('age', round(time.time() - _started, 3)), ('draining', server.draining), ('connections', len(server.live)),
        ('limit', server.proxy.limits.connections), ('accepted', server.accepted), ('parents', parents(server)),
        ('certificates', certificates(server)), ('certificates_failing', server.certificates.failing)))


def parents(server):
    """Return the parents of the routes as a list of dictionaries that json can write. `server`: the server.Server."""
    now = monotonic()
    return [collections.OrderedDict((
        ('parent', view.name), ('up', view.up), ('seconds', None if view.since is None else round(now - view.since, 3)),
        ('again', None if view.up else round(max(view.again - now, 0), 3)),
        ('failures', view.failures), ('why', view.why))) for view in server.proxy.upstream.parents.view()]


def certificates(server):
    """Return the certificates of [tls] as a list of dictionaries that json can write. `server`: the server.Server."""
    return [collections.OrderedDict((
        ('path', each.path), ('names', each.names), ('until', each.until), ('days', each.days)))
            for each in server.certificates.view()]


def connection_id(view):
    """Return the name of a connection, native text, unique on this host. `view`: a conversation.View."""
    return '%d-%d' % (os.getpid(), view.number)


def find(conversations, name):
    """Return the one of `conversations` whose connection id or request id is `name` (native text), or None."""
    for conversation in conversations:
        view = conversation.view()
        if name == connection_id(view) or view.exchange and name == view.exchange.id:
            return conversation
    return None


def phases(conversations):
    """Return {phase: how many of `conversations`, Conversations, are in it}, in the order of PHASES."""
    counts = collections.Counter(conversation.view().phase for conversation in conversations)
    return collections.OrderedDict((each, counts[each]) for each in PHASES if counts[each])


def state(server):
    """Return the state of the process for people, as a list of lines: the phases of its connections, its figures, and
    the stacks of its greenlets. `server`: the server.Server."""
    values = figures(server)
    if server.admin is not None:
        values.update(server.admin.counted())
    lines = ['state: %s' % (', '.join('%d %s' % (count, name) for name, count in phases(server.live).items())
                            or 'no connections')]
    lines += ['certificate: %s, %s, %s' % (each['path'], ' '.join(each['names']), certificate_state(each))
              for each in certificates(server)]
    lines += [CERTIFICATES_FAILING] if server.certificates.failing else []
    lines += ['parent %s: %s' % (row['parent'], parent_state(row)) for row in parents(server)]
    for counter in metrics.COUNTERS:
        value = values.get(counter.name)
        if value is not None and counter.kind != 'histogram':
            lines += metrics.samples(counter, value)
    return lines + watchdog.stacks()


# --- figures, by their names in metrics.COUNTERS

def figures(server):
    """Return {name in metrics.COUNTERS: value}: of a server.Server, and what the system knows of its process."""
    usage, known = resource.getrusage(resource.RUSAGE_SELF), server.proxy.upstream.parents.view()
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
        geproxy_certificate_expiration_timestamp_seconds=dict(
            ((each.path,), each.until) for each in server.certificates.view()) or None,
        geproxy_certificates_last_read_successful=int(not server.certificates.failing),
        geproxy_parent_up=dict(((view.name,), int(view.up)) for view in known) or None,
        geproxy_parent_failures_total=dict(((view.name,), view.failures) for view in known) or None,
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
    counts = dict(((show_listener(address),), 0) for address in server.addresses)
    found = dict.fromkeys(PHASES, 0)
    for conversation in server.live:
        view = conversation.view()
        label = (show_listener(view.listener),)
        counts[label] = counts.get(label, 0) + 1
        found[view.phase] += 1
    strangers = dict((('access', answer), count) for answer, count in server.strangers.counts.items())
    if server.admin is not None:
        strangers.update((('admin', answer), count) for answer, count in server.admin.strangers.counts.items())
    return dict(geproxy_connections=counts, geproxy_connections_total=server.accepted,
                geproxy_connections_limit=server.proxy.limits.connections,
                geproxy_connections_rejected_total=server.rejected,
                geproxy_strangers_total=strangers,
                geproxy_tls_handshakes_total=dict(((name,), count) for name, count in server.handshakes.counts.items()),
                geproxy_phase_connections=dict(((name,), count) for name, count in found.items()),
                geproxy_tunnels=found['tunnel'])


def show_listener(address):
    """Return the address of a listener as people write it. `address`: (address, port)."""
    return ('[%s]:%d' if ':' in address[0] else '%s:%d') % address


def _resident():
    """Return the octets of memory in use; None if the system does not say."""
    try:
        with open('/proc/self/statm') as opened:
            return int(opened.read().split()[1]) * _PAGE
    except (IOError, OSError):
        return None


def _open_descriptors():
    try:
        return len(os.listdir('/proc/self/fd')) - 1     # one was open to list them
    except OSError:
        return None
