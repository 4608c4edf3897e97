"""Measure how much processor time geproxy and other proxies need for the same work.

    python tests/bench/run.py                       all proxies that are installed here, 3 rounds
    python tests/bench/run.py --quick               a first look
    python tests/bench/run.py --against HEAD~1      compare this checkout with another revision
    python tests/bench/run.py --profile kept        show which functions take the time

Each proxy is started anew for each scene, and only one runs at a time. Rounds are interleaved, so that a busy minute of
the host affects all proxies. Compare only figures of one run. Needs nginx (it is the origin) and wrk. The other proxies
must be installed, but not running. Linux only, loopback only.
"""
from __future__ import absolute_import, division, print_function

import argparse
import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile

import curves
import peers
import profiler
import report
import scenes
from origin import Origin
from program import Failed, ask, find

OCTETS = 1 << 30                # of a large body
QUICK_OCTETS = 1 << 28
IDLE = 1000                     # connections


def main(arguments=None):
    """Run the command line and return the exit code. `arguments`: native texts; None for those of this process."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('bench: told to stop'))       # by way of every `finally`
    try:
        _check(options)
        with _folder() as folder, _candidates(options, folder) as (found, missing):
            work = Work(options, Origin(folder, OCTETS), folder)
            try:
                if options.profile:
                    print(work.profile(found[0]))
                    return 0
                document = work.curves(found) if options.curves else work.compare(found)
            finally:
                work.origin.stop()
    except Failed as error:
        sys.exit('bench: %s' % error)
    document.update(report.circumstances(found, missing, options, _machine()))
    if options.json:
        report.write_json(document, options.json)
    print(report.text(document))
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [scene.name for scene in scenes.SCENES]
    parser.add_argument('--scenes', metavar='NAMES', default=','.join(names),
                        help='scenes to run, with commas (default: all, %(default)s)')
    parser.add_argument('--peers', metavar='NAMES', help='other proxies, with commas; none: geproxy alone '
                        '(default: all, %s)' % ','.join(peers.NAMES))
    parser.add_argument('--rounds', type=int, default=3, metavar='N',
                        help='times that each scene is run (default: 3)')
    parser.add_argument('--seconds', type=float, default=3, metavar='S',
                        help='time of load for each scene, in seconds (default: 3)')
    parser.add_argument('--quick', action='store_true', help='one round, one second, bodies of 256 MiB')
    parser.add_argument('--python', action='append', metavar='PATH',
                        help='the Python that runs geproxy; give it several times to compare (default: this one)')
    parser.add_argument('--against', metavar='REV', help='measure this git revision of geproxy, too')
    parser.add_argument('--curves', metavar='NAMES', nargs='?', const=','.join(curve.name for curve in curves.CURVES),
                        help='instead of scenes, measure how the cost grows: %(const)s (with --peers: of these, too)')
    parser.add_argument('--profile', metavar='SCENE', help='show where the time of one scene goes (needs py-spy)')
    parser.add_argument('--raw', metavar='FILE', help='write the stacks of --profile to FILE, for a flame graph')
    parser.add_argument('--json', metavar='FILE', help='write all figures of all rounds to FILE')
    return parser


def _check(options):
    if options.quick:
        options.rounds, options.seconds = 1, 1
    options.scenes = _chosen(options.scenes, [scene.name for scene in scenes.SCENES], 'scene')
    if options.curves:
        options.curves = _chosen(options.curves, [curve.name for curve in curves.CURVES], 'curve')
    alone = options.peers == 'none' or options.profile or options.curves and not options.peers
    options.peers = [] if alone else _chosen(options.peers or ','.join(peers.NAMES), peers.NAMES, 'peer')
    if not find('wrk'):
        raise Failed('wrk is not installed. Try: apt-get install wrk')


def _chosen(text, known, what):
    names = text.split(',')
    for name in names:
        if name not in known:
            raise Failed('unknown %s %s: expected one of %s' % (what, name, ', '.join(known)))
    return names


@contextlib.contextmanager
def _folder():
    folder = tempfile.mkdtemp(prefix='geproxy-bench-')
    os.chmod(folder, 0o755)             # some proxies change their user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _candidates(options, folder):
    """For a with block: ([Peer] to measure, names of proxies that are not installed)."""
    pythons = options.python or [sys.executable]
    checkout = os.path.join(folder, 'against')
    found = []
    for python in pythons:
        version = ask([python, '-c', 'import sys; print("%d.%d" % sys.version_info[:2])']).strip()
        found.append(peers.geproxy('geproxy' if python is pythons[0] else 'geproxy, %s' % version, python, peers.TOP))
    try:
        if options.against:
            _git('worktree', 'add', '--detach', checkout, options.against)
            found.append(peers.geproxy('geproxy@' + options.against, pythons[0], checkout))
        others, missing = peers.others(options.peers, pythons[0])
        yield found + others, missing
    finally:
        if options.against:
            shutil.rmtree(checkout, ignore_errors=True)
            _git('worktree', 'prune')


def _git(*arguments):
    if subprocess.call(['git', '-C', peers.TOP] + list(arguments), stdout=sys.stderr):
        raise Failed('this git command failed: git %s' % ' '.join(arguments))


class Work(object):
    """Runs scenes and curves with proxies. `options`: parsed arguments; `origin`: an Origin; `folder`: for files."""

    def __init__(self, options, origin, folder):
        self.options, self.origin, self._folder = options, origin, folder

    def compare(self, found):
        """Run all scenes with all peers. Return a document for report. `found`: [Peer]."""
        results = {}
        chosen = [scene for scene in scenes.SCENES if scene.name in self.options.scenes]
        for number, scene, peer in self._turns(chosen, found):
            outcome = scenes.UNABLE
            if scene.name not in peer.unable and scene.way in peer.ways:
                outcome = self._with(peer, scene.run, _more(scene))
            results.setdefault((scene.name, peer.name), []).append(outcome)
            _say(number, scene.name, peer, outcome)
        return {'rows': report.rows(chosen, results, found)}

    def curves(self, found):
        """Run all curves with all peers. Return a document for report. `found`: [Peer]."""
        results = {}
        chosen = [curve for curve in curves.CURVES if curve.name in self.options.curves]
        for number, curve, peer in self._turns(chosen, found):
            if curve.start and not peer.name.startswith('geproxy'):
                continue
            for point in curve.points:
                outcome = self._with(peer, lambda bench: curve.run(bench, point), curve.start and curve.start(point))
                results.setdefault((curve.name, peer.name, point), []).append(outcome)
                _say(number, '%s %d' % (curve.name, point), peer, outcome)
        return {'curves': report.points(chosen, results, found)}

    def profile(self, peer):
        """Run one scene under a profiler. Return its report, native text. `peer`: the geproxy."""
        scene = next((scene for scene in scenes.SCENES if scene.name == self.options.profile), None)
        if scene is None or scene.figures[0][0] != 'cpu':
            raise Failed('cannot profile %s: expected a scene that measures processor time' % self.options.profile)
        python = (self.options.python or [sys.executable])[0]
        raw = self.options.raw or os.path.join(self._folder, 'stacks.raw')
        outcome = self._with(peer, lambda bench: {'text': profiler.profile(scene, bench, python, raw)}, _more(scene))
        if not isinstance(outcome, dict):
            raise Failed(outcome)
        return outcome['text']

    def _turns(self, what, found):
        """Return (round, one of `what`, peer) in the order of measuring."""
        for number in range(self.options.rounds):
            for one in what:
                # Another one is first in each round.
                for peer in found[number % len(found):] + found[:number % len(found)]:
                    yield number, one, peer

    def _with(self, peer, run, more=None):
        """Start a peer, call `run` with a Bench, stop the peer. Return what `run` returns, or a text: why it failed."""
        own = tempfile.mkdtemp(dir=self._folder)
        os.chmod(own, 0o777)
        proxy = None
        try:
            proxy = peer.start(own, self.origin, **(more or {}))
            octets = QUICK_OCTETS if self.options.quick else OCTETS
            return run(scenes.Bench(proxy, self.origin, self.options.seconds, octets, IDLE, own))
        except Failed as error:
            return str(error)
        finally:
            if proxy is not None:
                proxy.stop()
            shutil.rmtree(own, ignore_errors=True)


def _more(scene):
    """Return more arguments for Peer.start. `scene`: a Scene."""
    return {'way': scene.way} if scene.way else {}


def _say(number, what, peer, outcome):
    sys.stderr.write('round %d  %-14s %-16s %s\n' % (number + 1, what, peer.name, report.show_outcome(outcome)))


def _machine():
    model = 'unknown processor'
    with open('/proc/cpuinfo') as opened:
        for line in opened:
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
    return '%d x %s, %s %s' % (os.sysconf('SC_NPROCESSORS_ONLN'), model, platform.system(), platform.release())


if __name__ == '__main__':
    sys.exit(main())
