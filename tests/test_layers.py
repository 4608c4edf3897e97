"""The house keeps its shape: imports go down, files and functions stay small, every module has its test."""
from __future__ import absolute_import, division, print_function

import ast
import os
import re
import subprocess
import sys
import zipfile

import pytest
from processes import CHECKOUT, build_wheel, folder

from geproxy.commands import docs

TESTS = os.path.dirname(os.path.abspath(__file__))
PACKAGE = os.path.join(os.path.dirname(TESTS), 'geproxy')

# Which wings each wing may import from, beside the modules of the ground. The order is from the ground up: a wing never
# imports from one below it in this table.
WINGS = [
    ('net', []),
    ('http1', ['net']),
    ('policy', ['net', 'http1']),
    ('auth', ['net', 'http1']),
    ('limits', ['net']),
    ('upstream', ['net', 'http1']),
    ('observe', ['net', 'http1']),
    ('pages', ['http1']),
    ('exchange', ['net', 'http1', 'policy', 'auth', 'limits', 'observe', 'pages']),
    ('settings', ['net', 'http1', 'policy', 'auth', 'observe']),
    ('admin', ['net', 'http1', 'limits', 'observe', 'pages', 'exchange', 'settings']),
    ('service', ['net', 'auth', 'limits', 'upstream', 'observe', 'exchange', 'settings', 'admin']),
    ('commands', ['net', 'http1', 'policy', 'upstream', 'observe', 'settings', 'admin', 'service']),
]
ALLOWED = dict((wing, set(below) | {wing}) for wing, below in WINGS)
# The ground: what every wing may import.
GROUND = {'__init__', 'compat', 'errors', 'memo', 'wording'}
# The top: it may import every wing, and no wing may import it.
TOP = {'__main__', 'cli'}

# Modules that import gevent: those that wait, and those that must come before everything else.
WITH_GEVENT = {
    '__main__', 'cli', 'compat', 'net.background', 'net.deadlines', 'net.one_hub', 'net.stream', 'net.supervise',
    'net.transport', 'net.turns', 'net.unwanted', 'net.workers', 'auth.logins', 'upstream.resolver',
    'observe.subscribers', 'exchange.leaving', 'exchange.relay', 'admin.listener',
    'admin.endpoints', 'admin.status', 'admin.watchdog', 'service.acceptor', 'service.ending', 'service.housekeeping',
    'service.reloads', 'service.server', 'service.startup', 'commands.doctor',
}
# Modules that spawn greenlets: there, somebody waits for each greenlet or kills it.
SPAWNING = {'net.workers', 'exchange.relay', 'service.acceptor', 'service.server'}
# Modules that read the ini file. All others are handed values, so there is no global configuration to reload.
WITH_LOADING = {'cli', 'admin.client', 'service.reloads', 'service.startup', 'commands.admin_commands', 'commands.docs',
                'commands.doctor', 'commands.parent_checks', 'commands.rolling', 'commands.source_trials', 'commands.why'}
# Modules that ask which Python this is. (__main__ does before there is gevent, which compat needs.)
ASKING_PYTHON = {'compat', '__main__'}

# Modules of the standard library with which a module could wait, look at a clock, or write somewhere.
IMPURE = {'io', 'logging', 'os', 'random', 'select', 'signal', 'socket', 'ssl', 'subprocess', 'sys', 'threading'}

MOST_LINES = 400            # of a file
MOST_LINES_OF_COMPAT = 60
MOST_LINES_OF_A_FUNCTION = 40
LONGER = {                  # file, or file.function: why it is longer
}
FUTURE = ['absolute_import', 'division', 'print_function']
WITHOUT_FUTURE = {          # file: why
    'conftest': 'patching comes first',
}


class Source(object):
    """A file, read and parsed."""

    def __init__(self, top, path):
        """`top`: the folder that names begin below; `path`: of the file, below it."""
        with open(os.path.join(top, path), 'rb') as opened:
            octets = opened.read()
        self.name = path[:-len('.py')].replace(os.sep, '.')         # net.stream
        self.wing, _dot, self.module = self.name.rpartition('.')
        self.lines = octets.count(b'\n')
        self.tree = ast.parse(octets, path)
        self.nodes = list(ast.walk(self.tree))

    def walk(self, *kinds):
        """Return all nodes of these kinds."""
        return [node for node in self.nodes if isinstance(node, kinds)]

    def imports(self):
        """Return all that it imports, as dotted names; for `from a import b` both a and a.b."""
        names = set()
        for node in self.walk(ast.Import):
            names.update(alias.name for alias in node.names)
        for node in self.walk(ast.ImportFrom):
            assert not node.level, '%s: a relative import' % self.name
            names.add(node.module)
            names.update('%s.%s' % (node.module, alias.name) for alias in node.names)
        return names

    def ours(self):
        """Return the modules of geproxy that it imports, as dotted names below geproxy."""
        return set(name.partition('.')[2] for name in self.imports() if name.startswith('geproxy.')) & MODULES


