"""Patch first, as geproxy does; then make the package and the tests of this checkout importable."""
from gevent import monkey
monkey.patch_all()

import gc       # noqa: E402
import os       # noqa: E402
import sys      # noqa: E402

import pytest   # noqa: E402
from gevent.threadpool import ThreadPool        # noqa: E402

TESTS = os.path.dirname(os.path.abspath(__file__))
# The folders of the wings, too: a test may import from the test of another wing.
WINGS = sorted(os.path.join(TESTS, name) for name in os.listdir(TESTS)
               if os.path.exists(os.path.join(os.path.dirname(TESTS), 'geproxy', name, '__init__.py')))
for folder in WINGS + [TESTS, os.path.dirname(TESTS)]:
    if folder not in sys.path:
        sys.path.insert(0, folder)


@pytest.fixture(scope='module', autouse=True)
def _end_idle_threads():
    """End the idle threads of all proxies that were here: on Python 2, each looks 200 times a second for work."""
    yield
    for each in gc.get_objects():
        if type(each) is ThreadPool and each.size and not each.task_queue.unfinished_tasks:
            each.kill()


_left_out = []


def pytest_deselected(items):
    _left_out.extend(item for item in items if item.get_closest_marker('programs') is not None)


def pytest_terminal_summary(terminalreporter):
    if _left_out:
        terminalreporter.write_line(
            'left out: %d slow tests, which drive other programs, measure, or try very many cases. To run them: leave out -m.' % len(_left_out))
