"""Tries the source addresses of [upstream] on this host, for `--check` and `doctor`. Opens no connection."""
from __future__ import absolute_import, division, print_function

from geproxy.net.address import parse_ip
from geproxy.net.this_host import can_bind
from geproxy.settings import loading


def tried(settings):
    """Return [(address as native text, True if this host has it)], for all sources of `settings`, a Settings."""
    return [(source, can_bind(parse_ip(source))) for source in (settings.routes.sources if settings.routes else ())]


def absent(path, settings):
    """Return a line of text for each source address that this host does not have now.

    `path`: the ini file, native text; `settings`: what was read from it. Another host may have these addresses, or
    this host later, so geproxy starts all the same.
    """
    missing = [source for source, good in tried(settings) if not good]
    found = [(loading.where_set(path, 'upstream', 'source'), 'source', source)
             for source in settings.upstream.source if source in missing]
    for row in settings.upstream.routes:
        where = '%s:%s' % (path, row.source.rpartition(':')[2])
        found.extend((where, 'routes', source) for source in row.routes[0].sources if source in missing)
    return ['%s: [upstream] %s: this host has no address %s now: requests that leave from it fail' % each
            for each in found]
