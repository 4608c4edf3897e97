"""Run a scene under py-spy, and list the functions and lines that take the most time themselves."""
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
# py-spy samples by the clock. A process that was put aside during a system call (sending wakes up the receiver) looks busy
# with that call. /proc has the real cost. So functions that are little more than system calls share the time in the
# kernel, and all others share the rest. (They are matched by class and function, without their module.)
_calls = re.compile(r'(SocketMixin|socket)\.|StreamServer\.do_read |Hub\.run |Writer\._write_block ')
# A frame of py-spy's raw format: "name (path:line)"
_frame = re.compile(r'(?P<name>.*) \((?P<path>[^()]*?)(?::(?P<line>[0-9]+))?\)\Z')


def profile(scene, bench, python, raw):
    """Run a scene under py-spy. Return the text to print. Raises Failed.

    `scene`: a Scene; `bench`: a Bench; `python`: path of the Python that runs geproxy; `raw`: path for the stacks, in a
    format that flamegraph.pl and speedscope.app read.
    """
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
        raise Failed('py-spy got no samples. It must be allowed to trace: as root, or with ptrace_scope 0')
    unit = scene.figures[0][1]
    return '%s: %s %s, %s of it in the kernel\n%s' % (
        scene.sentence, measure.show(figures['cpu']), unit, measure.show(figures['system']),
        table(stacks, figures['cpu'], figures['system'], unit))


def _find_py_spy(python):
    for path in [os.path.join(os.path.dirname(where), 'py-spy') for where in (python, sys.executable)]:
        if os.path.exists(path):
            return path
    if not find('py-spy'):
        raise Failed('py-spy is not installed. Try: python -m pip install py-spy')
    return find('py-spy')


def table(stacks, cost, system, unit):
    """Return a table, as text: the functions and then the lines that take the most time themselves.

    `stacks`: lines in the raw format of py-spy; `cost`: of all of it; `system`: the part of it in the kernel; `unit`: of
    both, native text.
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
    """Return (function and file, the same with the line) of a frame."""
    match = _frame.match(frame)
    if not match:
        return frame, frame
    name, path = match.group('name'), '/'.join(match.group('path').split('/')[-2:])
    return '%s  %s' % (name, path), '%s  %s:%s' % (name, path, match.group('line'))
