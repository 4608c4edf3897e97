"""Attack geproxy in many ways, and check that a normal client is still served and that all limits hold.

    python tests/soak/attack.py                         ten seconds without attack, then ten with all attacks
    python tests/soak/attack.py --seconds 60
    python tests/soak/attack.py --only 'tiny chunks up,empty lines'
    python tests/soak/attack.py --each                  one kind of attack after the other

A normal client sends requests on a kept connection, on new connections and through tunnels, at a modest pace: first
without attack, then under attack. Each line shows its times, and what the proxy used at most. The attack "silent names"
needs root, because it gives the proxy a name server of its own in a private mount namespace.

Exit code 0: the normal client got all its answers, and all limits held; 1: not so, see the lines. Loopback only, Linux
only. All processes that it has started are ended. The attackers run in a process of their own, with a lower priority
than the proxy.
"""
from __future__ import absolute_import, division, print_function

from gevent import monkey
monkey.patch_all()

import argparse         # noqa: E402
import collections      # noqa: E402
import contextlib       # noqa: E402
import json             # noqa: E402
import os               # noqa: E402
import re               # noqa: E402
import socket           # noqa: E402
import sys              # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
for each in (HERE, os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))):
    if each not in sys.path:
        sys.path.insert(0, each)

import gevent           # noqa: E402

import attackers        # noqa: E402
import origins          # noqa: E402
from encrypted import pem                   # noqa: E402
from geproxy.admin.client import Trouble     # noqa: E402
from geproxy.compat import monotonic        # noqa: E402
from helpers import read_until              # noqa: E402
from processes import PYTHON, folder, process, running, scraped, write      # noqa: E402

CONNECTIONS = 400       # [limits] connections
MEMORY = 200            # MiB; if geproxy needs more, a limit does not hold
INI = """
[access]
clients = 127.0.0.0/9
rules =
    deny any 127.66.0.1
    allow any any
[auth]
users = FOLDER/users
exempt = 127.0.0.0/16 127.7.0.0/21 127.7.8.0/22 127.7.13.0/24
[limits]
connections = %d
per_client = 100
[admin]
listen = unix:FOLDER/admin.sock
[log]
access = FOLDER/access.log
[tls]
certificate = %s
key = %s
""" % (CONNECTIONS, pem('proxy.test.pem'), pem('proxy.test.key'))
USERS = 'joe:$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0\n'
SILENT = '127.53.53.54'         # no name server listens here
PATIENCE = 20                   # seconds; an answer that takes longer counts as lost
PACES = (('kept', 0.01), ('new', 0.05), ('tunnel', 0.1))        # (scene, seconds between two requests)

Look = collections.namedtuple('Look', 'times lost why mib fds connections cpu')


class Client(object):
    """The normal client. `times`: {scene: [seconds of each request]}; `lost`: requests without answer; `why`: of the last."""

    def __init__(self, proxy, web, echo):
        self._proxy, self._web, self._echo = proxy, web, echo
        self.times = collections.defaultdict(list)
        self.lost, self.why = 0, ''
        self._kept = None

    def run(self, seconds):
        """Send requests for so many seconds, in all scenes at the same time."""
        scenes = [gevent.spawn(self._repeat, name, pace, monotonic() + seconds) for name, pace in PACES]
        gevent.joinall(scenes)
        if self._kept is not None:
            self._kept.close()

    def _repeat(self, name, pace, end):
        while monotonic() < end:
            began = monotonic()
            try:
                with gevent.Timeout(PATIENCE, socket.timeout('no answer')):
                    getattr(self, '_' + name + '_scene')()
                self.times[name].append(monotonic() - began)
            except (socket.error, AssertionError) as error:
                self.lost += 1
                self.why = '%s: %s' % (name, error)
            gevent.sleep(max(0, pace - (monotonic() - began)))

    def _kept_scene(self):
        if self._kept is None:
            self._kept = self._connect()
        try:
            self._get(self._kept, b'')
        except (socket.error, AssertionError):
            self._kept.close()
            self._kept = None
            raise

    def _new_scene(self):
        with contextlib.closing(self._connect()) as sock:
            self._get(sock, b'Connection: close\r\n')

    def _tunnel_scene(self):
        with contextlib.closing(self._connect()) as sock:
            sock.sendall(b'CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n' % self._echo)
            head = read_until(sock, b'\r\n\r\n')
            assert head.startswith(b'HTTP/1.1 200 '), head
            sock.sendall(b'echo')
            assert read_until(sock, b'echo') == b'echo'

    def _connect(self):
        return socket.create_connection(self._proxy, PATIENCE, ('127.0.0.1', 0))

    def _get(self, sock, more):
        sock.sendall(b'GET http://127.0.0.1:%d/short/x HTTP/1.1\r\nHost: x\r\n%s\r\n' % (self._web, more))
        answer = read_until(sock, origins.SHORT)
        assert answer.startswith(b'HTTP/1.1 200 ') and answer.endswith(origins.SHORT), answer[:200]


