"""geproxy beside other proxies: what each costs for the same work. Linux only; loopback only.

    python tests/bench/run.py                       all that is installed here, 3 rounds
    python tests/bench/run.py --quick               a first look
    python tests/bench/run.py --against HEAD~1      what a change has brought
    python tests/bench/run.py --profile kept        where the microseconds go

One proxy at a time, freshly started for each scene; rounds are interleaved, so that a busy minute of the host hits all.
Compare figures of one run only. Needs nginx (the origin) and wrk; what is compared must be installed, not running.
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
    """Do what the command line says; the exit code."""
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
    parser.add_argument('--scenes', metavar='NAMES', default=','.join(names), help='of %(default)s')
    parser.add_argument('--peers', metavar='NAMES', help='of %s (default: all); or none, for geproxy alone' % (
        ','.join(peers.NAMES)))
    parser.add_argument('--rounds', type=int, default=3, metavar='N')
    parser.add_argument('--seconds', type=float, default=3, metavar='S', help='of load for each scene')
    parser.add_argument('--quick', action='store_true', help='one round, one second, bodies of 256 MiB')
    parser.add_argument('--python', action='append', metavar='PATH',
                        help='the Python that runs geproxy; may be given several times (default: this one)')
    parser.add_argument('--against', metavar='REV', help='compare with that revision of geproxy, too')
    parser.add_argument('--curves', metavar='NAMES', nargs='?', const=','.join(curve.name for curve in curves.CURVES),
                        help='how the cost of geproxy grows, instead of scenes; of %(const)s (with --peers: theirs too)')
    parser.add_argument('--profile', metavar='SCENE', help='where the time goes in geproxy (needs py-spy)')
    parser.add_argument('--raw', metavar='FILE', help='keep the stacks of --profile there, for a flame graph')
    parser.add_argument('--json', metavar='FILE', help='write all figures of all rounds there')
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
        raise Failed('there is no wrk. Try: apt-get install wrk')


def _chosen(text, known, what):
    names = text.split(',')
    for name in names:
        if name not in known:
            raise Failed('there is no %s %s; there are %s' % (what, name, ', '.join(known)))
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
    """([Peer], names of those that are missing)"""
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
        raise Failed('git %s' % ' '.join(arguments))


class Work(object):
    """What is to be done, with what all of it needs."""

    def __init__(self, options, origin, folder):
        self.options, self.origin, self._folder = options, origin, folder

    def compare(self, found):
        """All scenes with all peers, as a document."""
        results = {}
        chosen = [scene for scene in scenes.SCENES if scene.name in self.options.scenes]
        for number, scene, peer in self._turns(chosen, found):
            outcome = scenes.UNABLE
            if scene.name not in peer.unable:
                outcome = self._with(peer, scene.run)
            results.setdefault((scene.name, peer.name), []).append(outcome)
            _say(number, scene.name, peer, outcome)
        return {'rows': report.rows(chosen, results, found)}

    def curves(self, found):
        """All curves with all peers, as a document."""
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
        """One scene under a profiler, as text."""
        scene = next((scene for scene in scenes.SCENES if scene.name == self.options.profile), None)
        if scene is None or scene.figures[0][0] != 'cpu':
            raise Failed('there is nothing to profile in a scene %s' % self.options.profile)
        python = (self.options.python or [sys.executable])[0]
        raw = self.options.raw or os.path.join(self._folder, 'stacks.raw')
        outcome = self._with(peer, lambda bench: {'text': profiler.profile(scene, bench, python, raw)})
        if not isinstance(outcome, dict):
            raise Failed(outcome)
        return outcome['text']

    def _turns(self, what, found):
        """(round, one of `what`, peer), in the order in which they are measured."""
        for number in range(self.options.rounds):
            for one in what:
                # Not always the same one first.
                for peer in found[number % len(found):] + found[:number % len(found)]:
                    yield number, one, peer

    def _with(self, peer, run, more=None):
        """What `run` finds out about a fresh process of that peer, or why it found nothing."""
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
