"""The house keeps its shape: imports go down, files and functions stay small, every module has its test."""
from __future__ import absolute_import, division, print_function

import ast
import glob
import os

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(os.path.dirname(TESTS), 'geproxy')

# A module imports only from lines above its own.
FLOORS = [
    ['__init__', 'compat', 'early', 'errors', 'memo', 'privileges', 'supervise'],
    ['address', 'protocols', 'ini', 'hashes'],
    ['grammar', 'kinds', 'thishost'],
    ['leniency', 'section', 'rules', 'filters'],
    ['message'],
    ['reading'],
    ['trailers'],
    ['chunks'],
    ['framing', 'forwarded', 'rulebook', 'proxyproto'],
    ['access', 'auth', 'deadlines', 'hostmemory', 'limits', 'memory', 'shadows', 'splice', 'turns'],
    ['stream', 'users', 'rulefiles', 'watchdog', 'unixsocket', 'workers', 'shortcut'],
    ['relay', 'resolver', 'logins', 'upstream', 'responses', 'record', 'listeners', 'ledger', 'notify', 'outlets',
     'metrics', 'waits'],
    ['log', 'forward', 'quota', 'live', 'tail', 'leaving', 'strangers', 'ownanswers', 'introducing'],
    ['handler', 'admin', 'acceptor'],
    ['schema'],
    ['config'],
    ['proxy', 'housekeeping', 'explain', 'learn', 'why', 'doctor', 'adminclient', 'reloads'],
    ['server', 'watch'],
    ['keep'],
    ['cli'],
    ['__main__'],
]
FLOOR = dict((name, number) for number, names in enumerate(FLOORS) for name in names)

# Who may import gevent: those that wait, and those that must come before everything else.
WITH_GEVENT = {'__main__', 'acceptor', 'admin', 'cli', 'compat', 'deadlines', 'doctor', 'forward', 'housekeeping', 'leaving', 'live', 'logins', 'relay',
               'reloads', 'resolver', 'server', 'stream', 'supervise', 'tail', 'turns', 'watchdog', 'workers'}
# Who may spawn greenlets: someone waits for each there, or kills it.
SPAWNING = {'acceptor', 'relay', 'workers', 'server'}
# Who may import config. The others are handed values, so there is no global to reload.
WITH_CONFIG = {'adminclient', 'cli', 'doctor', 'keep', 'reloads', 'watch', 'why'}
# Who may ask which Python this is.
ASKING_PYTHON = {'compat', '__main__'}      # the latter before there is a gevent, without which compat is none either

MOST_LINES = 400            # of a file
MOST_LINES_OF_COMPAT = 60
MOST_LINES_OF_A_FUNCTION = 40
LONGER = {                  # file, or file.function: why it is longer
}
FUTURE = ['absolute_import', 'division', 'print_function']
WITHOUT_FUTURE = {          # file: why
    '__init__': 'it has no code: a docstring and the version',
    'conftest': 'patching comes first',
}


class Source(object):
    """A file, read and parsed."""

    def __init__(self, path):
        with open(path, 'rb') as opened:
            octets = opened.read()
        self.name = os.path.basename(path)[:-len('.py')]
        self.lines = octets.count(b'\n')
        self.tree = ast.parse(octets, path)
        self.nodes = list(ast.walk(self.tree))

    def walk(self, *kinds):
        """All nodes of these kinds."""
        return [node for node in self.nodes if isinstance(node, kinds)]

    def imports(self):
        """All that it imports, as dotted names; for `from a import b` both a and a.b."""
        names = set()
        for node in self.walk(ast.Import):
            names.update(alias.name for alias in node.names)
        for node in self.walk(ast.ImportFrom):
            assert not node.level, '%s: a relative import' % self.name
            names.add(node.module)
            names.update('%s.%s' % (node.module, alias.name) for alias in node.names)
        return names

    def ours(self):
        """The modules of geproxy that it imports."""
        return set(name.split('.')[1] for name in self.imports() if name.startswith('geproxy.')) & set(FLOOR)


