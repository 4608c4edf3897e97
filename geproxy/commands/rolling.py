"""``python -m geproxy reload`` and ``restart``: another ini file or another geproxy, and nobody notices.

Both look first and change then. Starts nothing by itself: supervisord keeps the processes.
"""
from __future__ import absolute_import, division, print_function

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from geproxy.admin.client import Trouble, address_of, ask, check, patterns
from geproxy.commands.live import FAILED, ask_all, complain, parser, plain, run
from geproxy.compat import monotonic, to_native
from geproxy.observe.formats import show_seconds
from geproxy.settings import loading, option_types

IN_THE_MIDDLE = 3       # exit code: some were restarted, one did not come up, the others were not touched
PATIENCE = 30.0         # seconds for a process to be ready, once supervisord takes it for running
SILENCE = 60.0          # seconds, beside `drain`, until supervisorctl is given up: stopwaitsecs and startsecs are in it
LOOK = 0.1              # seconds between two looks

BY_SIGNAL = """
Until then: kill -HUP PID (supervisorctl signal HUP NAME); the error log says what has changed. And without asking what
runs: geproxy --check NEW --against OLD"""
NO_SUPERVISOR = """
Is this host's geproxy kept by something else? With systemd: systemctl restart geproxy."""

Member = collections.namedtuple('Member', 'name state pid')        # `pid`: 0 if it has none
_find_members = re.compile(r'(?m)^(\S+) +([A-Z]+)\b(?: +pid (\d+))?').findall


# --- reload

def reload(arguments):
    """``geproxy reload``. `arguments`: from the name of the command on; the exit code, as below."""
    options = parser('reload', 'Have running processes read their ini file again, and show what that changes in each: '
                     'all or none of them. Exit code 0: done, 1: nothing changed, for what is wrong.')
    options.add_argument('--dry-run', action='store_true', help='only show what it would change in what runs, and '
                         'whether the file is good')
    return run(_reload, options, arguments)


def _reload(options):
    try:
        found = _told(options, b'/-/reload?dry-run')
        good = all(each['good'] for each in found)
        if good and not options.dry_run:
            found = _told(options, b'/-/reload')
    except loading.ConfigError as error:
        raise Trouble('nothing changed, because of mistakes in the file:\n%s' % error)
    except Trouble as error:
        raise Trouble('%s%s' % (error, BY_SIGNAL))
    for pids, outcome in _alike(found):
        who = ', '.join('%d' % pid for pid in pids)
        lines = [plain(line) for text in outcome['lines'] for line in text.split('\n')]
        if outcome['good'] and not options.dry_run and good:
            print('%s: %s' % (who, '\n  '.join([lines[-1]] + lines[:-1])))
        elif outcome['good']:
            print('%s: %s' % (who, '\n  '.join(['would change'] + lines) if lines else 'no changes'))
        else:
            complain('%s: %s' % (who, '\n'.join(lines)))
    return 0 if all(each['good'] for each in found) else FAILED


def _told(options, path):
    """What the processes say to that -> [{pid, path, good, lines}]."""
    answers = ask_all(options, b'POST', path)
    check([answer for answer in answers if answer[1] != 409])
    return [json.loads(line) for _place, _status, lines in answers for line in lines]


def _alike(found):
    """[(pids, outcome)]: those who say the same are one."""
    groups = collections.OrderedDict()
    for each in found:
        groups.setdefault((each['good'], tuple(each['lines'])), (each, []))[1].append(each['pid'])
    return [(pids, each) for each, pids in groups.values()]


# --- restart

def restart(arguments):
    """``geproxy restart``."""
    options = parser('restart', 'Restart the processes that supervisord keeps, one after the other, each once the one '
                     'before it is ready. Exit code 0: done; 1: nothing was touched; 3: one did not come up, and those '
                     'behind it were not touched.')
    options.add_argument('name', nargs='?', default='geproxy', help='of the program in supervisord (geproxy)')
    options.add_argument('--supervisord', metavar='FILE', help='its configuration, if it is not where supervisorctl '
                         'looks by itself')
    options.add_argument('--supervisorctl', metavar='PROGRAM', help='if it is neither beside this Python nor on PATH')
    options.add_argument('--wait', metavar='TIME', type=option_types.seconds, default=PATIENCE,
                         help='for each to be ready (%d s)' % PATIENCE)
    return run(_restart, options, arguments)


