"""The command line: what it prints, to which stream, and its exit code."""
from __future__ import absolute_import, division, print_function

import os
import platform
import re
import signal
import socket
import sys

import gevent
import pytest
from helpers import listening
from processes import CHECKOUT, GEPROXY, Client, answering, folder, get, process, read, run, running, unprivileged, write

import geproxy
from geproxy import cli
from geproxy.service.startup import BAD_FILE


@pytest.fixture
def here():
    """Give a folder for files."""
    with folder() as path:
        yield path


def written(here, text):
    path = os.path.join(here, 'proxy.ini')
    write(path, text)
    return path


# --- --check ---------------------------------------------------------------------------------------------------------

GOOD = [
    '',
    '[proxy]\nlisten = 127.0.0.1:3128\n',
    '[access]\nclients = loopback\n  10.0.0.0/8\n; a comment\n[log]\nformat = json\n',
    b'\xef\xbb\xbf[proxy]\r\nname = gateway\r\n',       # as Windows editors write it
]


@pytest.mark.parametrize('text', GOOD)
def test_a_good_file_is_fine(here, capsys, text):
    path = written(here, text)
    assert cli.main(['--check', path]) == 0
    assert capsys.readouterr() == ('%s: fine\n' % path, '')


BAD = [     # text, what is said: line: [section] name: ...
    ('[proxy]\nlisten = 90000\n', "2: [proxy] listen: invalid listener '90000': expected *:9000, "),
    ('[proxy]\nlisten = ::1:9000\n', "2: [proxy] listen: invalid listener '::1:9000': expected brackets"),
    ('[proxy]\nlisten = *:65536\n', "2: [proxy] listen: invalid listener '*:65536'"),
    ('[proxy]\nlisten =\n', '2: [proxy] listen: no listener: expected at least one of *:9000'),
    ('[proxy]\n\n# so\nlisen = *:9000\n', '4: [proxy] lisen: unknown option (did you mean listen?)'),
    ('[proxi]\nlisten = *:9000\n', '1: [proxi]: unknown section (did you mean proxy?)'),
    ('[proxy]\nclients = any\n',
     '2: [proxy] clients: unknown option in this section (did you mean [access] clients?)'),
    ('[auth]\nuser = joe\n', '2: [auth] user: unknown option in this section (did you mean users, or [proxy] user?)'),
    ('[access]\nrules =\nallow any any\n',
     '3: [access] allow any any: invalid line: expected name = value (if this is a row of rules: rows are indented)'),
    ('[access]\nrules = allow all any\n', "2: [access] rules: invalid client 'all': did you mean any?"),
    ('listen = *:9000\n', '1: listen: this line is before the first [section]'),
    ('[proxy]\nlisten\n', '2: [proxy] listen: invalid line: expected name = value'),
    ('[timeouts]\nhead = 1\nhead = 2\n', '3: [timeouts] head: duplicate option: line 2 has it already'),
    ('[timeouts]\nhead = soon\n', "2: [timeouts] head: invalid duration 'soon': expected seconds above 0, or a number"),
    ('[access]\nclients = 10.0.0.1/8\n', "did you mean 10.0.0.0/8?"),
    ('[access]\nclients = lopback\n', '(did you mean loopback?)'),
    ('[log]\nformat = jsn\n', "2: [log] format: invalid value 'jsn': expected one of auto, console, squid, common, json "
                              "(did you mean json?)"),
]


@pytest.mark.parametrize('text,what', BAD)
def test_a_mistake_in_the_file_is_reported_with_its_line_and_the_remedy(here, capsys, text, what):
    path = written(here, text)
    assert cli.main(['--check', path]) == 1
    shown, said = capsys.readouterr()
    assert shown == '' and said.count('\n') == 1
    assert said.startswith('%s:' % path) and what in said


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_lines(here, capsys):
    path = written(here, '[log]\nformat = x\n[proxy]\nlisten = y\n[access]\nports = 1\n')
    assert cli.main(['--check', path]) == 1
    lines = capsys.readouterr()[1].splitlines()
    assert [line[len(path):].split(':')[1] for line in lines] == ['2', '4', '6']


def test_check_reads_the_file_of_c_too(here, capsys):
    path = written(here, '[proxy]\nlisten = 90000\n')
    assert cli.main(['--check', '-c', path]) == 1
    assert capsys.readouterr()[1].startswith('%s:2: [proxy] listen: ' % path)