def python_files(top):
    """Return the paths of all Python files below a folder, relative to it."""
    return sorted(os.path.relpath(os.path.join(where, name), top)
                  for where, _folders, names in os.walk(top) for name in names if name.endswith('.py'))


MODULES = set(path[:-len('.py')].replace(os.sep, '.') for path in python_files(PACKAGE))
SOURCES = [Source(PACKAGE, path) for path in python_files(PACKAGE)]
TEST_SOURCES = [Source(TESTS, path) for path in python_files(TESTS) if path.split(os.sep)[0] in (
    [wing for wing, _below in WINGS] + [path])]


def those(condition, sources=None):
    """Return the names of the sources for which `condition` is true."""
    return set(source.name for source in sources or SOURCES if condition(source))


def functions():
    """Return all functions of the package, as (module.function, lines)."""
    return [('%s.%s' % (source.name, node.name),
             max(getattr(child, 'lineno', 0) for child in ast.walk(node)) - node.lineno + 1)
            for source in SOURCES for node in source.walk(ast.FunctionDef)]


def circles(edges):
    """Return those keys of {module: set of modules} from which a way leads back to themselves."""
    reached = dict((name, set(nexts)) for name, nexts in edges.items())
    for _ in edges:
        for nexts in reached.values():
            nexts.update(*[reached[name] for name in list(nexts)])
    return [name for name, nexts in reached.items() if name in nexts]


# --- wings

def test_every_module_has_its_wing():
    assert set(source.wing for source in SOURCES) == set(ALLOWED) | {''}
    assert those(lambda source: not source.wing) == GROUND | TOP


def test_imports_between_wings_only_go_down():
    order = [wing for wing, _below in WINGS]
    assert [(wing, name) for wing, below in WINGS for name in below if order.index(name) >= order.index(wing)] == []
    wrong = []
    for source in SOURCES:
        for name in source.ours():
            wing, _dot, module = name.rpartition('.')
            if not wing and (module in TOP or source.name in GROUND and module not in GROUND) and source.name not in TOP:
                wrong.append((source.name, name))
            if wing and source.name not in TOP and wing not in ALLOWED.get(source.wing, ()):
                wrong.append((source.name, name))
    assert wrong == []


def test_a_wing_says_itself_what_it_may_import():
    ground = 'the ground (%s)' % ', '.join(sorted(GROUND - {'__init__'}))
    for wing, below in WINGS:
        first = next(source for source in SOURCES if source.wing == wing and source.module == '__init__')
        line = re.search('^May import: (.*)\\.$', ast.get_docstring(first.tree), re.M).group(1)
        names = [] if line == ground + ', and no wing' else line[len(ground + ', '):].split(', ')
        assert line.startswith(ground + ', ') and [name.partition('.')[0] for name in names] == below, wing
        # Where it names modules of another wing, these are all that it imports of that.
        for name in names:
            other = name.partition('.')[0]
            used = set(each for source in SOURCES if source.wing == wing for each in source.ours()
                       if each.startswith(other + '.'))
            assert name == other or used == {name}, wing


def test_a_wing_lists_no_wing_that_it_does_not_need():
    for wing, below in WINGS:
        used = set(name.rpartition('.')[0] for source in SOURCES if source.wing == wing for name in source.ours())
        assert set(below) <= used, wing


def test_the_manual_lists_the_wings_in_their_order():
    assert list(docs.WINGS) == [wing for wing, _below in reversed(WINGS)]


def test_policy_and_parsers_do_no_io_and_policy_asks_no_clock():
    for wing, impure in (('policy', IMPURE | {'time'}), ('http1', IMPURE)):         # http1 writes the field Date
        for source in SOURCES:
            if source.wing == wing:
                assert not source.imports() & impure, source.name
                assert not [name for name in source.walk(ast.Name) if name.id in ('open', 'print')], source.name


