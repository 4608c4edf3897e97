"""The command line: what it prints, on which stream, with which exit code."""
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


@pytest.fixture
def here():
    """A folder for files."""
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
    ('[proxy]\nlisten = 90000\n', "2: [proxy] listen: '90000' is nothing to listen on: it takes *:9000, "),
    ('[proxy]\nlisten = ::1:9000\n', "2: [proxy] listen: '::1:9000': an IPv6 address goes in brackets"),
    ('[proxy]\nlisten = *:65536\n', "2: [proxy] listen: '*:65536' is nothing to listen on"),
    ('[proxy]\nlisten =\n', '2: [proxy] listen: it takes at least one of *:9000'),
    ('[proxy]\n\n# so\nlisen = *:9000\n', '4: [proxy] lisen: there is no such option (did you mean listen?)'),
    ('[proxi]\nlisten = *:9000\n', '1: [proxi]: there is no such section (did you mean proxy?)'),
    ('[proxy]\nclients = any\n',
     '2: [proxy] clients: there is no such option here (did you mean [access] clients?)'),
    ('listen = *:9000\n', '1: listen: this stands before the first [section]'),
    ('[proxy]\nlisten\n', '2: [proxy] listen: this line is no name = value'),
    ('[timeouts]\nhead = 1\nhead = 2\n', '3: [timeouts] head: it stands in line 2 already'),
    ('[timeouts]\nhead = soon\n', "2: [timeouts] head: 'soon' is no duration: it takes seconds above 0, or a number"),
    ('[access]\nclients = 10.0.0.1/8\n', "did you mean 10.0.0.0/8?"),
    ('[access]\nclients = lopback\n', '(did you mean loopback?)'),
    ('[log]\nformat = jsn\n', "2: [log] format: 'jsn' is none of auto, console, squid, common, json "
                              "(did you mean json?)"),
]


@pytest.mark.parametrize('text,what', BAD)
def test_a_bad_file_is_told_with_line_and_remedy(here, capsys, text, what):
    path = written(here, text)
    assert cli.main(['--check', path]) == 1
    shown, said = capsys.readouterr()
    assert shown == '' and said.count('\n') == 1
    assert said.startswith('%s:' % path) and what in said


def test_all_problems_are_told_at_once_in_the_order_of_their_lines(here, capsys):
    path = written(here, '[log]\nformat = x\n[proxy]\nlisten = y\n[access]\nports = 1\n')
    assert cli.main(['--check', path]) == 1
    lines = capsys.readouterr()[1].splitlines()
    assert [line[len(path):].split(':')[1] for line in lines] == ['2', '4', '6']


def test_check_takes_the_file_of_c_too(here, capsys):
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
def test_a_check_finds_what_would_keep_it_from_starting(here, capsys, text, line, what):
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
def test_a_check_tells_of_an_address_that_this_host_does_not_have(here, capsys, section):
    path = written(here, '[%s]\nlisten = 192.0.2.77:3128\n' % section)
    assert cli.main(['--check', path]) == 0         # it may be another host's file, or the address may come
    assert capsys.readouterr() == (
        '%s: fine\n%s:2: [%s] listen: this host has no address 192.0.2.77 now: it cannot start here\n' % (
            path, path, section), '')


@pytest.mark.parametrize('text', [
    '[proxy]\nlisten = 127.0.0.1:PORT\n',                             # it may be taken by the process that runs now
    '[proxy]\nlisten = fd:7\n',
    '[proxy]\nlisten = 127.0.0.1:0\n[admin]\nlisten = 127.0.0.1:3128\n',
])
def test_a_check_takes_places_that_a_process_can_have(here, capsys, text):
    taken = socket.socket()
    taken.bind(('127.0.0.1', 0))
    taken.listen(1)
    try:
        path = written(here, text.replace('PORT', '%d' % taken.getsockname()[1]))
        assert (cli.main(['--check', path]), capsys.readouterr()) == (0, (path + ': fine\n', ''))
    finally:
        taken.close()


