"""The benchmark in tests/bench: its command line, and the numbers that it makes of numbers. Measures nothing
but what the worst inputs cost."""
from __future__ import absolute_import, division, print_function

import glob
import os
import subprocess
import sys

import pytest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'bench')
if BENCH not in sys.path:
    sys.path.append(BENCH)

import measure      # noqa: E402
import peers        # noqa: E402
import profiler     # noqa: E402
import report       # noqa: E402
import scenes       # noqa: E402
import worst        # noqa: E402


def test_help_explains_the_options():
    said = subprocess.check_output([sys.executable, os.path.join(BENCH, 'run.py'), '--help'])
    assert b'--against REV' in said and b'Linux only' in said


def test_an_unknown_scene_is_named():
    asked = subprocess.Popen([sys.executable, os.path.join(BENCH, 'run.py'), '--scenes', 'kept,nonsense'],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = asked.communicate()[0]
    assert asked.returncode == 1 and b'unknown scene nonsense: expected one of kept' in said


@pytest.mark.parametrize('values, middle', [([3], 3), ([4, 1], 2.5), ([9, 1, 2], 2), ([1, 2, 3, 10], 2.5)])
def test_the_median_is_the_middle(values, middle):
    assert measure.median(values) == middle


@pytest.mark.parametrize('values, part', [([5], 0), ([8, 10, 12], 0.2), ([-8, -10, -12], 0.2), ([0, 0], 0)])
def test_the_spread_is_half_the_distance_of_the_extremes(values, part):
    assert measure.spread(values) == part


@pytest.mark.parametrize('value, text', [(None, '-'), (0.25, '0.25'), (12.34, '12.3'), (-1234.5, '-1234')])
def test_numbers_have_three_digits(value, text):
    assert measure.show(value) == text


def test_processor_time_and_memory_of_a_process_are_seen():
    meter = measure.Meter([os.getpid()])
    while not sum(meter.read()):
        assert measure.cpu(os.getpid()) < (1000, 1000)      # at work, until a tick has passed
    assert 0 < sum(meter.each()[0]) < 10
    assert os.getpid() in measure.tree(os.getpid())
    assert measure.memory(os.getpid()) > 1 << 20 or not os.path.exists('/proc/self/smaps_rollup')


def test_ratios_are_to_the_best_of_the_four_and_to_each():
    costs = dict((name, {'median': value}) for name, value in (
        ('geproxy', 60), ('squid', 80), ('apache', 120), ('trafficserver', 40), ('nginx', 30)))
    costs['privoxy'] = {'reason': 'it cannot'}
    found = report.ratios(costs, ['geproxy', 'squid', 'apache', 'trafficserver', 'privoxy'])
    assert (found['best'], found['who']) == (0.75, 'squid')
    assert (found['trafficserver'], found['nginx']) == (1.5, 2)
    assert 'geproxy' not in found and 'privoxy' not in found
    assert report.ratios({'geproxy': {'reason': 'no'}, 'squid': {'median': 1}}, ['geproxy', 'squid']) == {}


def scene(name, way=''):
    return scenes.Scene(name, None, [('cpu', 'us')], 'what %s does' % name, way)


def peer(name, forward=True):
    return peers.Peer(name, forward, (), '1.0', None, ('',))


def test_each_way_has_a_table_of_the_proxies_that_can_do_it():
    found = [peer('geproxy'), peer('squid'), peer('haproxy', False)]
    results = {('kept', 'geproxy'): [{'cpu': 30}], ('kept', 'squid'): [{'cpu': 60}], ('kept', 'haproxy'): [scenes.UNABLE],
               ('safe', 'geproxy'): ['it broke'], ('safe', 'squid'): [scenes.UNABLE], ('safe', 'haproxy'): [{'cpu': 20}]}
    said = report.text({'rows': report.rows([scene('kept'), scene('safe', 'tls')], results, found), 'rounds': 1, 'date': '',
                        'machine': '', 'order': ['geproxy', 'squid', 'haproxy'], 'missing': ['dante'],
                        'versions': dict.fromkeys(['geproxy', 'squid', 'haproxy'], '1.0')})
    usual, safe = [[cell.strip() for cell in line.split('|')[1:-1]] for line in said.splitlines() if line.startswith('| what')]
    assert usual == ['what kept does', 'us', '30.0', '60.0', '0.50 (squid)']
    assert safe == ['what safe does', 'us', '-', '20.0', '-', '-']
    assert 'geproxy has no figure for safe: it broke' in said and 'not installed here: dante' in said


def test_ways_are_known_and_configured(tmpdir):
    assert set(scene.way for scene in scenes.SCENES) == set(scenes.WAYS)
    for row in peers._KNOWN:
        assert set(row[-1]) <= set(scenes.WAYS), row[0]
    path = peers.configure('squid.conf', str(tmpdir), 'parent', port=1, origin=2)
    with open(path) as opened:
        lines = opened.read().splitlines()
    assert 'http_port 127.0.0.1:1' in lines and lines[-2].startswith('cache_peer 127.0.0.1 parent 2 ')


def test_a_profile_counts_own_time_and_time_within():
    stacks = ['run (a/geproxy/server.py:7);read (a/geproxy/stream.py:9) 3', 'run (a/geproxy/server.py:8) 1',
              'run (a/geproxy/server.py:7);SocketMixin.send (b/gevent/_socketcommon.py:716) 12']
    words = [line.split() for line in profiler.table(stacks, 100, 20, 'us').splitlines()]
    assert ['60.0', '60.0%', '60.0', '60.0%', 'read', 'geproxy/stream.py'] in words
    assert ['20.0', '20.0%', '100', '100.0%', 'run', 'geproxy/server.py'] in words
    assert ['20.0', '20.0%', 'run', 'geproxy/server.py:8'] in words
    assert ['20.0', '20.0%', 'SocketMixin.send', 'gevent/_socketcommon.py:716'] in words


def test_its_files_are_as_short_as_those_of_the_house():
    for path in glob.glob(os.path.join(BENCH, '*.py')):
        with open(path) as opened:
            assert len(opened.read().splitlines()) <= 400, path


@pytest.mark.parametrize('stage', [stage[0] for stage in worst.STAGES])
def test_no_input_costs_more_than_ten_times_a_usual_message_for_each_octet(stage):
    normal = worst.usual()[stage]
    for case in worst.CASES:
        if case.stage == stage:     # processor time, the best of several rounds: a busy machine changes neither much
            octets, seconds, times = worst.measure(case, normal, worst.BOUND)
            assert times <= worst.BOUND, '%s: %d octets take %.1f ms' % (case.name, octets, seconds * 1e3)
