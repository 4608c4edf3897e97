"""``python -m geproxy status``, ``ps``, ``kill`` and ``tail``: show what running processes do; end connections."""
from __future__ import absolute_import, division, print_function

import collections
import json
import os
import re
import sys
import time

from geproxy.admin.client import Tails, check
from geproxy.commands import filters, terminal
from geproxy.commands.admin_commands import FAILED, ask_all, complain, connections, finder, parser, plain, run
from geproxy.commands.top import main as top
from geproxy.compat import monotonic, to_octets
from geproxy.observe.formats import (
    CERTIFICATES_FAILING, HEADS, certificate_state, is_parent, parent_state, show_seconds, show_size)
from geproxy.wording import plural

REFRESH = 2.0           # seconds after which `tail` looks for new processes
HEADINGS = ('ID', 'PHASE', 'CLIENT', 'AGE', 'IDLE', 'UP', 'DOWN', 'REQUEST')
NUMBERS = frozenset(['AGE', 'IDLE', 'UP', 'DOWN'])      # columns that are aligned on the right


def status(arguments):
    """Run ``geproxy status`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('status', 'Show the running processes: version, age, number of connections, the certificates of '
                     '[tls], and the states of the parents in [upstream] routes. Exit code 0: all parents are in use, '
                     '1: no process answers, a process leaves a parent out, or files of [tls] have changed and cannot '
                     'be used.')
    _add_output(options)
    return run(_status, options, arguments)


def ps(arguments):
    """Run ``geproxy ps`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('ps', 'Show the connections of running processes: the phase of each, its age, the time since data '
                     'last moved, octets from (up) and to (down) the client, the request and its destination.')
    _add_output(options)
    return run(_ps, options, arguments)


def kill(arguments):
    """Run ``geproxy kill`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('kill', 'End connections. Exit code 0: all were ended, 1: at least one was not found, 2: wrong '
                     'usage.')
    options.add_argument('ids', metavar='ID', nargs='+', help='a connection (the column ID of ps) or a request (the id '
                         'in the log and in error messages)')
    return run(_kill, options, arguments)


def tail(arguments):
    """Run ``geproxy tail`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('tail', 'Show each exchange when it ends, and each tunnel also when it opens.')
    options.add_argument('filters', metavar='FILTER', nargs='*', help='show only some exchanges: host:example.org '
                         'status:>=400 status:5xx client:10.0.0.0/8 slow:>2s method:POST user:joe reason:dns_error '
                         'route:proxy-a.corp, or a part of the URL. All filters must match; a comma inside a filter '
                         'means or.')
    _add_output(options)
    return run(_tail, options, arguments)


COMMANDS = {'status': status, 'ps': ps, 'kill': kill, 'tail': tail, 'top': top}


def _add_output(options):
    options.add_argument('-o', '--output', choices=('text', 'json'), default='text',
                         help='text for people, json for programs: one object a line (default: text)')


# --- status

def _status(options):
    answers = ask_all(options, b'GET', b'/-/status')
    check(answers)
    rows = [json.loads(line) for _place, _status, lines in answers for line in lines]
    for row in rows:
        if options.output == 'json':
            print(json.dumps(row, sort_keys=True))
            continue
        print('%s: geproxy %s as %s, started %s ago, %s of %s%s' % (
            row['pid'], plain(row['version']), plain(row['name']), show_seconds(row['age']), row['connections'],
            plural(row['limit'], 'connection'), ', draining' if row['draining'] else ''))
        for each in row['certificates']:
            print('  certificate %s: %s, %s' % (
                plain(each['path']), plain(' '.join(each['names']) or 'no name'), certificate_state(each)))
        if row.get('certificates_failing'):
            print('  ' + CERTIFICATES_FAILING)
        for parent in row['parents']:
            print('  parent %s: %s' % (plain(parent['parent']), plain(parent_state(parent))))
    return FAILED if any(row.get('certificates_failing') or not all(parent['up'] for parent in row['parents'])
                         for row in rows) else 0


# --- ps

def _ps(options):
    rows, processes = connections(options)
    if options.output == 'json':
        for row in rows:
            print(json.dumps(row, sort_keys=True))
        return 0
    for line in _table([HEADINGS] + [_cells(row) for row in rows]):
        print(terminal.fit(line))
    phases = collections.Counter(plain(row['phase']) for row in rows)
    print('%s in %s%s' % (
        plural(len(rows), 'connection'), plural(processes, 'process', 'es'),
        ''.join(', %d %s' % (number, phase) for phase, number in sorted(phases.items()))))
    return 0


def _table(cells):
    """Return the lines of a table. `cells`: a list of rows, the headings first; the last column is not padded."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS) - 1)] + [0]
    for line in cells:
        yield '  '.join(cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
                        for cell, width, heading in zip(line, widths, HEADINGS)).rstrip()


