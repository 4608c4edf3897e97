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

import peers
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
            origin = Origin(folder, OCTETS)
            try:
                results = measure_all(found, options, origin, folder)
            finally:
                origin.stop()
    except Failed as error:
        sys.exit('bench: %s' % error)
    document = report.document(results, found, missing, options, _machine())
    if options.json:
        report.write_json(document, options.json)
    print(report.text(document))
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [scene.name for scene in scenes.SCENES]
    parser.add_argument('--scenes', metavar='NAMES', default=','.join(names), help='of %(default)s')
    parser.add_argument('--peers', metavar='NAMES', default=','.join(peers.NAMES),
                        help='of %(default)s; or none, for geproxy alone')
    parser.add_argument('--rounds', type=int, default=3, metavar='N')
    parser.add_argument('--seconds', type=float, default=3, metavar='S', help='of load for each scene')
    parser.add_argument('--quick', action='store_true', help='one round, one second')
    parser.add_argument('--python', action='append', metavar='PATH',
                        help='the Python that runs geproxy; may be given several times (default: this one)')
    parser.add_argument('--against', metavar='REV', help='compare with that revision of geproxy, too')
    parser.add_argument('--json', metavar='FILE', help='write all figures of all rounds there')
    return parser


def _check(options):
    if options.quick:
        options.rounds, options.seconds = 1, 1
    options.scenes = _chosen(options.scenes, [scene.name for scene in scenes.SCENES], 'scene')
    options.peers = [] if options.peers == 'none' else _chosen(options.peers, peers.NAMES, 'peer')
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
        others, missing = peers.others(options.peers)
        yield found + others, missing
    finally:
        if options.against:
            shutil.rmtree(checkout, ignore_errors=True)
            _git('worktree', 'prune')


def _git(*arguments):
    if subprocess.call(['git', '-C', peers.TOP] + list(arguments), stdout=sys.stderr):
        raise Failed('git %s' % ' '.join(arguments))


def measure_all(found, options, origin, folder):
    """{(scene, peer): [figures or the reason why there are none, for each round]}"""
    results = {}
    chosen = [scene for scene in scenes.SCENES if scene.name in options.scenes]
    for number in range(options.rounds):
        for scene in chosen:
            # Not always the same one first.
            for peer in found[number % len(found):] + found[:number % len(found)]:
                outcome = _measure(scene, peer, options, origin, folder)
                results.setdefault((scene.name, peer.name), []).append(outcome)
                sys.stderr.write('round %d  %-12s %-16s %s\n' % (
                    number + 1, scene.name, peer.name, report.show_outcome(scene, outcome)))
    return results


def _measure(scene, peer, options, origin, folder):
    """The figures of one scene with one proxy, or why there are none."""
    if scene.tunnels and not peer.forward:
        return scenes.NO_CONNECT
    own = tempfile.mkdtemp(dir=folder)
    os.chmod(own, 0o777)
    proxy = None
    try:
        proxy = peer.start(own, origin)
        octets = QUICK_OCTETS if options.quick else OCTETS
        return scene.run(scenes.Bench(proxy, peer.forward, origin, options.seconds, octets, IDLE, own))
    except Failed as error:
        return str(error)
    finally:
        if proxy is not None:
            proxy.stop()
        shutil.rmtree(own, ignore_errors=True)


def _machine():
    model = 'unknown processor'
    with open('/proc/cpuinfo') as opened:
        for line in opened:
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
    return '%d x %s, %s %s' % (os.sysconf('SC_NPROCESSORS_ONLN'), model, platform.system(), platform.release())


if __name__ == '__main__':
    sys.exit(main())