def main(arguments=None):
    """Run the command line and return the exit code. `arguments`: native texts; None for those of this process."""
    options = _parser().parse_args(arguments)
    if options.attackers:
        return _attack(json.loads(options.attackers))
    names = [kind.name for kind in attackers.KINDS]
    if options.only:
        names = [name for name in names if name in options.only.split(',')]
    origin = origins.Origin()
    try:
        with folder() as here, _serving(here, options.python) as (proxy, by):
            if not by and 'silent names' in names:
                names.remove('silent names')
                print('left out: silent names (this attack needs root)')
            quiet = _look(proxy, origin, options.seconds, None)
            print('%-22s %s' % ('without attack', _row(quiet, quiet)))
            good = True
            for group in [[name] for name in names] if options.each else [names]:
                found = _look(proxy, origin, options.seconds, group)
                print('%-22s %s' % (group[0] if len(group) == 1 else 'all attacks at once', _row(found, quiet)))
                good = _holds(found) and good
            return 0 if good else 1
    finally:
        origin.stop()


def _parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=10, metavar='N', help='seconds without attack, and of each attack (default: %(default)s)')
    parser.add_argument('--only', metavar='NAMES', help='only these kinds of attack, with commas: %s' % ', '.join(
        kind.name for kind in attackers.KINDS))
    parser.add_argument('--each', action='store_true', help='one kind of attack after the other, instead of all at once')
    parser.add_argument('--python', default=sys.executable, metavar='PATH', help='the Python that runs geproxy (default: this one)')
    parser.add_argument('--attackers', help=argparse.SUPPRESS)
    return parser


def _attack(job):
    """Run the attackers, in a process of their own. `job`: a dictionary with proxy, names and seconds."""
    os.nice(10)
    origin = attackers.Origin()
    try:
        made = attackers.attack(attackers.Target(tuple(job['proxy']), origin.port), job['names'], job['seconds'])
        print(json.dumps(made))
    finally:
        origin.stop()
    return 0


@contextlib.contextmanager
def _serving(here, python):
    """Run geproxy during a with block: (the process, true if it has a silent name server)."""
    write(os.path.join(here, 'users'), USERS)
    write(os.path.join(here, 'resolv.conf'), 'nameserver %s\noptions timeout:2 attempts:1\n' % SILENT)
    by = ['unshare', '-m', '/bin/sh', '-c', 'mount --bind %s/resolv.conf /etc/resolv.conf && exec "$@"' % here, 'sh']
    if os.getuid() != 0:
        by = []
    with running(INI.replace('FOLDER/users', os.path.join(here, 'users')), by=by) as proxy:
        yield proxy, bool(by)


def _look(proxy, origin, seconds, names):
    """Let the client work for so many seconds while these kinds attack. Return a Look. `names`: None for no attack."""
    client = Client(proxy.address, origin.web, origin.echo)
    peaks = collections.Counter()
    watching = gevent.spawn(_watch, proxy, peaks)
    before = _cpu(proxy)
    began = monotonic()
    try:
        if names is None:
            client.run(seconds)
        else:
            job = json.dumps({'proxy': proxy.address, 'names': names, 'seconds': seconds + 3})
            with process(PYTHON + [os.path.abspath(__file__), '--attackers', job]) as others:
                gevent.sleep(1.5)               # until all attackers have started
                client.run(seconds)
                others.wait(60)
    finally:
        watching.kill()
    return Look(client.times, client.lost, client.why, peaks['mib'], peaks['fds'], peaks['connections'],
                (_cpu(proxy) - before) / (monotonic() - began))


def _watch(proxy, peaks):
    """Read the figures of the proxy again and again, and keep the highest in `peaks`. Never returns."""
    while True:
        try:
            figures = dict((name, float(value)) for name, value in re.findall(r'(?m)^([^#\s]\S*) (\S+)$', scraped(proxy)))
        except Trouble:
            figures = {}                        # too busy to answer; the next try comes soon
        peaks['mib'] = max(peaks['mib'], figures.get('process_resident_memory_bytes', 0) / 2.0 ** 20)
        peaks['fds'] = max(peaks['fds'], figures.get('process_open_fds', 0))
        peaks['connections'] = max(peaks['connections'], sum(
            value for name, value in figures.items() if name.startswith('geproxy_connections{')))
        gevent.sleep(0.5)


def _cpu(proxy):
    with open('/proc/%d/stat' % proxy.pid) as opened:
        fields = opened.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf('SC_CLK_TCK'))


def _row(found, quiet):
    texts = []
    for name, _pace in PACES:
        times, calm = sorted(found.times[name]) or [0.0], sorted(quiet.times[name]) or [0.0]
        p99 = times[len(times) * 99 // 100]
        texts.append('%s p50 %.2f p99 %.2f ms (%.1f times)' % (
            name, 1000 * times[len(times) // 2], 1000 * p99, p99 / max(1e-9, calm[len(calm) * 99 // 100])))
    return '%s; lost %d%s; %.0f MiB, %d fds, %d connections, %.0f %% CPU' % (
        '; '.join(texts), found.lost, found.why and ' (%s)' % found.why, found.mib, found.fds, found.connections, 100 * found.cpu)


def _holds(found):
    return not found.lost and found.connections <= CONNECTIONS and found.mib <= MEMORY


if __name__ == '__main__':
    sys.exit(main())
