"""Files in conf/ for other programs: what these say of them, and that they agree with geproxy. (Also: test_supervisord,
test_haproxy; systemd's in test_notify.)"""
from __future__ import absolute_import, division, print_function

import glob
import gzip
import io
import os
import re
import time

import pytest
from processes import CHECKOUT, Client, folder, own, read, run, running, wait_until, write

from geproxy.commands import docs
from geproxy.settings import loading, schema

CONF = os.path.join(CHECKOUT, 'conf')
LOGROTATE = '/usr/sbin/logrotate'
KUBERNETES = os.path.join(CONF, 'kubernetes.yaml')
PATHS = sorted(path for path in glob.glob(os.path.join(CONF, '*')) if not re.search(r'\.(?:ini|conf|blocked|groups|users)\Z', path))


def text_of(path):
    """Return the text of a file, Unicode."""
    with io.open(path, encoding='utf-8') as opened:
        return opened.read()


@pytest.mark.parametrize('path', PATHS, ids=os.path.basename)
def test_every_file_says_what_it_is_and_is_in_the_manual(path):
    assert text_of(path).startswith('# %s: ' % os.path.basename(path))
    assert '`conf/%s`' % os.path.basename(path) in ''.join(text_of(each) for each in docs.documents())
    assert max(map(len, text_of(path).splitlines())) <= 132


@pytest.mark.parametrize('path', sorted(glob.glob(os.path.join(CONF, '*'))) + docs.documents(),
                         ids=os.path.basename)
def test_nothing_tells_to_install_what_no_index_has(path):
    commands = re.findall(r'pip install ([^`\n)]*)', text_of(path))
    from_an_index = [command for command in commands if '--no-index' not in command]
    assert [command for command in from_an_index if re.search(r'(?<![\w/.-])geproxy\b', command)] == []


# --- logrotate -------------------------------------------------------------------------------------------------------

def rotation(here, command):
    """The text of conf/logrotate for a log in `here`, that tells geproxy by `command`."""
    text = text_of(os.path.join(CONF, 'logrotate')).replace('/var/log/geproxy', here)
    text = re.sub(r'(?m)^    su .*\n', '', text).replace('create 0640 geproxy geproxy', 'create 0640')
    found = re.search(r'(?m)^ +systemctl .*$', text).group()
    return text.replace(found, command)


@pytest.mark.programs
@pytest.mark.skipif(not os.path.exists(LOGROTATE), reason='no logrotate')
def test_logrotate_understands_its_file():
    with folder() as here:
        write(os.path.join(here, 'logrotate'), rotation(here, 'true'))
        os.chmod(os.path.join(here, 'logrotate'), 0o644)
        asked = run([LOGROTATE, '-d', '-s', os.path.join(here, 'state'), os.path.join(here, 'logrotate')])
        assert asked.popen.returncode == 0 and b'error' not in asked.err.lower()
        assert b'after 1 days (14 rotations)' in asked.err


@pytest.mark.programs
@pytest.mark.skipif(not os.path.exists(LOGROTATE), reason='no logrotate')
def test_a_rotation_loses_no_line():
    with running('[log]\naccess = FOLDER/access.log\n') as proxy, Client(proxy.address) as client:
        path, there = os.path.join(proxy.folder, 'logrotate'), os.path.join(proxy.folder, 'access.log')
        write(path, rotation(proxy.folder, 'kill -USR1 %d' % proxy.pid))
        os.chmod(path, 0o644)
        asked = 0
        for turn in range(3):
            for _ in range(20):
                assert client.ask(own()).startswith(b'HTTP/1.1 200 ')
                asked += 1
            wait_until(lambda: read(there), 'a line')           # or there is nothing to rotate
            rotated = run([LOGROTATE, '-f', '-s', os.path.join(proxy.folder, 'state%d' % turn), path])
            assert rotated.popen.returncode == 0, rotated
            wait_until(lambda: os.path.exists(there), 'the new one')
            now = int(time.time())
            wait_until(lambda: int(time.time()) > now, 'another second: names are of one')
        client.ask(own())
        wait_until(lambda: lines_of(proxy.folder) == asked + 1, 'all lines')


def lines_of(here):
    """How many lines are in all access logs there, also in those that logrotate has compressed."""
    count = 0
    for path in glob.glob(os.path.join(here, 'access.log*')):
        with (gzip.open if path.endswith('.gz') else open)(path, 'rb') as lines:
            count += len(lines.read().splitlines())
    return count


# --- kubernetes ------------------------------------------------------------------------------------------------------

def value(name):
    """What stands behind a name, once, in kubernetes.yaml."""
    found = re.findall(r'(?m)^ *(?:- )?%s: *(.*)$' % re.escape(name), text_of(KUBERNETES))
    assert len(set(found)) == 1, (name, found)
    return found[0]


def embedded_ini():
    """The ini file in the ConfigMap, as lines."""
    block = re.search(r'(?m)^  proxy\.ini: \|\n((?:    .*\n|\n)+)', text_of(KUBERNETES)).group(1)
    return [line[4:] for line in block.splitlines()]


def test_the_ini_file_for_kubernetes_is_one():
    lines = embedded_ini()
    if 'admin' not in schema.SECTIONS:
        lines = lines[:lines.index('[admin]')]
    settings = loading.load('proxy.ini', lines)
    assert settings.proxy.listen[0].port == int(value('containerPort')) == int(value('port'))
    assert (settings.log.access, settings.log.format) == ('-', 'json')
    sleep = int(re.search(r'command: \["sleep", "(\d+)"\]', text_of(KUBERNETES)).group(1))
    assert int(value('terminationGracePeriodSeconds')) > sleep + settings.timeouts.drain + 5


def test_the_probes_ask_where_it_listens():
    ports = re.findall(r'HTTPConnection\("127\.0\.0\.1", (\d+)', text_of(KUBERNETES))
    assert set(ports) == set(re.findall(r'(?m)^    listen = 127\.0\.0\.1:(\d+)$', text_of(KUBERNETES))) and len(ports) == 2
    programs = re.findall(r'(?ms)^ +- -c\n +- \|\n((?: {18}[^\n]*\n)+)', text_of(KUBERNETES))
    assert len(programs) == 2
    for program in programs:
        compile(re.sub('(?m)^ {18}', '', program), 'probe', 'exec')


def test_kubernetes_yaml_is_what_it_says_it_is():
    text = text_of(KUBERNETES)
    assert '\t' not in text
    assert all(len(re.match(' *', line).group()) % 2 == 0 for line in text.splitlines())
    assert re.findall(r'(?m)^kind: (\w+)$', text) == ['ConfigMap', 'Deployment', 'Service', 'PodDisruptionBudget']
    yaml = pytest.importorskip('yaml')
    for each in yaml.safe_load_all(text):
        assert each['metadata']['name'] == 'geproxy'
        if each['kind'] == 'Deployment':
            container, = each['spec']['template']['spec']['containers']
            assert container['command'][1:] == ['-m', 'geproxy', '-c', '/etc/geproxy/proxy.ini']
            assert set(container) >= set(['readinessProbe', 'livenessProbe', 'lifecycle', 'securityContext'])
