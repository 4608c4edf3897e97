"""``python -m geproxy ps``, ``kill``, ``tail`` and ``top``: what running processes do, as their admin listeners tell.

Several processes are one view. Asks and shows; what is shown comes from elsewhere, so nothing of it reaches the
terminal that could steer it.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import fcntl
import json
import os
import re
import struct
import sys
import termios
import time

from geproxy import config, filters, kinds
from geproxy.adminclient import Tails, Trouble, ask, check, places
from geproxy.compat import monotonic, to_native, to_octets
from geproxy.record import show_seconds, show_size

FAILED, USAGE = 1, 2    # exit codes
REFRESH = 2.0           # seconds
TOP = 20                # rows
HEADINGS = ('ID', 'PHASE', 'CLIENT', 'AGE', 'IDLE', 'UP', 'DOWN', 'REQUEST')

_not_printable = re.compile(r'[^\x20-\x7e]')


def ps(arguments):
    """``geproxy ps``. `arguments`: from the name of the command on; the exit code, as of all below."""
    options = parser('ps', 'Show the connections of running processes: what each is doing, for how long, for whom.')
    options.add_argument('-o', '--output', choices=('text', 'json'), default='text')
    return run(_ps, options, arguments)


def kill(arguments):
    """``geproxy kill ID``."""
    options = parser('kill', 'End connections.')
    options.add_argument('ids', metavar='ID', nargs='+', help='of a connection, as ps shows it, or of a request, as '
                         'the log and the client have it')
    return run(_kill, options, arguments)


def tail(arguments):
    """``geproxy tail``."""
    options = parser('tail', 'Show exchanges as they end, and tunnels as they open.')
    options.add_argument('filters', metavar='FILTER', nargs='*', help='host:example.org status:>=400 status:5xx '
                         'client:10.0.0.0/8 slow:>2s method:POST user:joe reason:dns_error, or a part of the URL; all '
                         'must hold, and commas mean or')
    options.add_argument('-o', '--output', choices=('text', 'json'), default='text')
    return run(_tail, options, arguments)


def top(arguments):
    """``geproxy top``."""
    options = parser('top', 'Show who uses the most, from now on: connections, requests, octets.')
    options.add_argument('--by', choices=('client', 'host', 'user'), default='client')
    options.add_argument('--once', action='store_true', help='show it once, and end')
    options.add_argument('--for', dest='seconds', metavar='TIME', type=kinds.seconds, default=REFRESH,
                         help='how long to watch before that, and between two views (%d s)' % REFRESH)
    return run(_top, options, arguments)


COMMANDS = {'ps': ps, 'kill': kill, 'tail': tail, 'top': top}


def parser(name, sentence):
    """What all commands about running processes take, as an ArgumentParser."""
    options = argparse.ArgumentParser(prog='geproxy ' + name, description=sentence)
    options.add_argument('-c', '--config', metavar='FILE', help='the ini file, for its [admin] listen')
    options.add_argument('--admin', metavar='WHERE', action='append', default=[], help='instead: 127.0.0.1:9001, '
                         'unix:/PATH, where PATH may be a folder or have * or {pid} in it; more than once, for several')
    return options


def run(command, options, arguments):
    """Do what a command line asks for. `command`: a function of the arguments parsed; `options`: as of `parser`."""
    try:
        return command(options.parse_args(arguments[1:]))
    except (Trouble, ValueError, config.ConfigError) as error:
        complain(error)
        return FAILED if isinstance(error, Trouble) else USAGE


def complain(what):
    """Say it on standard error."""
    sys.stderr.write('geproxy: %s\n' % '\n'.join(plain(line) for line in str(what).split('\n')))


def ask_all(options, method, path):
    """Ask all processes -> [(place, status, lines)]; who is there and does not answer is said."""
    answers, silent = ask(_places(options), method, path)
    for why in silent:
        complain(why)
    return answers


def _places(options):
    return places(options.admin, options.config)


# --- what is shown

def plain(value):
    """Text from elsewhere -> native text that no terminal takes for an order; '-' for nothing."""
    if value is None:
        return '-'
    return _not_printable.sub('?', to_native(to_octets(value)) if not isinstance(value, (int, float)) else str(value))


def _ps(options):
    answers = ask_all(options, b'GET', b'/-/connections')
    check(answers)
    rows = [json.loads(line) for _place, _status, lines in answers for line in lines[1:]]
    if options.output == 'json':
        for row in rows:
            print(json.dumps(row, sort_keys=True))
        return 0
    cells = [HEADINGS] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]) - 1)] + [0]
    room = _columns()
    for line in cells:
        line = '  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        print(line if not room or len(line) <= room else line[:room - 3] + '...')
    phases = collections.Counter(plain(row['phase']) for row in rows)
    print('%s in %s%s' % (
        _count(len(rows), 'connection'), _count(len(answers), 'process', 'es'),
        ''.join(', %d %s' % (count, phase) for phase, count in sorted(phases.items()))))
    return 0


def _columns():
    """How wide the terminal is; 0 if it is none, and lines may be of any length."""
    try:
        return struct.unpack('HHHH', fcntl.ioctl(1, termios.TIOCGWINSZ, b'\0' * 8))[1]
    except (IOError, OSError):
        return 0


def _count(number, what, plural='s'):
    return '%d %s%s' % (number, what, '' if number == 1 else plural)


def _cells(row):
    words = [plain(row['method']), plain(row['url'])] if row['request'] else ['-']
    for name, before in (('address', 'to '), ('user', 'by '), ('rule', '('), ('request', '[')):
        if row[name]:
            words.append(before + plain(row[name]) + {'(': ')', '[': ']'}.get(before, ''))
    return (plain(row['id']), plain(row['phase']), plain(row['client']), show_seconds(row['age']),
            '-' if row['idle'] is None else show_seconds(row['idle']), show_size(row['received']),
            show_size(row['sent']), ' '.join(words))


def _kill(options):
    missing = 0
    for name in options.ids:
        if not re.match(r'[A-Za-z0-9-]{1,40}\Z', name):
            raise ValueError("'%s' is no ID, as ps shows it" % plain(name))
        answers = ask_all(options, b'POST', b'/-/kill?id=' + to_octets(name))
        check([answer for answer in answers if answer[1] != 404])
        found = any(status == 200 for _place, status, _lines in answers)
        print('%s: %s' % (name, 'killed' if found else 'no connection has that id'))
        missing += not found
    return FAILED if missing else 0


def _tail(options):
    tests = [filters.parse(word) for word in options.filters]
    colour = os.isatty(1) and not os.environ.get('NO_COLOR')
    with Tails(lambda: _places(options)) as tails:
        while True:
            lines = tails.lines(monotonic() + REFRESH)
            if lines is None:
                raise Trouble('the last process has ended')
            for line in lines:
                event = json.loads(line)
                if event['event'] == 'dropped':
                    complain('%d not shown: too many at once' % event['count'])
                elif all(test(event) for test in tests):
                    print(plain(line) if options.output == 'json' else _paint(event, colour))
            sys.stdout.flush()


def _paint(event, colour):
    stamp, line = time.strftime('%H:%M:%S '), _line(event)
    if not colour:
        return stamp + line
    status = event.get('http.response.status_code', 0)
    code = {0: '35', 2: '32', 3: '36', 4: '33', 5: '31'}.get(status // 100, '0')
    return '\x1b[2m%s\x1b[0m\x1b[%sm%s\x1b[0m' % (stamp, code, line)


def _line(event):
    """An event, as the console log has it."""
    who = plain(event.get('client.ip'))
    if event.get('user.name'):
        who = '%s@%s' % (plain(event['user.name']), who)
    line = '%s %s %s' % (who, plain(event.get('http.request.method')), plain(event.get('url.original')))
    if event['event'] == 'opened':
        return '%s open, to %s' % (line, plain(event.get('destination.ip')))
    line += ' %03d %s %s' % (event['http.response.status_code'], show_size(event['http.response.bytes']),
                             show_seconds(event['event.duration'] / 1e9))
    if event.get('reason'):
        line += ' %s: %s [%s]' % (plain(event['reason']), plain(event.get('message')), plain(event['id']))
    return line


class Tally(object):
    """Who has used how much."""

    def __init__(self, by):
        """`by`: client, host or user."""
        self._by = by
        self._ended = {}                # {who: [requests, octets]}

    def ended(self, event):
        """An exchange has ended."""
        who = {'client': event.get('client.ip'), 'user': event.get('user.name'),
               'host': filters.host_of(event.get('url.original', ''))}[self._by]
        counts = self._ended.setdefault(who or None, [0, 0])
        counts[0] += 1
        counts[1] += event.get('http.request.bytes', 0) + event.get('http.response.bytes', 0)

    def view(self, rows):
        """With the connections of now -> the lines of a table, the most octets first."""
        totals = dict((who, [0] + counts) for who, counts in self._ended.items())
        for row in rows:
            if self._by != 'client' and not row['request']:
                continue                # an idle connection is for no host, and nobody's
            who = filters.host_of(row['url'] or '') if self._by == 'host' else row[self._by]
            counts = totals.setdefault(who or None, [0, 0, 0])
            counts[0] += 1
            counts[2] += row['received'] + row['sent']
        lines = ['%5s %9s %8s  %s' % ('NOW', 'REQUESTS', 'OCTETS', self._by.upper())]
        most = sorted(totals.items(), key=lambda item: (-item[1][2], -item[1][1], plain(item[0])))
        return lines + ['%5d %9d %8s  %s' % (now, requests, show_size(octets), plain(who))
                        for who, (now, requests, octets) in most[:TOP]]


def _top(options):
    tally, terminal = Tally(options.by), os.isatty(1) and not options.once
    with Tails(lambda: _places(options)) as tails:
        while True:
            until = monotonic() + options.seconds
            while monotonic() < until:
                lines = tails.lines(until)
                if lines is None:
                    raise Trouble('the last process has ended')
                for event in map(json.loads, lines):
                    if event['event'] == 'ended':
                        tally.ended(event)
            answers = ask_all(options, b'GET', b'/-/connections')
            view = tally.view([json.loads(line) for _place, _status, found in answers for line in found[1:]])
            print('\x1b[H\x1b[2J' * terminal + '\n'.join(view))
            sys.stdout.flush()
            if not terminal:
                return 0
