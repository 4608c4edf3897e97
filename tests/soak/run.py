"""Run geproxy under a steady, mixed load, and check that no request is lost and that nothing grows.

    python tests/soak/run.py                            ten minutes of load, reloads and log rotations
    python tests/soak/run.py --reloads 50 --rolls 20    with rolling restarts under supervisord
    python tests/soak/run.py --hours 8                  over night

The load: short requests on kept and new connections, long downloads, uploads (with Content-Length and in chunks),
tunnels, clients that leave, origins that die, garbage, refused requests. Meanwhile: SIGHUP with good and bad files,
SIGUSR1, /metrics. With --rolls, two processes run under a real supervisord, as in the second form of
conf/supervisord.conf, and some downloads last longer than any drain.

At the end, each exchange must be in the access log exactly once, with the octets that its client has counted. File
descriptors, greenlets and memory must be as after the warm-up, and the counters must agree with the log.

Exit code 0: nothing was lost and nothing grew; 1: the last lines name the problems. Loopback only, Linux only. All
processes that it has started are ended.
"""
from __future__ import absolute_import, division, print_function

from gevent import monkey
monkey.patch_all()

import argparse     # noqa: E402
import os           # noqa: E402
import signal       # noqa: E402
import socket       # noqa: E402
import sys          # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
for each in (HERE, os.path.dirname(HERE), os.path.dirname(os.path.dirname(HERE))):
    if each not in sys.path:
        sys.path.insert(0, each)

import gevent       # noqa: E402

import checks       # noqa: E402
import daemons      # noqa: E402
import loads        # noqa: E402
from geproxy.compat import monotonic, signal_handler    # noqa: E402
from origins import Origin          # noqa: E402

GLANCE = 0.2            # seconds between two reads of the log
SCRAPES = 2.0           # seconds between two scrapes of /metrics
PATIENCE_FOR_LOGS = 10  # seconds for geproxy to open a new log after a rotation


def main(arguments=None):
    """Run the command line and return the exit code. `arguments`: native texts; None for those of this process."""
    options = _parser().parse_args(arguments)
    if options.hours:
        options.seconds = options.hours * 3600
    if options.rolls and not daemons.find_supervisord():
        sys.exit('soak: --rolls needs supervisord. Try: python -m pip install supervisor')
    this = gevent.getcurrent()
    signal_handler(signal.SIGTERM, lambda: gevent.get_hub().loop.run_callback(
        this.throw, SystemExit('soak: ended by SIGTERM')))      # so that every `finally` is run
    origin = Origin()
    try:
        start = daemons.rolled if options.rolls else daemons.alone
        with start(options.python, options.drain) as daemon:
            soak = Soak(options, daemon, origin)
            soak.run()
            print(soak.report())
            return 1 if soak.books.problems else 0
    finally:
        origin.stop()


def _parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=600, metavar='N', help='seconds of load (default: %(default)s)')
    parser.add_argument('--hours', type=float, metavar='N', help='hours of load, instead of --seconds')
    parser.add_argument('--reloads', type=int, default=20, metavar='N', help='number of SIGHUPs; every second ini file is bad (default: %(default)s)')
    parser.add_argument('--rolls', type=int, default=0, metavar='N', help='number of rolling restarts of two processes under supervisord (default: 0)')
    parser.add_argument('--rotations', type=int, default=10, metavar='N', help='number of rotations of the access log, by SIGUSR1 (default: %(default)s)')
    parser.add_argument('--drain', type=float, default=8, metavar='S', help='[timeouts] drain in seconds; long exchanges take a third of it (default: %(default)s)')
    parser.add_argument('--memory', type=float, default=checks.ROOM['MiB'], metavar='MiB',
                        help='memory by which a process may grow (default: %(default)s)')
    parser.add_argument('--settle', type=float, default=15, metavar='S',
                        help='seconds, at most, for connections to end and the log to be complete (default: %(default)s)')
    parser.add_argument('--python', default=sys.executable, metavar='PATH', help='the Python that runs geproxy (default: this one)')
    return parser


