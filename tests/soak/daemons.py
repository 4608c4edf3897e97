"""The geproxy of a soak: one process, or two under a real supervisord, with the same methods."""
from __future__ import absolute_import, division, print_function

import contextlib
import glob
import os
import re
import signal
import socket

import gevent
from helpers import PATIENCE, read_all
from processes import CHECKOUT, Process, folder, read, write
from supervising import PLACES, supervised

HOUSE = ('[proxy]\nlisten = %s\n[access]\nconnect_ports = any\nrules =\n  deny any 127.66.0.1\n%s  allow any any\n'
         '[timeouts]\ndrain = %g\n%s[limits]\n%s[upstream]\nkeep_time = 300ms\n%s'
         '[log]\naccess = FOLDER/access.log\nformat = json\n[admin]\nlisten = unix:FOLDER/{pid}.sock\n')
PROBED = b'127.66.0.2'          # its port is closed; some of the ini files deny it
# Ini files for reloads: (rules, [timeouts], [limits], [upstream], true if the file is bad).
VARIANTS = (
    ('  deny any 127.66.0.2\n', 'idle = 60\n', 'connections = 500\nhead_size = 32k\n', 'keep = 8\n', False),
    ('', 'conect = 5\n', '', '', True),
    ('', '', 'per_client = 300\nrate = 100m\n', 'dns_keep = 10\n', False),
    ('  deny any any until never\n', '', '', '', True),
    ('  deny any GET,HEAD 127.66.0.2\n  deny any 127.66.0.2,.nowhere.test\n', 'head = 10\ntunnel = 10m\n', 'requests = 100000\n', '', False),
    ('  no rule at all\n', '', '', '', True),
)
NAME = 'geproxy:geproxy_%d'


def house(listen, drain, variant=('', '', '', '', False)):
    """Return the text of an ini file. `listen`: native text; `drain`: seconds; `variant`: one of VARIANTS."""
    rules, timeouts, limits, upstream, _bad = variant
    return HOUSE % (listen, rules, drain, timeouts, limits, upstream)


class Daemon(object):
    """Processes of geproxy. `here`: the folder of their files; `address`: where they listen."""

    def __init__(self, here, address, listen, ini, drain):
        self.here, self.address = here, address
        self._listen, self._ini, self._drain = listen, os.path.join(here, ini), drain
        self.rolling = False

    def pids(self):
        """Return their process ids, from the names of the sockets of [admin]."""
        return sorted(int(os.path.basename(path)[:-len('.sock')]) for path in glob.glob(os.path.join(self.here, '*.sock'))
                      if re.match(r'\d+\.sock\Z', os.path.basename(path)))

    def tell(self, number):
        """Send a signal to all of them. `number`: of the signal."""
        for pid in self.pids():
            os.kill(pid, number)

    def reload(self, variant):
        """Change the ini file, send SIGHUP, and wait for the answers in the error log. A bad file is taken away again."""
        good = read(self._ini)
        write(self._ini, house(self._listen, self._drain, variant).replace('FOLDER', self.here))
        done = br'SIGHUP: %s' % (b'nothing changed' if variant[-1] else br'\S+ read\n')
        self._answered(done, lambda: self.tell(signal.SIGHUP))
        if variant[-1]:
            write(self._ini, good)      # a restart would read the bad one

    def greenlets(self):
        """Return the number of greenlets in all of them."""
        self._answered(br'\] state: ', lambda: self.tell(signal.SIGUSR2))
        gevent.sleep(0.3)                   # the stacks follow after that line
        said, total = self.said(), 0
        for pid in self.pids():
            own = b''.join(re.findall(br'(?m)^.* geproxy\[%d\] (.*\n)' % pid, said))
            total += sum(int(count) for count in re.findall(br'(?m)^(\d+) greenlets?:', own.rpartition(b'state: ')[2]))
        return total

    def _answered(self, pattern, act):
        wanted = len(re.findall(pattern, self.said())) + len(self.pids())
        act()
        with gevent.Timeout(3 * PATIENCE, False):
            while len(re.findall(pattern, self.said())) < wanted:
                gevent.sleep(0.05)
            return
        raise AssertionError('no answer to a signal: %r is not in %r' % (pattern, self.said()[-2000:]))

    def metrics(self, pid):
        """Return the figures of one process: {name with labels: value}."""
        shown = _ask(os.path.join(self.here, '%d.sock' % pid))
        return dict((name, float(value)) for name, value in re.findall(r'(?m)^([^#\s]\S*) (\S+)$', shown))

    def look(self):
        """Return the figures of all processes, added up, as a dictionary."""
        all_of_them = [self.metrics(pid) for pid in self.pids()]

        def total(prefix):
            return sum(value for each in all_of_them for name, value in each.items() if name.startswith(prefix))
        return {'pids': self.pids(), 'fds': total('process_open_fds'), 'greenlets': self.greenlets(),
                'MiB': total('process_resident_memory_bytes') / (1 << 20),
                'requests': total('geproxy_requests_total'), 'dropped': total('geproxy_log_dropped_total'),
                'octets up': total('geproxy_bytes_total{side="client",direction="in"}'),
                'octets down': total('geproxy_bytes_total{side="client",direction="out"}')}

    def is_quiet(self):
        """Return true if no client is connected and no connection to an origin is kept."""
        figures = [self.metrics(pid) for pid in self.pids()]
        return not any(value for each in figures for name, value in each.items() if name.startswith(
            ('geproxy_connections{', 'geproxy_pool_idle_connections')))

    def cuts(self):
        """How many connections they said that they have cut at the end of a drain."""
        return sum(int(count) for count in re.findall(br'\] (\d+) connections? cut off\n', self.said()))

    def said(self):
        """Return their error logs, octets."""
        raise NotImplementedError