def test_a_check_by_root_tries_a_log_as_the_user_that_is_to_write_it(here):
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
def test_a_check_by_root_ends_although_the_end_of_its_child_is_not_signalled(here):
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
    assert wrong.err.decode('ascii') == '%s:2: [proxy] listem: there is no such option (did you mean listen?)\n' % bad


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
def test_a_wrong_option_is_told_with_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    shown, said = capsys.readouterr()
    assert raised.value.code == 2 and shown == ''
    assert said.startswith('usage: geproxy ') and 'geproxy: error: ' in said.splitlines()[-1]


# --- errors at start -------------------------------------------------------------------------------------------------

def refused(arguments, code=1, **options):
    """What geproxy says when it does not start: one readable line on standard error, native text."""
    ended = run(GEPROXY + arguments, **options)
    assert ended.popen.returncode == code, ended
    assert ended.out == b''
    said = ended.err.decode('ascii')
    assert 'Traceback' not in said and said.endswith('\n') and said.count('\n') == 1
    return said


def test_a_port_in_use_is_told_with_who_has_it(here):
    taken = socket.socket()
    try:
        taken.bind(('127.0.0.1', 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        said = refused(['-c', written(here, '[proxy]\nlisten = 127.0.0.1:%d\n' % port)])
        assert said.startswith('geproxy: cannot listen on 127.0.0.1 port %d: it is in use' % port)
        if not os.path.exists('/proc/net/tcp'):
            pytest.skip('no /proc/net/tcp here: who listens cannot be known')
        assert ', by process %d (' % os.getpid() in said
    finally:
        taken.close()


def test_a_port_below_1024_is_for_root(here):
    try:
        with open('/proc/sys/net/ipv4/ip_unprivileged_port_start') as opened:
            if int(opened.read()) <= 1023:
                pytest.skip('this host lets everybody listen below port 1024')
    except IOError:
        pass                            # an older kernel: 1024
    said = refused(['-c', written(here, '[proxy]\nlisten = 127.0.0.1:1023\n')], preexec_fn=unprivileged)
    assert said.startswith('geproxy: cannot listen on 127.0.0.1 port 1023: ports below 1024 are for root; ')


def test_a_missing_file_is_told(here):
    path = os.path.join(here, 'nowhere.ini')
    assert refused(['-c', path], cli.BAD_FILE) == 'geproxy: %s: No such file or directory\n' % path


def test_a_file_that_is_for_others_is_told(here):
    path = written(here, '')
    os.chmod(path, 0)
    assert refused(['-c', path], cli.BAD_FILE, preexec_fn=unprivileged) == 'geproxy: %s: Permission denied\n' % path


def refused_here(capsys, path, code=cli.BAD_FILE):
    """The same, in this process, which is quicker."""
    assert cli.main(['-c', path]) == code
    shown, said = capsys.readouterr()
    assert shown == '' and said.endswith('\n') and said.count('\n') == 1
    return said


def test_a_folder_is_no_ini_file(here, capsys):
    assert refused_here(capsys, here) == 'geproxy: %s: Is a directory\n' % here


@pytest.mark.parametrize('octets, line', [(b'\x7fELF\x02\x01\x01\x00\xff\xfe', 1), (b'[proxy]\nname = caf\xe9\n', 2)])
def test_a_binary_file_is_told(here, capsys, octets, line):
    path = written(here, octets)
    assert refused_here(capsys, path).startswith('%s:%d: not a text file in UTF-8: octet ' % (path, line))


def test_a_bad_option_is_told(here, capsys):
    path = written(here, '[timeouts]\ndrain = never\n')
    assert refused_here(capsys, path).startswith("%s:2: [timeouts] drain: 'never' is no duration: " % path)


@pytest.mark.parametrize('option', ['access', 'errors'])
def test_a_log_in_a_missing_folder_is_told(here, capsys, option):
    path = written(here, '[proxy]\nlisten = 127.0.0.1:0\n[log]\n%s = %s/no/such/folder.log\n' % (option, here))
    assert refused_here(capsys, path, 1) == (
        "geproxy: cannot open the log '%s/no/such/folder.log': No such file or directory\n" % here)


def test_fd_0_that_is_no_socket_is_told(here):
    said = refused(['-c', written(here, '[proxy]\nlisten = fd:0\n')])
    assert said.startswith('geproxy: fd:0 is no socket (') and '[fcgi-program:...]' in said


# --- serving ---------------------------------------------------------------------------------------------------------

def test_the_announcement_names_listener_clients_file_and_limit():
    with running('[limits]\nconnections = 12\n') as proxy:
        said = proxy.lines(1, 'err')[0].decode('ascii')
        assert re.match(
            r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d geproxy\[%d\] listening on 127\.0\.0\.1:%d for loopback private; %s; '
            r'up to 12 connections; as geproxy-[0-9a-f]{6}\Z' % (proxy.pid, proxy.address[1], re.escape(proxy.path)), said)


def test_it_listens_on_a_socket_that_it_is_handed_as_standard_input():
    shared = socket.socket()
    try:
        shared.bind(('127.0.0.1', 0))
        shared.listen(16)
        with listening(answering()) as origin, running(listen='fd:0', stdin=shared.fileno()) as proxy:
            assert proxy.address == shared.getsockname()
            with Client(proxy.address) as client:
                assert client.ask(get(origin)).endswith(b'fine')
    finally:
        shared.close()


def test_the_environment_does_not_choose_a_way():
    # supervisord hands on the http_proxy of whoever started it.
    nowhere = dict((name, 'http://127.0.0.1:9/') for name in ('http_proxy', 'HTTP_PROXY', 'https_proxy', 'all_proxy'))
    with listening(answering()) as origin, running(more_env=nowhere) as proxy:
        with Client(proxy.address) as client:
            assert client.ask(get(origin)).endswith(b'fine')


def test_without_a_file_the_defaults_hold():
    with process(GEPROXY) as started:
        said = started.wait_for(br'listening on .*\n|cannot listen on .*\n').group().decode('ascii')
    if 'cannot' in said:
        assert 'port 9000: it is in use' in said
        pytest.skip('somebody has port 9000 here')
    assert '0.0.0.0:9000' in said and 'for loopback private; all defaults; ' in said


@pytest.mark.parametrize('arguments', [['--example'], ['why', 'http://127.0.0.1/', '--no-net'], ['--version']])
def test_a_reader_that_has_seen_enough_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = run(GEPROXY + arguments, stdout=writing)
    finally:
        os.close(writing)
    assert (ended.wait(), ended.err) == (1, b'')


def test_a_command_that_is_nearly_one_is_told(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(['relaod', '--dry-run'])
    assert raised.value.code == 2 and '(did you mean reload?)' in capsys.readouterr()[1]


def test_a_file_without_its_option_is_asked_for(here, capsys):
    path = written(here, '')
    with pytest.raises(SystemExit) as raised:
        cli.main([path])
    assert raised.value.code == 2 and '(did you mean -c %s?)' % path in capsys.readouterr()[1]


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_a_full_disk_is_told():
    full = os.open('/dev/full', os.O_WRONLY)
    try:
        ended = run(GEPROXY + ['--example'], stdout=full)
    finally:
        os.close(full)
    assert (ended.wait(), ended.err) == (1, b'geproxy: standard output: No space left on device\n')


def test_a_check_says_what_a_reload_would_change(here, capsys):
    old, new = written(here, '[limits]\nfields = 7\n'), os.path.join(here, 'new.ini')
    write(new, '[access]\nrules = deny any any\n')
    assert cli.main(['--check', new, '--against', old]) == 0
    assert capsys.readouterr()[0] == (
        '%s: fine\n[access] rules: +deny any any\n[limits] fields: 7 -> 1000\n' % new)
    assert cli.main(['--check', new, '--against', new]) == 0
    assert capsys.readouterr()[0] == '%s: fine\nno changes against %s\n' % (new, new)
    assert cli.main(['--check', new, '--against', here]) == 1
