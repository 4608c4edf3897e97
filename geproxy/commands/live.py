"""``python -m geproxy ps``, ``kill``, ``tail`` and ``top``: what running processes do, as their admin listeners tell.

Several processes are one view. Asks and shows; what is shown comes from elsewhere, so nothing of it reaches the
terminal that could steer it.
"""
from __future__ import absolute_import, division, print_function

import argparse
import collections
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import sys
import termios
import time

from geproxy.admin.client import Tails, Trouble, addresses, ask, check, patterns
from geproxy.commands import filters
from geproxy.compat import monotonic, to_native, to_octets
from geproxy.observe.formats import HEADS, show_seconds, show_size
from geproxy.settings import loading, option_types

FAILED, USAGE = 1, 2    # exit codes
REFRESH = 2.0           # seconds
TOP = 20                # rows
KEY = 0.2               # seconds between two looks whether a key was typed
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
    options = parser('top', 'Show who uses the most, from now on: connections, requests, octets, octets per second. q '
                     'ends it.')
    options.add_argument('--by', choices=('client', 'host', 'user'), default='client')
    options.add_argument('--once', action='store_true', help='show it once, and end')
    options.add_argument('--for', dest='seconds', metavar='TIME', type=option_types.seconds, default=REFRESH,
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
    except (Trouble, ValueError, loading.ConfigError) as error:
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
    return addresses(options.admin, options.config)


def _finder(options):
    """A function that says where to ask now, whatever becomes of the ini file meanwhile."""
    wanted = patterns(options.admin, options.config)
    return lambda: addresses(wanted, None)


# --- what is shown

def plain(value):
    """Text from elsewhere -> native text that no terminal takes for an order; '-' for nothing."""
    if value is None:
        return '-'
    return _not_printable.sub('?', to_native(to_octets(value)) if not isinstance(value, (int, float)) else str(value))


def _ps(options):
    rows, processes = _rows(options)
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
        _count(len(rows), 'connection'), _count(processes, 'process', 'es'),
        ''.join(', %d %s' % (count, phase) for phase, count in sorted(phases.items()))))
    return 0


def _columns():
    """How wide the terminal is; 0 if it is none, and lines may be of any length."""
    return _size()[1] or 0


def _size():
    """(lines, columns) of the terminal; of none, or one that does not say: (large, None)."""
    try:
        lines, columns = struct.unpack('HHHH', fcntl.ioctl(1, termios.TIOCGWINSZ, b'\0' * 8))[:2]
    except (IOError, OSError):
        lines = columns = 0
    return lines or TOP + 3, columns or None


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
    with Tails(_finder(options)) as tails:
        while True:
            for line in _lines(tails, monotonic() + REFRESH):
                event = json.loads(line)
                if event['event'] == 'dropped':
                    complain('%d not shown: too many at once' % event['count'])
                elif all(test(event) for test in tests):
                    print(plain(line) if options.output == 'json' else _paint(event, colour))
            sys.stdout.flush()


def _lines(tails, deadline):
    """The lines that come until then; if no process is left, those of the next one: a restart is no end."""
    lines = tails.lines(deadline)
    if lines is None:
        complain('the last process has ended; waiting for the next one')
        tails.wait()
        complain('a process is there again')
    return lines or []


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
    if event.get('result', '').startswith('TCP_TUNNEL') or event.get('http.request.bytes', 0) > HEADS:
        line += ' (%s up)' % show_size(event['http.request.bytes'])
    if event.get('reason'):
        line += ' %s: %s [%s]' % (plain(event['reason']), plain(event.get('message')), plain(event['id']))
    return line