@pytest.mark.parametrize('text, line, what', [
    ('[log]\naccess = HERE/no/access.log\n', 2, '[log] access: there is no folder HERE/no: make it, for the user that'),
    ('[log]\nformat = json\nerrors = HERE\n', 3, '[log] errors: HERE is a folder'),
    ('[limits]\nquota_file = HERE/no/quota\n', 2, '[limits] quota_file: there is no folder HERE/no'),
    ('[proxy]\nuser = no-such-user\n', 2, "[proxy] user: there is no user 'no-such-user'; make it: useradd --system"),
    ('[proxy]\nuser = nobody\ngroup = no-such-group\n', 2, "[proxy] group: there is no group 'no-such-group'; make it"),
    ('[proxy]\ngroup = nobody\n', 2, '[proxy] group needs [proxy] user'),
    ('[admin]\nlisten = unix:HERE/no/{pid}.sock\n', 2, '[admin] listen: there is no folder HERE/no: make it, for the'),
    ('[proxy]\nlisten = 127.0.0.1:3128\n[admin]\nlisten = 127.0.0.1:3128\n', 4, '[admin] listen: port 3128 is used'),
    ('[proxy]\nlisten = *:3128 127.0.0.1:3128\n', 2, '[proxy] listen: port 3128 is used twice'),
])
def test_a_check_finds_what_would_prevent_a_start(here, capsys, text, line, what):
    path = written(here, text.replace('HERE', here))
    assert cli.main(['--check', path]) == 1
    shown, said = capsys.readouterr()
    assert shown == '' and said.startswith('%s:%d: %s' % (path, line, what.replace('HERE', here)))


def test_a_check_names_the_missing_folder_of_an_admin_socket(here, capsys):
    path = written(here, '[admin]\nlisten = 127.0.0.1:9001 unix:/run/no-such-folder/{pid}.sock unix:%s/a.sock\n' % here)
    assert cli.main(['--check', path]) == 0
    assert capsys.readouterr()[0].splitlines() == ['%s: fine' % path, (
        '%s:2: [admin] listen: there is no folder /run/no-such-folder: make it, for the user that runs geproxy (systemd makes it by '
        'RuntimeDirectory=)' % path)]


@pytest.mark.parametrize('section', ['proxy', 'admin'])
def test_a_check_reports_an_address_that_this_host_does_not_have(here, capsys, section):
    path = written(here, '[%s]\nlisten = 192.0.2.77:3128\n' % section)
    assert cli.main(['--check', path]) == 0         # the file may be for another host, or the address may come later
    assert capsys.readouterr() == (
        '%s: fine\n%s:2: [%s] listen: this host has no address 192.0.2.77 now: geproxy cannot start on this host now\n' % (
            path, path, section), '')


@pytest.mark.parametrize('text', [
    '[proxy]\nlisten = 127.0.0.1:PORT\n',                             # the process that runs now may have it
    '[proxy]\nlisten = fd:7\n',
    '[proxy]\nlisten = 127.0.0.1:0\n[admin]\nlisten = 127.0.0.1:3128\n',
])
def test_a_check_accepts_listeners_that_a_process_can_open(here, capsys, text):
    taken = socket.socket()
    taken.bind(('127.0.0.1', 0))
    taken.listen(1)
    try:
        path = written(here, text.replace('PORT', '%d' % taken.getsockname()[1]))
        assert (cli.main(['--check', path]), capsys.readouterr()) == (0, (path + ': fine\n', ''))
    finally:
        taken.close()


def test_a_check_by_root_opens_the_log_as_the_user_who_will_write_it(here):
    if os.getuid():
        pytest.skip('this takes root')
    os.chmod(here, 0o755)
    path = written(here, '[proxy]\nuser = nobody\n[log]\naccess = %s/access.log\n' % here)
    wrong = run(GEPROXY + ['--check', path])
    assert (wrong.popen.returncode, wrong.out) == (1, b'')
    assert wrong.err.decode('ascii') == '%s:4: [log] access: nobody cannot write %s/access.log\n' % (path, here)
    os.chmod(here, 0o777)
    assert run(GEPROXY + ['--check', path]).popen.returncode == 0


@pytest.mark.skipif(not hasattr(signal, 'pthread_sigmask'), reason='this Python cannot block a signal')
def test_a_check_by_root_ends_even_if_sigchld_is_blocked(here):
    if os.getuid():
        pytest.skip('this takes root')
    os.chmod(here, 0o755)
    path = written(here, '[proxy]\nuser = nobody\n[log]\naccess = %s/access.log\n' % here)
    blocked = 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD]); os.execv(sys.argv[1], sys.argv[1:])'
    wrong = run([sys.executable, '-c', blocked] + GEPROXY + ['--check', path])
    assert wrong.popen.returncode == 1 and b'nobody cannot write' in wrong.err


