"""Where the microseconds go: py-spy beside one scene. Prints functions and lines, by their own time."""
from __future__ import absolute_import, division, print_function

import collections
import os
import re
import subprocess
import sys

import measure
from program import Failed, find

RATE = 250                      # samples in a second
SHOWN = 30
# py-spy looks by the clock, so a process that a system call of its own has put aside -- sending wakes up who receives --
# seems to be busy with that call. What each part has really cost /proc knows: those that are little else than system
# calls share the time in the kernel, the others the rest.
_calls = re.compile(r'(SocketMixin|socket)\.|StreamServer\.do_read |Hub\.run |Writer\._write_block ')
# A frame of py-spy's raw format: "name (path:line)"
_frame = re.compile(r'(?P<name>.*) \((?P<path>[^()]*?)(?::(?P<line>[0-9]+))?\)\Z')


def profile(scene, bench, python, raw):
    """Run a scene under py-spy -> the text to print. `raw`: a path for the stacks, which flamegraph.pl and
    speedscope.app take."""
    spy = _find_py_spy(python)
    command = [spy, 'record', '--pid', str(bench.proxy.pids[0]), '--duration', str(int(bench.seconds) + 1), '--rate',
               str(RATE), '--format', 'raw', '--output', raw, '--nonblocking']
    with open(os.devnull, 'w') as quiet:
        spying = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        figures = scene.run(bench)
    finally:
        spying.wait()
    with open(raw) as opened:
        stacks = opened.read().splitlines()
    if not stacks:
        raise Failed('py-spy saw nothing: it must be allowed to trace (root, or ptrace_scope 0)')
    unit = scene.figures[0][1]
    return '%s: %s %s, of that in the kernel %s\n%s' % (
        scene.sentence, measure.show(figures['cpu']), unit, measure.show(figures['system']),
        table(stacks, figures['cpu'], figures['system'], unit))


def _find_py_spy(python):
    for path in [os.path.join(os.path.dirname(where), 'py-spy') for where in (python, sys.executable)]:
        if os.path.exists(path):
            return path
    if not find('py-spy'):
        raise Failed('there is no py-spy. Try: python -m pip install py-spy')
    return find('py-spy')


def table(stacks, cost, system, unit):
    """The stacks of py-spy's raw format -> functions by the time they take themselves, and the hottest lines.

    `cost`: of all of it, `system`: of that in the kernel, both in `unit`.
    """
    seen = []                   # [([(function, line)], samples)]
    for stack in stacks:
        frames, _, count = stack.rpartition(' ')
        seen.append(([_names(frame) for frame in frames.split(';')], int(count)))
    calls = sum(count for names, count in seen if _calls.match(names[-1][0]))
    rest = sum(count for _names, count in seen) - calls
    own, within, lines = collections.Counter(), collections.Counter(), collections.Counter()
    for names, count in seen:
        cost_here = count * (system / calls if _calls.match(names[-1][0]) else (cost - system) / rest)
        own[names[-1][0]] += cost_here
        lines[names[-1][1]] += cost_here
        for name in set(function for function, _line in names):
            within[name] += cost_here
    shown = ['', '%8s %6s %8s %6s  function' % ('self', '', 'in all', '')]
    shown += ['%8s %5.1f%% %8s %5.1f%%  %s' % (
        measure.show(took), 100 * took / cost, measure.show(within[name]), 100 * within[name] / cost, name)
              for name, took in own.most_common(SHOWN)]
    shown += ['', '%8s %6s  line (%s)' % ('self', '', unit)]
    shown += ['%8s %5.1f%%  %s' % (measure.show(took), 100 * took / cost, name) for name, took in lines.most_common(SHOWN)]
    return '\n'.join(shown)


def _names(frame):
    """A frame -> (function and file, the same with the line)."""
    match = _frame.match(frame)
    if not match:
        return frame, frame
    name, path = match.group('name'), '/'.join(match.group('path').split('/')[-2:])
    return '%s  %s' % (name, path), '%s  %s:%s' % (name, path, match.group('line'))
