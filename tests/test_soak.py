"""The soak in tests/soak: short ones of each kind, and that it sees what it is there to see."""
from __future__ import absolute_import, division, print_function

import glob
import json
import os
import re
import signal
import sys

import pytest
from processes import PYTHON, Process, folder, process, read, wait_until, write

pytestmark = pytest.mark.programs

SOAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'soak')
if SOAK not in sys.path:
    sys.path.append(SOAK)

import checks       # noqa: E402
import daemons      # noqa: E402

RUN = PYTHON + [os.path.join(SOAK, 'run.py')]
SHORT = ['--seconds', '1', '--drain', '1.5', '--memory', '64']      # a proxy that just began still takes some
PATIENCE = 120          # seconds; the host may be busy
# Runs as a Python that keeps a file descriptor of each exchange, logs each tunnel twice, and miscounts uploads.
LEAKY = '''#!%s
import sys
from gevent import monkey
monkey.patch_all()
import os, runpy
sys.argv[:3] = ['geproxy']
sys.path.insert(0, os.getcwd())
from geproxy.observe.observers import Observers
ended = Observers.ended
def leak(observers, record):
    os.dup(0)
    if record.method == b'PUT':
        record.received += 1
    if record.tunnel:
        ended(observers, record)
    ended(observers, record)
Observers.ended = leak
runpy.run_module('geproxy.cli').get('main')()
'''


@pytest.fixture(scope='module')
def runs():
    """All runs, begun at once, as most of the time nothing happens in them: {name: Process}."""
    begun = {}
    with folder() as here:
        leaky = os.path.join(here, 'leaky')
        write(leaky, LEAKY % sys.executable)
        os.chmod(leaky, 0o755)
        try:
            begun['alone'] = Process(RUN + SHORT + ['--reloads', '4', '--rotations', '2'])
            begun['leaky'] = Process(RUN + SHORT + ['--reloads', '0', '--rotations', '0', '--settle', '2', '--python', leaky])
            if daemons.find_supervisord():
                begun['rolled'] = Process(RUN + SHORT + ['--reloads', '2', '--rotations', '1', '--rolls', '1'])
            yield begun
        finally:
            for each in begun.values():
                each.end()


def counted(shown, outcome):
    """The number in the last line of the table of exchanges."""
    row = re.search(br'\nall ((?: +\d+)+)\n', shown).group(1).split()
    return int(row[checks.OUTCOMES.index(outcome)])


def is_geproxy(pid):
    """True if there is such a process, and it is one."""
    try:
        return b'-m\0geproxy\0' in read('/proc/%d/cmdline' % pid)
    except (IOError, OSError):
        return False                    # it ended in that moment


def test_help_explains_the_options():
    with process(RUN + ['--help']) as asked:
        assert asked.wait() == 0
    assert b'--rolls N' in asked.out and b'Loopback only' in asked.out


def test_nothing_is_lost_and_nothing_grows(runs):
    run = runs['alone']
    assert run.wait(PATIENCE) == 0, run
    assert b' s, 4 reloads, 0 rolls of two processes, 2 log rotations' in run.out
    assert counted(run.out, checks.GOOD) > 50
    assert (counted(run.out, checks.FAILED), counted(run.out, checks.RACED)) == (0, 0)
    assert re.search(br'\nlines of the log that agree with the client: (\d+) of \1\n', run.out)
    assert re.search(br'\nrequests counted, logged +(\d+) +\1\n', run.out)


def test_a_roll_under_supervisord_loses_nothing(runs):
    if 'rolled' not in runs:
        pytest.skip('no supervisord')
    run = runs['rolled']
    assert run.wait(PATIENCE) == 0, run
    assert b' s, 2 reloads, 1 rolls of two processes, 1 log rotations' in run.out
    assert counted(run.out, checks.GOOD) > 50
    assert counted(run.out, checks.FAILED) == 0


def test_a_leak_and_a_wrong_count_are_found(runs):
    run = runs['leaky']
    assert run.wait(PATIENCE) == 1, run
    assert re.search(br'\n  fds grew from \d+ to \d+\n', run.out)
    assert re.search(br'\n  127\.\d+\.\d+\.\d+: (in the log, but no client sent it|logged twice)\n', run.out)
    assert re.search(br'\n  x\d+: (sized|chunked): \d+ octets up and \d+ down in the log, ', run.out)


