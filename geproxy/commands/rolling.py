"""``python -m geproxy reload`` and ``restart``: put a new ini file or version into service without a gap.

Both check first and change afterwards. They start no process themselves: supervisord does.
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
from geproxy.commands.admin_commands import FAILED, ask_all, complain, parser, plain, run
from geproxy.compat import monotonic, to_native
from geproxy.observe.formats import show_seconds
from geproxy.settings import loading, option_types

IN_THE_MIDDLE = 3       # exit code: some processes were restarted, one did not come up, the others were not touched
PATIENCE = 30.0         # seconds for a process to be ready after supervisord calls it RUNNING
SILENCE = 60.0          # seconds that a supervisorctl may take beside `drain`: it waits for stopwaitsecs and startsecs
LOOK = 0.1              # seconds between two looks

BY_SIGNAL = """
To reload without an admin listener: kill -HUP PID, or supervisorctl signal HUP NAME. The error log tells what changed.
To compare two files without any process: geproxy --check NEW --against OLD"""
NO_SUPERVISOR = """
If systemd runs geproxy on this host: systemctl restart geproxy"""

# A process of supervisord. `state`: RUNNING, STOPPED, FATAL ...; `pid`: 0 if it has none.
Member = collections.namedtuple('Member', 'name state pid')
_find_members = re.compile(r'(?m)^(\S+) +([A-Z]+)\b(?: +pid (\d+))?').findall


# --- reload

def reload(arguments):
    """Run ``geproxy reload`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('reload', 'Make running processes read their ini file again, and show what changes in each of '
                     'them. If one finds a mistake in its file, none changes anything. Exit code 0: done, 1: nothing '
                     'was changed, 2: wrong usage.')
    options.add_argument('--dry-run', action='store_true', help='change nothing: only check the file and show what '
                         'would change')
    return run(_reload, options, arguments)


def _reload(options):
    try:
        found = _ask_to_reload(options, b'/-/reload?dry-run')
        good = all(each['good'] for each in found)
        if good and not options.dry_run:
            found = _ask_to_reload(options, b'/-/reload')
    except loading.ConfigError as error:
        raise Trouble('nothing changed, because of mistakes in the file:\n%s' % error)
    except Trouble as error:
        raise Trouble('%s%s' % (error, BY_SIGNAL))
    for pids, outcome in _by_outcome(found):
        who = ', '.join('%d' % pid for pid in pids)
        lines = [plain(line) for text in outcome['lines'] for line in text.split('\n')]
        if outcome['good'] and not options.dry_run and good:
            print('%s: %s' % (who, '\n  '.join([lines[-1]] + lines[:-1])))
        elif outcome['good']:
            print('%s: %s' % (who, '\n  '.join(['would change'] + lines) if lines else 'no changes'))
        else:
            complain('%s: %s' % (who, '\n'.join(lines)))
    return 0 if all(each['good'] for each in found) else FAILED


def _ask_to_reload(options, path):
    """Send a request to all processes. Return their answers: [{pid, path, good, lines}]. `path`: octets."""
    answers = ask_all(options, b'POST', path)
    check([answer for answer in answers if answer[1] != 409])       # 409: the file is bad, and the lines say why
    return [json.loads(line) for _place, _status, lines in answers for line in lines]


def _by_outcome(found):
    """Return [(pids, answer)]: processes that gave the same answer are one entry. `found`: as of _ask_to_reload."""
    groups = collections.OrderedDict()
    for each in found:
        groups.setdefault((each['good'], tuple(each['lines'])), (each, []))[1].append(each['pid'])
    return [(pids, each) for each, pids in groups.values()]


# --- restart

def restart(arguments):
    """Run ``geproxy restart`` and return the exit code. `arguments`: native texts, the name of the command first."""
    options = parser('restart', 'Restart the geproxy processes of supervisord, one after the other. The next one is '
                     'restarted only when the one before is ready. Exit code 0: done, 1: nothing was touched, 2: wrong '
                     'usage, 3: one process did not come up, and the ones after it were not touched.')
    options.add_argument('name', metavar='NAME', nargs='?', default='geproxy',
                         help='name of the program in the configuration of supervisord (default: geproxy)')
    options.add_argument('--supervisord', metavar='FILE', help='configuration of supervisord, if supervisorctl does '
                         'not find it')
    options.add_argument('--supervisorctl', metavar='PROGRAM', help='supervisorctl, if it is not beside this Python '
                         'and not in PATH')
    options.add_argument('--wait', metavar='TIME', type=option_types.duration, default=PATIENCE,
                         help='time for each process to be ready (default: %ds)' % PATIENCE)
    return run(_restart, options, arguments)


def _restart(options):
    if not options.config:
        raise ValueError('restart needs -c FILE: it checks that file before it restarts anything')
    try:
        settings = loading.load(options.config)
    except loading.ConfigError as error:
        raise Trouble('nothing was touched, because of mistakes in the file:\n%s' % error)
    except EnvironmentError as error:
        raise Trouble('nothing was touched: %s: %s' % (options.config, error.strerror))
    wanted = patterns(options.admin, options.config) if options.admin or settings.admin.listen else []
    supervisor = Supervisor(options, settings.timeouts.drain + SILENCE)
    members = supervisor.members()
    if len(members) == 1:
        complain('there is only one process: clients are refused while it restarts, unless supervisord holds its port '
                 '(fcgi-program)')
    if not wanted:
        complain('without [admin] listen, a process cannot be asked whether it is ready: supervisord decides that')
    while members:
        member = members.pop(0)
        try:
            why = _roll(supervisor, member, wanted, options.wait)
        except Trouble as error:        # by now the process was touched
            why = str(error)
        if why:
            complain('%s did not come up: %s\nnot touched: %s' % (
                member.name, why, ', '.join(each.name for each in members) or 'none, it was the last one'))
            return IN_THE_MIDDLE
    return 0


def _roll(supervisor, member, wanted, seconds):
    """Restart a Member and wait until it is ready. Return why it is not, or ''.

    `wanted`: where processes are asked, as of admin.client.patterns; `seconds`: for it to be ready.
    """
    began = monotonic()
    said = supervisor.run('restart', member.name)
    now = next((each for each in supervisor.all() if each.name == member.name), None)
    if now is None or now.state != 'RUNNING' or now.pid in (0, member.pid):
        return ' '.join(said.split('\n')[-1:] + ['(see: supervisorctl tail %s)' % member.name])
    place = address_of(now.pid, wanted)
    why = '' if place is None else _wait_ready(place, monotonic() + seconds)
    if not why:
        print('%s: %s -> %d, %s after %s' % (
            member.name, member.pid or 'down', now.pid, 'ready' if place else 'up', show_seconds(monotonic() - began)))
        sys.stdout.flush()
    return why


def _wait_ready(place, deadline):
    """Wait until a process is ready. Return '', or why it is not at `deadline` (monotonic seconds)."""
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
    """supervisord, asked through supervisorctl. Its output counts, not its exit code: old versions always return 0."""

    def __init__(self, options, seconds):
        """Find supervisorctl. `options`: the parsed arguments; `seconds`: time that each of its commands may take."""
        beside = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), 'supervisorctl')
        program = options.supervisorctl or (beside if os.access(beside, os.X_OK) else 'supervisorctl')
        self._command = [program] + (['-c', options.supervisord] if options.supervisord else [])
        self._name, self._seconds = options.name, seconds

    def run(self, *words):
        """Run supervisorctl with these words and return its output, native text.

        Raises Trouble if it cannot be run, or does not end in time.
        """
        with tempfile.TemporaryFile() as said:
            try:
                asked = subprocess.Popen(self._command + list(words), stdin=subprocess.PIPE, stdout=said,
                                         stderr=subprocess.STDOUT, close_fds=True)
            except (IOError, OSError) as error:
                raise Trouble('nothing was touched: cannot run %s: %s%s' % (
                    self._command[0], os.strerror(error.errno).lower(), NO_SUPERVISOR))
            asked.stdin.close()
            deadline = monotonic() + self._seconds
            while asked.poll() is None:
                if monotonic() > deadline:
                    asked.kill()        # supervisord is stopped, or waits for something else
                    asked.wait()
                    raise Trouble('no answer from supervisorctl %s within %d s' % (' '.join(words), self._seconds))
                time.sleep(LOOK / 5)
            said.seek(0)
            return to_native(said.read()).strip()

    def all(self):
        """Return all processes of supervisord, as a list of Members."""
        return [Member(name, state, int(pid or 0)) for name, state, pid in _find_members(self.run('status'))]

    def members(self):
        """Return the Members to restart: those of our name that are not STOPPED. Raises Trouble if there are none.

        Processes that are down come first. So a process that serves is restarted only after another one came up.
        """
        ours = [member for member in self.all() if self._name in (member.name, member.name.partition(':')[0])]
        if not ours:
            raise Trouble('nothing was touched: supervisord has no program %s. supervisorctl says:\n%s%s' % (
                self._name, self.run('status'), NO_SUPERVISOR))
        wanted = [member for member in ours if member.state != 'STOPPED']
        if not wanted:
            raise Trouble('nothing was touched: %s is stopped. To start it: supervisorctl start %s' % (
                self._name, ours[0].name))
        for member in ours:
            if member not in wanted:
                complain('%s is stopped and stays stopped' % member.name)
        return sorted(wanted, key=lambda member: member.state == 'RUNNING')


COMMANDS = {'reload': reload, 'restart': restart}