class Soak(object):
    """One run and its results. `options`: parsed arguments; `daemon`: a daemons.Daemon; `origin`: an Origin."""

    def __init__(self, options, daemon, origin):
        self.options, self.daemon = options, daemon
        self.books = checks.Books()
        self._log = checks.LogFiles(os.path.join(daemon.here, 'access.log'), self.books.log)
        scale = max(0.5, options.drain / 3)
        self._load = loads.Load(daemon.address, origin, self.books, scale, options.rolls)
        self._warm_up = 2 * scale if options.seconds < 60 else 30
        self.done = dict.fromkeys(('reloads', 'rolls', 'rotations', 'scrapes'), 0)
        self.took = 0.0
        self.rows = []

    def run(self):
        """Warm up, take figures, put the load on, take figures again, and compare."""
        helpers = [gevent.spawn(self._follow)]
        try:
            self._load.start()
            gevent.sleep(self._warm_up)
            before = self._rest()
            helpers.append(gevent.spawn(self._scrape))
            began = monotonic()
            self._load.start()
            self._disturb(began)
            self.took = monotonic() - began
            gevent.kill(helpers.pop())
            after = self._rest(before)
        finally:
            self._load.stop()
            gevent.killall(helpers)
        self.books.close()
        self.rows = checks.compare(self.books, before, after, dict(checks.ROOM, MiB=self.options.memory))
        self._check_what_it_said(after)

    def _rest(self, before=None):
        """Wait until all exchanges have ended. Return the figures then. `before`: figures that they should return to."""
        self._load.stop()
        books, deadline = self.books, monotonic() + self.options.settle
        while monotonic() < deadline and not (self.daemon.is_quiet() and not books.open()):
            gevent.sleep(GLANCE)
        figures = self.daemon.look()
        while before and monotonic() < deadline and any(
                figures[name] > before[name] + checks.ROOM[name] for name in ('fds', 'greenlets')):
            gevent.sleep(GLANCE)
            figures = self.daemon.look()
        self._log.read()
        return dict(figures, logged=dict(books.logged))

    def _disturb(self, began):
        """Do all reloads, restarts and rotations, evenly spread over the time. `began`: in monotonic seconds."""
        options = self.options
        acts = sorted(((number + 0.5) / count, what, number) for what, count in (
            ('reloads', options.reloads), ('rolls', options.rolls), ('rotations', options.rotations))
            for number in range(count))
        for share, what, number in acts:
            gevent.sleep(max(0, began + share * options.seconds - monotonic()))
            getattr(self, '_' + what)(number)
            self.done[what] += 1
        gevent.sleep(max(1, began + options.seconds - monotonic()))

    def _reloads(self, number):
        variant = daemons.VARIANTS[number % len(daemons.VARIANTS)]
        self.daemon.reload(variant)
        if not variant[-1]:             # the new file must hold now. The probed port is closed, so an allowed request gets 502
            self._load.probe(daemons.PROBED, 403 if daemons.PROBED.decode('ascii') in variant[0] else 502)

    def _rolls(self, _number):
        self.daemon.roll()

    def _rotations(self, _number):
        path = os.path.join(self.daemon.here, 'access.log')
        self._log.rotate()
        self.daemon.tell(signal.SIGUSR1)
        with gevent.Timeout(PATIENCE_FOR_LOGS, AssertionError('no new access log after SIGUSR1')):
            while not os.path.exists(path):
                gevent.sleep(0.02)

    def _follow(self):
        while True:
            self._log.read()
            gevent.sleep(GLANCE)

    def _scrape(self):
        while True:
            for pid in self.daemon.pids():
                try:
                    self.daemon.metrics(pid)
                    self.done['scrapes'] += 1
                except (socket.error, KeyError) as error:
                    if not self.daemon.rolling:
                        self.books.problem('/metrics: %s' % error)
            gevent.sleep(SCRAPES)

    def _check_what_it_said(self, after):
        if after['dropped']:
            self.books.problem('%d log lines were dropped' % after['dropped'])
        for sign in (b'Traceback', b'please report it'):
            count = self.daemon.said().count(sign)
            if count:
                self.books.problem('the error log contains %r %d times' % (sign, count))
        if self.daemon.cuts() != self.books.drained:
            self.books.problem('%d connections cut by the error log, but %d by the access log' % (
                self.daemon.cuts(), self.books.drained))

    def report(self):
        """Return what was done, what failed and what grew, as text."""
        books, done = self.books, self.done
        lines = ['%.0f s, %d reloads, %d rolls of two processes, %d log rotations, %d scrapes of /metrics' % (
            self.took, done['reloads'], done['rolls'], done['rotations'], done['scrapes']), '',
            '%-10s' % 'exchanges' + ''.join('%9s' % outcome for outcome in checks.OUTCOMES)]
        for kind in sorted(set(kind for kind, _outcome in books.counts)) + ['all']:
            lines.append('%-10s' % kind + ''.join('%9d' % (
                books.of(outcome) if kind == 'all' else books.counts[kind, outcome]) for outcome in checks.OUTCOMES))
        lines += ['', 'lines of the log that agree with the client: %d of %d' % (books.agreed, books.logged['lines']),
                  'octets of good exchanges: %(up)d up, %(down)d down' % books.octets,
                  'kept connections: %d closed with Connection: close, %d closed without it' % (
                      self._load.asked_to_close, self._load.closed_idle),
                  'exchanges cut at the end of a drain: %d' % books.drained, '',
                  '%-30s%15s%15s' % ('', 'before', 'after')]
        lines += ['%-30s%15.12g%15.12g' % (name, round(old, 1), round(new, 1)) for name, old, new in self.rows]
        lines += ['', 'problems: %d' % (len(books.problems) + books.more)] + ['  ' + text for text in books.problems]
        return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