def _restart(options):
    if not options.config:
        raise ValueError('it takes -c FILE, which is looked at before anything is touched')
    try:
        settings = loading.load(options.config)
    except loading.ConfigError as error:
        raise Trouble('nothing was touched, for what is wrong in the file:\n%s' % error)
    except EnvironmentError as error:
        raise Trouble('nothing was touched: %s: %s' % (options.config, error.strerror))
    wanted = patterns(options.admin, options.config) if options.admin or settings.admin.listen else []
    supervisor = Supervisor(options, settings.timeouts.drain + SILENCE)
    members = supervisor.members()
    if len(members) == 1:
        complain('there is only one process: unless supervisord holds its port (fcgi-program), clients are refused for '
                 'a moment')
    if not wanted:
        complain('without [admin] listen nobody says when it is ready: supervisord has to know')
    while members:
        member = members.pop(0)
        try:
            why = _roll(supervisor, member, wanted, options.wait)
        except Trouble as error:        # it was touched by then
            why = str(error)
        if why:
            complain('%s did not come up: %s\nnot touched: %s' % (
                member.name, why, ', '.join(each.name for each in members) or 'none is left'))
            return IN_THE_MIDDLE
    return 0


def _roll(supervisor, member, wanted, seconds):
    """Restart one, and wait until it is ready -> why it is not; ''."""
    began = monotonic()
    said = supervisor.run('restart', member.name)
    now = next((each for each in supervisor.all() if each.name == member.name), None)
    if now is None or now.state != 'RUNNING' or now.pid in (0, member.pid):
        return ' '.join(said.split('\n')[-1:] + ['(supervisorctl tail %s)' % member.name])
    place = address_of(now.pid, wanted)
    why = '' if place is None else _wait_ready(place, monotonic() + seconds)
    if not why:
        print('%s: %s -> %d, %s after %s' % (
            member.name, member.pid or 'down', now.pid, 'ready' if place else 'up', show_seconds(monotonic() - began)))
        sys.stdout.flush()
    return why


def _wait_ready(place, deadline):
    """Wait for 200 from there -> ''; why it did not come."""
    while True:
        try:
            (_place, status, lines), = ask([place], b'GET', b'/-/ready')[0]
            if status == 200:
                return ''
            why = '%s says %d: %s' % (place, status, ' '.join(lines))
        except Trouble as error:
            why = str(error)
        if monotonic() > deadline:
            return why
        time.sleep(LOOK)


class Supervisor(object):
    """supervisord, by way of supervisorctl: what it says and not its exit code, which older ones always have 0."""

    def __init__(self, options, seconds):
        """`options`: of the command line; `seconds`: that each of its commands may take."""
        beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), 'supervisorctl')
        program = options.supervisorctl or (beside if os.access(beside, os.X_OK) else 'supervisorctl')
        self._command = [program] + (['-c', options.supervisord] if options.supervisord else [])
        self._name, self._seconds = options.name, seconds

    def run(self, *words):
        """Run it to its end -> what it said, native text. Raises Trouble if it cannot be run, or does not end."""
        with tempfile.TemporaryFile() as said:
            try:
                asked = subprocess.Popen(self._command + list(words), stdin=subprocess.PIPE, stdout=said,
                                         stderr=subprocess.STDOUT, close_fds=True)
            except (IOError, OSError) as error:
                raise Trouble('nothing was touched, for %s cannot be run: %s%s' % (
                    self._command[0], os.strerror(error.errno).lower(), NO_SUPERVISOR))
            asked.stdin.close()
            deadline = monotonic() + self._seconds
            while asked.poll() is None:
                if monotonic() > deadline:
                    asked.kill()        # supervisord is stopped, or waits for something by itself
                    asked.wait()
                    raise Trouble('no answer from supervisorctl %s within %d s' % (' '.join(words), self._seconds))
                time.sleep(LOOK / 5)
            said.seek(0)
            return to_native(said.read()).strip()

    def all(self):
        """All programs that it has, as Members."""
        return [Member(name, state, int(pid or 0)) for name, state, pid in _find_members(self.run('status'))]

    def members(self):
        """Those of our name that are meant to run: first who does not, so that who serves is touched only once one has
        come up. Raises Trouble if there are none."""
        ours = [member for member in self.all() if self._name in (member.name, member.name.partition(':')[0])]
        if not ours:
            raise Trouble('nothing was touched: supervisord has no %s. supervisorctl says:\n%s%s' % (
                self._name, self.run('status'), NO_SUPERVISOR))
        wanted = [member for member in ours if member.state != 'STOPPED']
        if not wanted:
            raise Trouble('nothing was touched: %s is stopped. supervisorctl start %s' % (self._name, ours[0].name))
        for member in ours:
            if member not in wanted:
                complain('%s is stopped, and stays so' % member.name)
        return sorted(wanted, key=lambda member: member.state == 'RUNNING')


COMMANDS = {'reload': reload, 'restart': restart}