def test_no_import_goes_round_in_a_circle():
    assert circles(dict((source.name, source.ours() - {source.name}) for source in SOURCES)) == []


def test_a_wing_says_what_it_is_for_and_exports_nothing():
    for source in SOURCES:
        if source.module == '__init__' and source.wing:
            text = ast.get_docstring(source.tree)
            assert len(source.tree.body) == 1 and 'May import: ' in text and 'Start reading at: ' in text, source.name


def test_gevent_is_imported_only_where_it_is_needed():
    assert those(lambda source: any(name.split('.')[0] == 'gevent' for name in source.imports())) == WITH_GEVENT


def test_the_ini_file_is_read_by_nothing_below_the_wiring():
    assert those(lambda source: 'settings.loading' in source.ours()) == WITH_LOADING


def test_greenlets_are_spawned_only_where_someone_waits_for_them():
    assert those(lambda source: any(
        node.attr in ('spawn', 'spawn_later', 'spawn_raw', 'Greenlet') and getattr(node.value, 'id', '') == 'gevent'
        for node in source.walk(ast.Attribute))) == SPAWNING


def test_every_module_has_a_test_of_its_name_in_the_same_wing():
    tests = those(lambda source: True, TEST_SOURCES)

    def test_of(source):
        return '%s%stest_%s' % (source.wing, source.wing and '.', source.module)
    assert those(lambda source: source.module != '__init__' and test_of(source) not in tests) == set()
    # And none is left behind by a module that was moved.
    assert those(lambda source: source.wing in ALLOWED and source.name.replace('test_', '') not in MODULES,
                 TEST_SOURCES) == set()


def test_no_two_tests_have_one_name():
    names = [source.module for source in TEST_SOURCES if source.module.startswith('test_')]
    assert sorted(names) == sorted(set(names))          # pytest imports them by these


# --- sizes and manners

def test_a_file_is_not_longer_than_its_reader_is_patient():
    assert those(lambda source: source.lines > MOST_LINES) == set(name for name in LONGER if name in MODULES)
    assert [source.lines for source in SOURCES if source.name == 'compat'] <= [MOST_LINES_OF_COMPAT]


def test_a_function_fits_on_a_screen():
    longer = set(name for name, lines in functions() if lines > MOST_LINES_OF_A_FUNCTION)
    assert longer == set(name for name in LONGER if name not in MODULES)


def test_a_file_begins_with_what_it_is_for():
    def begins_so(source):
        if not ast.get_docstring(source.tree):
            return False
        future = source.tree.body[1] if len(source.tree.body) > 1 else None
        return source.module in WITHOUT_FUTURE or source.module == '__init__' or (
            getattr(future, 'module', '') == '__future__' and [alias.name for alias in future.names] == FUTURE)
    assert those(lambda source: not begins_so(source), SOURCES + TEST_SOURCES) == set()


def test_every_public_function_and_class_has_a_docstring():
    missing = set()
    for source in SOURCES:
        inner = set(child for node in source.walk(ast.FunctionDef) for child in ast.walk(node) if child is not node)
        missing.update('%s.%s' % (source.name, node.name) for node in source.walk(ast.FunctionDef, ast.ClassDef)
                       if node.name[:1] != '_' and node not in inner and not ast.get_docstring(node))
    assert missing == set()


def arguments_of(function):
    """Return the names of the arguments of a function, a node of ast, without self and cls."""
    rest = [each for each in (function.args.vararg, function.args.kwarg) if each is not None]
    # On Python 2 they are Names with an `id`, and *arguments is its name alone.
    names = [getattr(each, 'arg', None) or getattr(each, 'id', each) for each in function.args.args + rest]
    return [name for name in names if name not in ('self', 'cls')]


def unnamed_arguments(parent, above=''):
    """Return the arguments that no docstring names, as (class, function, argument), of public functions.

    `parent`: a node of ast; `above`: the docstring of the class, which may name the arguments of __init__.
    """
    found = []
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.ClassDef):
            found += unnamed_arguments(node, ast.get_docstring(node) or '')
        elif isinstance(node, ast.FunctionDef) and (node.name[:1] != '_' or node.name == '__init__'):
            text = '%s %s' % (ast.get_docstring(node) or '', above if node.name == '__init__' else '')
            words = set(re.findall(r'\w+', text))
            found += [(getattr(parent, 'name', ''), node.name, name)
                      for name in arguments_of(node) if name not in words]
        elif isinstance(node, (ast.If, ast.Try if hasattr(ast, 'Try') else ast.TryExcept)):
            found += unnamed_arguments(node, above)
    return found