def test_check_needs_a_file(capsys):
    assert cli.main(['--check']) == 2
    assert capsys.readouterr() == ('', 'geproxy: --check needs a FILE\n')


def test_check_as_a_process_exits_with_0_or_1(here):
    good, bad = os.path.join(CHECKOUT, 'conf', 'proxy.ini'), written(here, '[proxy]\nlistem = *:9000\n')
    fine, wrong = run(GEPROXY + ['--check', good]), run(GEPROXY + ['--check', bad])
    assert (fine.popen.returncode, fine.out, fine.err) == (0, ('%s: fine\n' % good).encode('ascii'), b'')
    assert (wrong.popen.returncode, wrong.out) == (1, b'')
    assert wrong.err.decode('ascii') == '%s:2: [proxy] listem: unknown option (did you mean listen?)\n' % bad


# --- --example, --version, usage -------------------------------------------------------------------------------------

def test_the_example_is_conf_proxy_ini():
    shown = run(GEPROXY + ['--example'])
    assert (shown.popen.returncode, shown.err) == (0, b'')
    assert shown.out == read(os.path.join(CHECKOUT, 'conf', 'proxy.ini'))


def test_the_version_names_geproxy_python_and_gevent():
    shown = run(GEPROXY + ['--version'])
    assert (shown.popen.returncode, shown.err) == (0, b'')
    assert shown.out.decode('ascii') == 'geproxy %s, Python %s, gevent %s\n' % (
        geproxy.__version__, platform.python_version(), gevent.__version__)


@pytest.mark.parametrize('arguments', [['--nonsense'], ['proxy.ini'], ['-c']])
def test_a_wrong_option_is_reported_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    shown, said = capsys.readouterr()
    assert raised.value.code == 2 and shown == ''
    assert said.startswith('usage: geproxy ') and 'geproxy: error: ' in said.splitlines()[-1]


# --- errors at start -------------------------------------------------------------------------------------------------

def refused(arguments, code=1, **options):
    """Return what geproxy says when it does not start: one line on standard error, native text."""
    ended = run(GEPROXY + arguments, **options)
    assert ended.popen.returncode == code, ended
    assert ended.out == b''
    said = ended.err.decode('ascii')
    assert 'Traceback' not in said and said.endswith('\n') and said.count('\n') == 1
    return said


def test_a_missing_file_is_reported(here):
    path = os.path.join(here, 'nowhere.ini')
    assert refused(['-c', path], BAD_FILE) == 'geproxy: %s: No such file or directory\n' % path


def test_a_file_that_may_not_be_read_is_reported(here):
    path = written(here, '')
    os.chmod(path, 0)
    assert refused(['-c', path], BAD_FILE, preexec_fn=unprivileged) == 'geproxy: %s: Permission denied\n' % path


def refused_here(capsys, path, code=BAD_FILE):
    """Do the same in this process, which is quicker."""
    assert cli.main(['-c', path]) == code
    shown, said = capsys.readouterr()
    assert shown == '' and said.endswith('\n') and said.count('\n') == 1
    return said


def test_a_folder_in_the_place_of_the_file_is_reported(here, capsys):
    assert refused_here(capsys, here) == 'geproxy: %s: Is a directory\n' % here


@pytest.mark.parametrize('octets, line', [(b'\x7fELF\x02\x01\x01\x00\xff\xfe', 1), (b'[proxy]\nname = caf\xe9\n', 2)])
def test_a_binary_file_is_reported(here, capsys, octets, line):
    path = written(here, octets)
    assert refused_here(capsys, path).startswith('%s:%d: not a text file in UTF-8: octet ' % (path, line))


def test_a_bad_option_is_reported(here, capsys):
    path = written(here, '[timeouts]\ndrain = never\n')
    assert refused_here(capsys, path).startswith("%s:2: [timeouts] drain: invalid duration 'never': " % path)


# --- serving ---------------------------------------------------------------------------------------------------------

def test_http_proxy_in_the_environment_is_ignored():
    # supervisord passes on the http_proxy of its own environment.
    nowhere = dict((name, 'http://127.0.0.1:9/') for name in ('http_proxy', 'HTTP_PROXY', 'https_proxy', 'all_proxy'))
    with listening(answering()) as origin, running(more_env=nowhere) as proxy:
        with Client(proxy.address) as client:
            assert client.ask(get(origin)).endswith(b'fine')