def _cells(row):
    words = [plain(row['method']), plain(row['url'])] if row['request'] else ['-']
    way = ('route', 'through %s') if is_parent(row.get('route')) else ('address', 'to %s')
    for name, text in (way, ('user', 'by %s'), ('rule', '(%s)'), ('request', '[%s]')):
        if row[name]:
            words.append(text % plain(row[name]))
    return (plain(row['id']), plain(row['phase']), plain(row['client']), show_seconds(row['age']),
            '-' if row['idle'] is None else show_seconds(row['idle']), show_size(row['received']),
            show_size(row['sent']), ' '.join(words))


# --- kill

def _kill(options):
    missing = 0
    for name in options.ids:
        if not re.match(r'[A-Za-z0-9-]{1,40}\Z', name):
            raise ValueError("invalid ID '%s': expected one like 7241-3, as ps shows it" % plain(name))
        answers = ask_all(options, b'POST', b'/-/kill?id=' + to_octets(name))
        check([answer for answer in answers if answer[1] != 404])
        found = any(status == 200 for _place, status, _lines in answers)
        print('%s: %s' % (name, 'killed' if found else 'not found: no connection and no request has this ID now'))
        missing += not found
    return FAILED if missing else 0


# --- tail

def _tail(options):
    tests = [filters.parse(word) for word in options.filters]
    colour = os.isatty(1) and not os.environ.get('NO_COLOR')
    with Tails(finder(options)) as tails:
        while True:
            for line in _lines(tails, monotonic() + REFRESH):
                event = json.loads(line)
                if event['event'] == 'dropped':
                    complain('%s not shown: too many at once' % plural(event['count'], 'line'))
                elif all(test(event) for test in tests):
                    print(plain(line) if options.output == 'json' else _paint(event, colour))
            sys.stdout.flush()


def _lines(tails, deadline):
    """Return the lines that come before `deadline` (monotonic seconds). Without any process, wait for one: a restart
    does not end the command."""
    lines = tails.lines(deadline)
    if lines is None:
        complain('the last process has ended; waiting for a new one (Control-C ends this)')
        tails.wait()
        complain('a new process answers')
    return lines or []


def _paint(event, colour):
    stamp, line = time.strftime('%H:%M:%S '), _line(event)
    if not colour:
        return stamp + line
    status = event.get('http.response.status_code', 0)
    code = {0: '35', 2: '32', 3: '36', 4: '33', 5: '31'}.get(status // 100, '0')
    return '\x1b[2m%s\x1b[0m\x1b[%sm%s\x1b[0m' % (stamp, code, line)


def _line(event):
    """Return an event as a line of the console log, without the time. `event`: a dictionary, from /-/tail."""
    who = plain(event.get('client.ip'))
    if event.get('user.name'):
        who = '%s@%s' % (plain(event['user.name']), who)
    line = '%s %s %s' % (who, plain(event.get('http.request.method')), plain(event.get('url.original')))
    if event['event'] == 'opened':
        if is_parent(event.get('route')):
            return '%s open, through %s' % (line, plain(event['route']))
        return '%s open, to %s' % (line, plain(event.get('destination.ip')))
    line += ' %03d %s %s' % (event['http.response.status_code'], show_size(event['http.response.bytes']),
                             show_seconds(event['event.duration'] / 1e9))
    if event.get('result', '').startswith('TCP_TUNNEL') or event.get('http.request.bytes', 0) > HEADS:
        line += ' (%s up)' % show_size(event['http.request.bytes'])
    if is_parent(event.get('route')):
        line += ' through ' + plain(event['route'])
    if event.get('reason'):
        line += ' %s: %s [%s]' % (plain(event['reason']), plain(event.get('message')), plain(event['id']))
    return line
