"""``python -m geproxy top``: which clients, hosts, users or routes cause the most traffic now, as a screen that is
drawn again and again, or once for scripts.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os
import sys
import time

from geproxy.admin.client import Tails, Trouble
from geproxy.commands import filters, terminal
from geproxy.commands.admin_commands import connections, finder, parser, plain, run
from geproxy.compat import monotonic
from geproxy.observe.formats import show_size
from geproxy.settings import option_types
from geproxy.wording import plural

REFRESH = 2.0           # seconds between two views
ROWS = 20               # at most, in a view
KEY = 0.2               # seconds between two looks at the keyboard
HEADING = '%5s %9s %8s %9s  %s' % ('NOW', 'REQUESTS', 'OCTETS', 'OCTETS/S', '%s')


def main(arguments):
    """Run ``geproxy top`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('top', 'Show the clients, hosts, users or routes with the most traffic. Each row: connections '
                     'now, then requests, octets and octets per second, counted from the start of this command. q '
                     'ends it.')
    options.add_argument('--by', choices=('client', 'host', 'user', 'route'), default='client',
                         help='what a row stands for (default: client); route: a parent, or direct')
    options.add_argument('--once', action='store_true', help='print one table and end')
    options.add_argument('--for', dest='seconds', metavar='TIME', type=option_types.duration, default=REFRESH,
                         help='time between two views; with --once: time to count (default: %ds)' % REFRESH)
    return run(_top, options, arguments)


class Tally(object):
    """The traffic of each client, host, user or route since the tally was made. Earlier octets do not count."""

    def __init__(self, by):
        """Begin at zero. `by`: 'client', 'host', 'user' or 'route', native text."""
        self._by = by
        self._began = self._looked = monotonic()
        self._used = {}                 # {client, host, user or route: [requests, octets, octets since the last view]}
        self._seen = {}                 # {request id: octets that are counted already}, of exchanges under way
        self._kept = frozenset()        # the request ids that were under way at the last look
        self._now = collections.Counter()       # {client, host, user or route: connections}

    def _add(self, who, requests, octets):
        counts = self._used.setdefault(who or None, [0, 0, 0])
        for at, number in enumerate((requests, octets, octets)):
            counts[at] += number

    def ended(self, event):
        """Count an exchange that has ended. `event`: a dictionary, from a line of /-/tail."""
        who = {'client': event.get('client.ip'), 'user': event.get('user.name'), 'route': event.get('route'),
               'host': filters.host_of(event.get('url.original', ''))}[self._by]
        octets = event.get('http.request.bytes', 0) + event.get('http.response.bytes', 0)
        known = self._seen.pop(event.get('id'), None)
        if known is None:
            # It was never seen under way. If it began before the tally, how much of it was sent before is not known.
            known = 0 if event.get('event.duration', 0) / 1e9 < monotonic() - self._began else octets
        self._add(who, 1, octets - known)

    def under_way(self, rows, first=False):
        """Count what the present connections have carried since the last call.

        `rows`: their dictionaries, from /-/connections; `first`: true for the first call, when nothing counts yet.
        """
        self._now.clear()
        seen = {}
        for row in rows:
            if self._by != 'client' and not row['request']:
                continue                # an idle connection has no host and no user
            who = filters.host_of(row['url'] or '') if self._by == 'host' else row.get(self._by)
            self._now[who or None] += 1
            octets = row['received'] + row['sent']
            known = octets if first or not row['request'] else self._seen.get(row['request'], 0)
            self._add(who, 0, octets - known)
            if row['request']:
                seen[row['request']] = octets
        # An exchange that is missing now has ended: its event is still to come. That event may have been dropped, so
        # the exchange is forgotten at the next look.
        self._seen = dict([(name, octets) for name, octets in self._seen.items() if name in self._kept], **seen)
        self._kept = frozenset(seen)

    def view(self, most=ROWS):
        """Return the lines of a table, most octets per second first; the next view counts these anew.

        `most`: the number of rows below the heading.
        """
        seconds = max(0.001, monotonic() - self._looked)
        self._looked = monotonic()
        rows = sorted(((lately, octets, requests, self._now[who], plain(who))
                       for who, (requests, octets, lately) in self._used.items()),
                      key=lambda row: (-row[0], -row[1], -row[2], row[4]))
        for counts in self._used.values():
            counts[2] = 0
        return [HEADING % self._by.upper()] + [
            '%5d %9d %8s %9s  %s' % (now, requests, show_size(octets), show_size(lately / seconds), who)
            for lately, octets, requests, now, who in rows[:most]]


def _top(options):
    on_screen = os.isatty(1) and not options.once
    with Tails(finder(options)) as tails, terminal.keys(on_screen) as ask_to_end:
        tally, began = Tally(options.by), time.strftime('%H:%M:%S')
        tally.under_way(connections(options)[0], first=True)
        while True:
            if _gather(tails, tally, monotonic() + options.seconds, ask_to_end):
                return 0
            try:
                rows, processes = connections(options)
                there = '%s, %s' % (plural(processes, 'process', 'es'), plural(len(rows), 'connection'))
                tally.under_way(rows)
            except Trouble:
                if not on_screen:
                    raise
                there = 'no process answers, waiting for the next'       # a restart does not end the command
            if not on_screen:
                print('\n'.join(tally.view()))
                return 0
            _draw(tally, 'geproxy top (q ends it), %s: %s; counted since %s' % (
                time.strftime('%H:%M:%S'), there, began))


def _draw(tally, title):
    height, width = terminal.size()
    lines = [title] + tally.view(max(1, min(ROWS, height - 3)))
    # In one piece: print() sends the last line end separately, and Control-C may come between.
    sys.stdout.write('\x1b[H\x1b[2J%s\n' % '\n'.join(line[:width] for line in lines))
    sys.stdout.flush()


def _gather(tails, tally, until, ask_to_end):
    """Count exchanges that end until then. Return true if the operator has typed q. `until`: in monotonic seconds."""
    while monotonic() < until:
        if ask_to_end():
            return True
        turn = min(until, monotonic() + KEY)
        lines = tails.lines(turn)
        if lines is None:               # no process is left; `tails` looks for the next one
            time.sleep(max(0, turn - monotonic()))
        for event in map(json.loads, lines or []):
            if event['event'] == 'ended':
                tally.ended(event)
    return ask_to_end()