def test_without_a_file_the_defaults_hold():
    with process(GEPROXY) as started:
        said = started.wait_for(br'listening on .*\n|cannot listen on .*\n').group().decode('ascii')
    if 'cannot' in said:
        assert 'port 9000: the port is in use' in said
        pytest.skip('another program has port 9000 here')
    assert '0.0.0.0:9000' in said and 'for loopback private; all defaults; ' in said


@pytest.mark.parametrize('arguments', [['--example'], ['why', 'http://127.0.0.1/', '--no-net'], ['--version']])
def test_a_reader_that_closes_the_pipe_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(GEPROXY + arguments, stdout=writing)
    finally:
        os.close(writing)
    assert (ended.wait(), ended.err) == (1, b'')


@pytest.mark.parametrize('word, meant', [('relaod', 'reload'), ('--chek', '--check'), ('--exampel', '--example')])
def test_a_misspelt_command_or_option_gets_the_right_one_as_hint(word, meant, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main([word, '--dry-run'])
    assert raised.value.code == 2 and '(did you mean %s?)' % meant in capsys.readouterr()[1]


def test_a_file_without_c_gets_a_hint(here, capsys):
    path = written(here, '')
    with pytest.raises(SystemExit) as raised:
        cli.main([path])
    assert raised.value.code == 2 and '(did you mean -c %s?)' % path in capsys.readouterr()[1]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_a_full_disk_is_reported():
    full = os.open('/dev/full', os.O_WRONLY)
    try:
        ended = run(GEPROXY + ['--example'], stdout=full)
    finally:
        os.close(full)
    assert (ended.wait(), ended.err) == (1, b'geproxy: cannot write to standard output: No space left on device\n')


def test_a_check_says_what_a_reload_would_change(here, capsys):
    old, new = written(here, '[limits]\nfields = 7\n'), os.path.join(here, 'new.ini')
    write(new, '[access]\nrules = deny any any\n')
    assert cli.main(['--check', new, '--against', old]) == 0
    assert capsys.readouterr()[0] == (
        '%s: fine\n[access] rules: +deny any any\n[limits] fields: 7 -> 1000\n' % new)
    assert cli.main(['--check', new, '--against', new]) == 0
    assert capsys.readouterr()[0] == '%s: fine\nno changes against %s\n' % (new, new)
    assert cli.main(['--check', new, '--against', here]) == 1


# --- the table of commands -------------------------------------------------------------------------------------------

@pytest.mark.parametrize('command', cli.COMMANDS.values(), ids=lambda command: command.name)
def test_each_command_has_its_function_and_its_help(command, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.find(command)([command.name, '--help'])
    assert raised.value.code == 0 and 'usage: geproxy %s ' % command.name in capsys.readouterr()[0]
    assert re.match(r'[A-Z][ -~]+\.\Z', command.sentence)


def test_the_help_lists_all_commands(capsys):
    with pytest.raises(SystemExit):
        cli.main(['--help'])
    rows = [line.split() for line in capsys.readouterr()[0].partition('\ncommands ')[2].splitlines()[1:]]
    assert [row[0] for row in rows] == list(cli.COMMANDS)


def test_each_module_of_commands_is_in_the_table():
    folder_of_commands = os.path.join(CHECKOUT, 'geproxy', 'commands')
    modules = set(name[:-len('.py')] for name in os.listdir(folder_of_commands) if name.endswith('.py'))
    used = set(command.function.split('.')[0] for command in cli.COMMANDS.values())
    with_main = set(name for name in modules if re.search(
        br'(?m)^def main\(arguments', read(os.path.join(folder_of_commands, name + '.py'))))
    assert with_main <= used <= modules


IMPORTED = '''
import sys
from geproxy import cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
print(' '.join(sorted(name for name in sys.modules if name.startswith('geproxy.') and sys.modules[name])))
'''


@pytest.mark.parametrize('arguments, needed, not_needed', [
    (['--version'], [], ['commands', 'service.server']),
    (['why', '--help'], ['commands.why'], ['commands.live', 'service.server']),
    (['-c', '/no/such/file'], ['service.server'], ['commands', 'admin.client']),
])
def test_only_what_the_command_line_needs_is_imported(arguments, needed, not_needed):
    names = run([sys.executable, '-c', IMPORTED] + arguments).out.decode('ascii').splitlines()[-1].split()
    assert all('geproxy.' + name in names for name in needed), names
    assert not any('geproxy.' + name in names for name in not_needed), names