SOURCES = [Source(path) for path in sorted(glob.glob(os.path.join(PACKAGE, '*.py')))]
TEST_SOURCES = [Source(path) for path in sorted(glob.glob(os.path.join(TESTS, '*.py')))]


def those(condition, sources=None):
    """The names of the sources of which that is true."""
    return set(source.name for source in sources or SOURCES if condition(source))


def functions():
    """All functions of the package, as (module.function, lines)."""
    return [('%s.%s' % (source.name, node.name),
             max(getattr(child, 'lineno', 0) for child in ast.walk(node)) - node.lineno + 1)
            for source in SOURCES for node in source.walk(ast.FunctionDef)]


def test_every_module_has_its_floor():
    assert those(lambda source: True) == set(FLOOR)
    assert len(SOURCES) == sum(len(names) for names in FLOORS)


def test_imports_only_go_down():
    assert [(source.name, name) for source in SOURCES for name in source.ours()
            if FLOOR[name] >= FLOOR[source.name]] == []


def test_gevent_is_imported_only_where_it_is_needed():
    assert those(lambda source: any(name.split('.')[0] == 'gevent' for name in source.imports())) == WITH_GEVENT


def test_config_is_imported_by_nothing_below_the_wiring():
    assert those(lambda source: 'config' in source.ours()) == WITH_CONFIG


def test_greenlets_are_spawned_only_where_someone_waits_for_them():
    assert those(lambda source: any(
        node.attr in ('spawn', 'spawn_later', 'spawn_raw', 'Greenlet') and getattr(node.value, 'id', '') == 'gevent'
        for node in source.walk(ast.Attribute))) == SPAWNING


def test_every_module_has_a_test_of_its_name():
    tests = those(lambda source: True, TEST_SOURCES)
    assert those(lambda source: 'test_' + source.name not in tests) == {'__init__'}


def test_a_file_is_not_longer_than_its_reader_is_patient():
    assert those(lambda source: source.lines > MOST_LINES) == set(name for name in LONGER if name in FLOOR)
    assert [source.lines for source in SOURCES if source.name == 'compat'] <= [MOST_LINES_OF_COMPAT]


def test_a_function_fits_on_a_screen():
    longer = set(name for name, lines in functions() if lines > MOST_LINES_OF_A_FUNCTION)
    assert longer == set(name for name in LONGER if name not in FLOOR)


def test_a_file_begins_with_what_it_is_for():
    def begins_so(source):
        future = source.tree.body[1] if len(source.tree.body) > 1 else None
        return ast.get_docstring(source.tree) and (source.name in WITHOUT_FUTURE or (
            getattr(future, 'module', '') == '__future__' and [alias.name for alias in future.names] == FUTURE))
    assert those(lambda source: not begins_so(source), SOURCES + TEST_SOURCES) == set()


def test_what_can_be_called_from_elsewhere_has_a_docstring():
    missing = set()
    for source in SOURCES:
        inner = set(child for node in source.walk(ast.FunctionDef) for child in ast.walk(node) if child is not node)
        missing.update('%s.%s' % (source.name, node.name) for node in source.walk(ast.FunctionDef, ast.ClassDef)
                       if node.name[:1] != '_' and node not in inner and not ast.get_docstring(node))
    assert missing == set()


def test_the_version_of_python_is_the_business_of_compat():
    # __main__ must know the pair before it may touch gevent, which compat imports.
    names = ('version_info', 'PY2', 'PY3', 'hexversion', 'six', 'unicode_literals')
    assert those(lambda source: any(node.attr in names for node in source.walk(ast.Attribute)) or any(
        name.rsplit('.', 1)[-1] in names for name in source.imports())) == {'compat', '__main__'}


def test_nothing_is_caught_or_imported_by_accident():
    assert those(lambda source: any(node.type is None for node in source.walk(ast.ExceptHandler))) == set()
    assert those(lambda source: any(name.endswith('.*') for name in source.imports())) == set()


def test_no_module_is_named_like_one_of_the_standard_library():
    for name in sorted(set(FLOOR) - {'__init__', '__main__'}):
        with pytest.raises(ImportError):
            __import__(name)