def test_the_docstring_of_a_public_function_names_each_argument():
    assert [(source.name,) + missing for source in SOURCES for missing in unnamed_arguments(source.tree)] == []


def test_an_argument_that_no_docstring_names_is_found():
    text = '\n'.join([
        'def named(text, *lines):', '    """Return `text` and all lines."""',
        'def unnamed(text, *lines, **more):', '    """Return the texts."""',
        'def _private(text):', '    """Return it."""',
        'class Text(object):', '    """A text. `line`: its only line."""',
        '    def __init__(self, line, size):', '        """Make it."""'])
    assert unnamed_arguments(ast.parse(text)) == [
        ('', 'unnamed', 'text'), ('', 'unnamed', 'lines'), ('', 'unnamed', 'more'), ('Text', '__init__', 'size')]


def test_the_version_of_python_is_the_business_of_compat():
    names = ('version_info', 'PY2', 'PY3', 'hexversion', 'six', 'unicode_literals')
    assert those(lambda source: any(node.attr in names for node in source.walk(ast.Attribute)) or any(
        name.rsplit('.', 1)[-1] in names for name in source.imports())) == ASKING_PYTHON


def test_nothing_is_caught_or_imported_by_accident():
    assert those(lambda source: any(node.type is None for node in source.walk(ast.ExceptHandler))) == set()
    assert those(lambda source: any(name.endswith('.*') for name in source.imports())) == set()


def test_no_module_is_named_like_one_of_the_standard_library():
    # On Python 2 there is a module commands: a wing is never imported by its bare name.
    for name in sorted(set(source.module for source in SOURCES) - {'__init__', '__main__'}):
        with pytest.raises(ImportError):
            __import__(name)


# --- what is installed

def test_importing_any_module_patches_nothing_and_installs_no_signal_handler():
    names = sorted('geproxy.' + name.replace('.__init__', '') for name in MODULES - {'__init__'}) + ['geproxy']
    assert 'geproxy.__main__' in names and 'geproxy.net' in names
    script = '\n'.join([
        'import signal, socket, sys, threading',
        'before = [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)]',
        'socket_class, path = socket.socket, sys.path[:]',
        'for name in %r:' % names,
        '    __import__(name)',
        'assert before == [signal.getsignal(number) for number in range(1, 65) if number not in (32, 33)]',
        'assert socket.socket is socket_class and sys.path == path',
        'from gevent import monkey',
        'assert not monkey.saved, monkey.saved',
        'assert threading.active_count() == 1',
    ])
    subprocess.check_call([sys.executable, '-c', script], cwd=CHECKOUT)


def test_another_program_can_use_the_parser_with_its_own_threads_and_sockets():
    script = '\n'.join([
        'import socket, threading',
        'from geproxy.http1 import message, reading',
        'from geproxy.net import address',
        'ours, theirs = socket.socketpair()',
        'theirs.sendall(b"GET http://a.test:81/x HTTP/1.1\\r\\nHost: a.test:81\\r\\n\\r\\n")',
        'requests = []',
        'thread = threading.Thread(target=lambda: requests.append(reading.parse_request(ours.recv(1000))))',
        'thread.start()',
        'thread.join()',
        'assert requests[0].method == b"GET" and requests[0].values(b"host") == (b"a.test:81",), requests',
        'from gevent import monkey',
        'assert not monkey.saved, monkey.saved',
    ])
    subprocess.check_call([sys.executable, '-c', script], cwd=CHECKOUT)


@pytest.mark.programs
def test_a_wheel_has_every_file_of_the_package():
    for needed in ('setuptools', 'wheel'):
        pytest.importorskip(needed)         # .ci/run compares the wheel that it builds, too
    with folder() as here:
        with zipfile.ZipFile(build_wheel(here)) as wheel:
            packed = set(each for each in wheel.namelist() if each.startswith('geproxy/'))
    kept = subprocess.check_output(['git', 'ls-files', 'geproxy'], cwd=CHECKOUT).decode('ascii').split()
    assert packed == set(kept)