def test_a_run_that_is_ended_leaves_no_process_behind():
    with process(RUN + ['--seconds', '60']) as run:
        children = '/proc/%d/task/%d/children' % (run.pid, run.pid)
        if not os.path.exists(children):
            pytest.skip('this kernel does not tell children')
        proxies = []
        wait_until(lambda: proxies or proxies.extend(
            int(pid) for pid in read(children).split() if is_geproxy(int(pid))), 'the proxy to be started')
        run.tell(signal.SIGTERM)
        assert run.wait() == 1
        assert b'ended by SIGTERM' in run.err
        assert not is_geproxy(proxies[0])


# --- books -------------------------------------------------------------------------------------------------------

def line(name, up=10, down=20, status=200, **more):
    """Return a line of the access log."""
    return json.dumps(dict({
        'url.original': 'http://127.0.0.1:1/short/' + name, 'client.ip': '127.0.0.1', 'http.request.bytes': up,
        'http.response.bytes': down, 'http.response.status_code': status}, **more)).encode('ascii')


def told(outcome=checks.GOOD, status=200, up=10, down=20):
    """Return the report of a client."""
    return checks.Told('short', outcome, status, up, down, '')


@pytest.mark.parametrize('stories, lines, problem', [
    ([told()], [line('a')], None),
    ([told(checks.RACED)], [], None),
    ([told(checks.RACED)], [line('a', status=0)], None),
    ([told(checks.LEFT, down=5)], [line('a')], None),
    ([told(checks.CUT)], [line('a', reason='drained')], None),
    ([told()], [], 'not in the log'),
    ([], [line('a')], 'no client sent it'),
    ([told()], [line('a'), line('a')], 'no client sent it'),
    ([], [line('a'), line('a')], 'logged twice'),
    ([told()], [line('a', up=11)], '11 octets up and 20 down in the log, 10 and 20 by the client'),
    ([told()], [line('a', down=19)], '10 octets up and 19 down in the log'),
    ([told()], [line('a', status=502)], 'status 502 in the log, 200 for the client'),
    ([told(checks.LEFT, down=21)], [line('a')], '20 down in the log, 10 sent and 21 received'),
    ([told(checks.CUT)], [line('a', reason='client_lost')], 'ended in the middle, but the log has the reason client_lost'),
    ([told(checks.FAILED)], [line('a')], 'failed'),
    ([told()], [b'{"half', line('a')], 'not a line of an access log'),
])
def test_each_exchange_must_be_in_the_log_once_and_agree_with_its_client(stories, lines, problem):
    books = checks.Books()
    for each in lines[:1]:
        books.log(each)
    for each in stories:
        books.tell('a', each)
    for each in lines[1:]:
        books.log(each)
    books.close()
    if problem is None:
        assert books.problems == []
    else:
        assert any(problem in text for text in books.problems)


@pytest.mark.parametrize('figure, by, problem', [
    ('fds', 8, None), ('fds', 9, 'fds grew from 10 to 19'), ('greenlets', 5, 'greenlets grew from 10 to 15'),
    ('MiB', 5, 'MiB grew from 10 to 15'), ('requests', 1, 'requests: /metrics has counted 1, and the log has 0'),
    ('octets up', 3, 'octets up: /metrics has counted 3'), ('octets down', 3, 'octets down: /metrics has counted 3')])
def test_a_figure_that_grows_is_a_problem(figure, by, problem):
    before = dict.fromkeys(('fds', 'greenlets', 'MiB', 'requests', 'octets up', 'octets down'), 10)
    before.update(pids=[1], logged={'lines': 5, 'up': 5, 'down': 5})
    books = checks.Books()
    checks.compare(books, before, dict(before, **{figure: 10 + by}))
    assert [text[:len(problem or '')] for text in books.problems] == [problem] * bool(problem)


def test_a_log_is_read_once_through_its_rotations():
    with folder() as here:
        path, lines = os.path.join(here, 'access.log'), []
        files = checks.LogFiles(path, lines.append)
        write(path, 'one\ntw')
        files.read()
        files.rotate()
        write(path, 'three\n')
        write(path + '.1', 'one\ntwo\n')
        files.read()
        files.read()
        assert lines == [b'one', b'two', b'three']


def test_its_files_have_at_most_400_lines():
    for path in glob.glob(os.path.join(SOAK, '*.py')):
        with open(path) as opened:
            assert len(opened.read().splitlines()) <= 400, path


def test_a_normal_client_is_served_while_others_attack():
    with process(PYTHON + [os.path.join(SOAK, 'attack.py'), '--seconds', '1']) as attack:
        assert attack.wait(PATIENCE) == 0, attack
        assert b'all attacks at once' in attack.out and b'lost 0' in attack.out.splitlines()[-1]