class Alone(Daemon):
    """One process."""

    def __init__(self, started, *arguments):
        Daemon.__init__(self, *arguments)
        self._started = started

    def said(self):
        return self._started.err


class Supervised(Daemon):
    """Two processes under supervisord, by the second form of conf/supervisord.conf."""

    def __init__(self, supervisor, *arguments):
        Daemon.__init__(self, *arguments)
        self._supervisor = supervisor

    def said(self):
        return b''.join(read(path) for path in sorted(glob.glob(os.path.join(self.here, 'geproxy_*.log*'))))

    def roll(self):
        """Restart both, one after the other, as the comments in conf/supervisord.conf say."""
        self.rolling = True
        try:
            for number in (0, 1):
                shown = self._supervisor.ctl('restart', NAME % number)
                if 'stopped' not in shown or 'started' not in shown:
                    raise AssertionError('supervisorctl restart: %s' % shown)
        finally:
            self.rolling = False


@contextlib.contextmanager
def alone(python, drain):
    """Run one process during a with block. `python`: path; `drain`: seconds."""
    with folder() as here:
        path = os.path.join(here, 'proxy.ini')
        write(path, house('127.0.0.1:0', drain).replace('FOLDER', here))
        started = Process([python, '-m', 'geproxy', '-c', path], cwd=CHECKOUT)
        try:
            port = int(started.wait_for(br'listening on \S+:(\d+)[ ,]').group(1))
            yield Alone(started, here, ('127.0.0.1', port), '127.0.0.1:%d' % port, 'proxy.ini', drain)
        finally:
            started.end()


@contextlib.contextmanager
def rolled(python, drain):
    """Run two processes under supervisord during a with block. `python`: path; `drain`: seconds."""
    where = find_supervisord()
    settle = (1, int(drain) + 5)        # startsecs 1 instead of the 5 in the file: faster
    with supervised(where, 'fcgi-program', ini=house('127.0.0.1:1', drain), settle=settle, python=python) as supervisor:
        for name in ('geproxy_0.log', 'geproxy_1.log'):
            supervisor.geproxy(1, name)
        supervisor.wait_for(br'success: geproxy_\d entered RUNNING', 'supervisord.log', 2)
        yield Supervised(supervisor, supervisor.here, supervisor.address, 'fd:0', 'fcgi.ini', drain)


def find_supervisord():
    """Return the folder with supervisord and supervisorctl, or None."""
    return next((PLACES[name] for name in ('python', 'distribution')
                 if os.path.exists(os.path.join(PLACES[name], 'supervisord'))), None)


def _ask(path):
    """Return /metrics at a socket, native text. `path`: of the socket."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(path)
        sock.sendall(b'GET /metrics HTTP/1.0\r\n\r\n')
        return read_all(sock).partition(b'\r\n\r\n')[2].decode('ascii')
    finally:
        sock.close()