class Tally(object):
    """Who has used how much since it was made; what connections carried before does not count."""

    def __init__(self, by):
        """`by`: client, host or user."""
        self._by = by
        self._began = self._looked = monotonic()
        self._used = {}                 # {who: [requests, octets, octets since the last view]}
        self._seen = {}                 # {request id: octets of that exchange that are counted}, of those under way
        self._kept = frozenset()        # the ids that were there at the last look
        self._now = collections.Counter()       # {who: connections}

    def _count(self, who, requests, octets):
        counts = self._used.setdefault(who or None, [0, 0, 0])
        for at, number in enumerate((requests, octets, octets)):
            counts[at] += number

    def ended(self, event):
        """An exchange has ended."""
        who = {'client': event.get('client.ip'), 'user': event.get('user.name'),
               'host': filters.host_of(event.get('url.original', ''))}[self._by]
        octets = event.get('http.request.bytes', 0) + event.get('http.response.bytes', 0)
        known = self._seen.pop(event.get('id'), None)
        if known is None:               # if it is older than this, nobody knows how much of it came before
            known = 0 if event.get('event.duration', 0) / 1e9 < monotonic() - self._began else octets
        self._count(who, 1, octets - known)

    def under_way(self, rows, first=False):
        """These are the connections of now. `first`: what they have carried so far came before."""
        self._now.clear()
        seen = {}
        for row in rows:
            if self._by != 'client' and not row['request']:
                continue                # an idle connection is for no host, and nobody's
            who = filters.host_of(row['url'] or '') if self._by == 'host' else row[self._by]
            self._now[who or None] += 1
            octets = row['received'] + row['sent']
            known = octets if first or not row['request'] else self._seen.get(row['request'], 0)
            self._count(who, 0, octets - known)
            if row['request']:
                seen[row['request']] = octets
        # What is missing has ended, and will be told of; unless that was dropped, and then it is not kept for ever.
        self._seen = dict([(name, octets) for name, octets in self._seen.items() if name in self._kept], **seen)
        self._kept = frozenset(seen)

    def view(self, most=TOP):
        """What was used, as the lines of a table, the most octets per second first; begins a new look at these."""
        seconds = max(0.001, monotonic() - self._looked)
        self._looked = monotonic()
        rows = sorted(((lately, octets, requests, self._now[who], plain(who))
                       for who, (requests, octets, lately) in self._used.items()),
                      key=lambda row: (-row[0], -row[1], -row[2], row[4]))
        for counts in self._used.values():
            counts[2] = 0
        lines = ['%5s %9s %8s %8s  %s' % ('NOW', 'REQUESTS', 'OCTETS', 'PER SEC', self._by.upper())]
        return lines + ['%5d %9d %8s %8s  %s' % (now, requests, show_size(octets), show_size(lately / seconds), who)
                        for lately, octets, requests, now, who in rows[:most]]


def _top(options):
    terminal = os.isatty(1) and not options.once
    with Tails(_finder(options)) as tails, _keys(terminal) as ask_to_end:
        tally, began = Tally(options.by), time.strftime('%H:%M:%S')
        tally.under_way(_rows(options)[0], first=True)
        while True:
            if _gather(tails, tally, monotonic() + options.seconds, ask_to_end):
                return 0
            try:
                rows, processes = _rows(options)
                there = '%s, %s' % (_count(processes, 'process', 'es'), _count(len(rows), 'connection'))
                tally.under_way(rows)
            except Trouble:
                if not terminal:
                    raise
                there = 'no process answers, waiting for the next'       # a restart is no end
            if not terminal:
                print('\n'.join(tally.view()))
                return 0
            height, width = _size()
            title = 'geproxy top (q ends it), %s: %s; counted since %s' % (time.strftime('%H:%M:%S'), there, began)
            lines = [title] + tally.view(max(1, min(TOP, height - 3)))
            # In one piece: print() sends the last line end by itself, and Control-C may come before it.
            sys.stdout.write('\x1b[H\x1b[2J%s\n' % '\n'.join(line[:width] for line in lines))
            sys.stdout.flush()


def _rows(options):
    """-> (the connections of all processes, how many processes there are)"""
    answers = ask_all(options, b'GET', b'/-/connections')
    check(answers)
    return [json.loads(line) for _place, _status, lines in answers for line in lines[1:]], len(answers)


def _gather(tails, tally, until, ask_to_end):
    """Count what ends until then -> true if somebody wants to end it sooner."""
    while monotonic() < until:
        if ask_to_end():
            return True
        turn = min(until, monotonic() + KEY)
        lines = tails.lines(turn)
        if lines is None:               # no process is left; tails look for the next
            time.sleep(max(0, turn - monotonic()))
        for event in map(json.loads, lines or []):
            if event['event'] == 'ended':
                tally.ended(event)
    return ask_to_end()


@contextlib.contextmanager
def _keys(wanted):
    """While it lasts, keys arrive one by one and are not shown, if somebody types -> a function that tells whether q
    was typed. Control-C ends the process as ever, but leaves the terminal as it was."""
    if not wanted or not os.isatty(0):
        yield lambda: False
        return
    before = termios.tcgetattr(0)
    raw = list(before)
    raw[3] &= ~(termios.ICANON | termios.ECHO)
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

    def restore():
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        except termios.error:
            pass                        # the terminal is gone

    def end(number, _frame):
        restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    try:
        for number in numbers:
            signal.signal(number, end)
        termios.tcsetattr(0, termios.TCSADRAIN, raw)
        yield lambda: bool(select.select([0], [], [], 0)[0]) and os.read(0, 100)[:1] in (b'q', b'Q', b'\x04', b'')
    finally:
        restore()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
