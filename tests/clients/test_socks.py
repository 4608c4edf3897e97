"""Clients that speak SOCKS to the port that others use for HTTP."""
from __future__ import absolute_import, division, print_function

import getpass
import os
import sys

import pytest
from helpers import free_port

from .origins import digest
from .programs import Watched

HERE = os.path.dirname(os.path.abspath(__file__))

# Writes the body of the response to standard output, or says why there is none. Arguments: the URL, the proxy.
REQUESTS = r'''
import sys
import requests
import socks        # PySocks, which requests needs for this

try:
    response = requests.get(sys.argv[1], proxies=dict.fromkeys(('http', 'https'), sys.argv[2]), timeout=20, verify=sys.argv[3])
    print(response.text)
except requests.RequestException as error:
    print(error)
'''


@pytest.fixture
def bare(tmpdir):
    """Return an environment that names no proxy."""
    return {'PATH': os.environ['PATH'], 'HOME': str(tmpdir), 'LANG': 'C.UTF-8'}


@pytest.mark.parametrize('kind', ['socks4', 'socks4a', 'socks5', 'socks5h'])
def test_curl_gets_and_uploads(client, run, proxy, origins, trusted, bare, path, body, body_file, kind):
    origins.content.offer(path, body)
    base = [client('curl'), '-q', '-sS', '--fail', '--cacert', trusted, '--proxy', '%s://%s' % (kind, proxy.authority)]
    result = run(base + [origins.by('http').url(path), origins.by('https').url(path)], bare)
    assert result.code == 0 and digest(result.out) == digest(body + body), result.err
    result = run(base + ['--upload-file', body_file, origins.by('https').url(path)], bare)
    assert result.code == 0 and origins.sole_upload(path) == ('PUT', digest(body)), result.err
    proxy.saw('CONNECT', ':' + origins.by('https').authority.partition(':')[2])


def test_curl_logs_in(client, run, asking, origins, bare, path):
    origins.content.offer(path, b'fine')
    command = [client('curl'), '-q', '-sS', '--fail', origins.by('http').url(path), '--proxy']
    for kind in ('socks5', 'socks5h'):
        result = run(command + ['%s://bob:bob-secret@%s' % (kind, asking.authority)], bare)
        assert (result.code, result.out) == (0, b'fine'), result.err
    for wrong in ('socks5h://bob:wrong@%s', 'socks5h://%s', 'socks4a://%s'):
        result = run(command + [wrong % asking.authority], bare)
        assert result.code == 97, result.err            # CURLE_PROXY
    asking.process.wait_for(b'login_required', b'SOCKS 4 has no password: use socks5h://')


def test_curl_needs_no_log_in_but_may_bring_one(client, run, proxy, origins, bare, path):
    origins.content.offer(path, b'fine')
    result = run([client('curl'), '-q', '-sS', '--fail', '--socks5-basic', origins.by('http').url(path), '--proxy',
                  'socks5h://bob:any@' + proxy.authority], bare)
    assert (result.code, result.out) == (0, b'fine'), result.err


@pytest.mark.parametrize('kind, said', [('socks4a', b'request rejected'), ('socks5h', b'(2)')])
def test_curl_is_refused_what_a_rule_denies(client, run, proxy, bare, kind, said):
    result = run([client('curl'), '-q', '-sS', '--proxy', '%s://%s' % (kind, proxy.authority), 'http://a.denied.test/'],
                 bare)
    assert result.code == 97 and said in result.err, result
    proxy.process.wait_for(b'a.denied.test', b'SEC-1: not for us')


def test_git_lists_a_repository(client, run, proxy, origins, trusted, bare, path):
    origins.content.offer(path + '/info/refs', b'%040d\trefs/heads/main\n' % 1)
    origins.content.offer(path + '/HEAD', b'ref: refs/heads/main\n')
    environment = dict(bare, GIT_CONFIG_NOSYSTEM='1', GIT_TERMINAL_PROMPT='0', GIT_SSL_CAINFO=trusted)
    result = run([client('git'), '-c', 'http.proxy=socks5h://' + proxy.authority, 'ls-remote',
                  origins.by('https').url(path)], environment)
    assert result.code == 0 and b'refs/heads/main' in result.out, result.err


def test_requests_with_pysocks(run, proxy, asking, origins, trusted, bare, path):
    pytest.importorskip('socks')
    origins.content.offer(path, b'fine')
    url = origins.by('https').url(path)
    for proxy_url, said in [('socks5h://' + proxy.authority, b'fine\n'), ('socks4a://' + proxy.authority, b'fine\n'),
                            ('socks5h://bob:bob-secret@' + asking.authority, b'fine\n'),
                            ('socks5h://bob:wrong@' + asking.authority, b'authentication failed')]:
        result = run([sys.executable, '-c', REQUESTS, url, proxy_url, trusted], bare)
        assert said in result.out, (proxy_url, result)


def test_java_asks_by_a_socket(client, lacking_client, run, proxy, asking, origins, bare, path):
    client('javac', 'java')                     # the compiler, which a JRE lacks
    origins.content.offer(path, b'fine')
    where = origins.by('http').authority.replace(':', ' ')
    lines = ['%d - %s %s' % (proxy.port, where, path), '%d bob:bob-secret %s %s' % (asking.port, where, path),
             '%d - %s %s' % (asking.port, where, path), '%d - a.denied.test 80 /' % proxy.port]
    result = run([client('java'), '-XX:TieredStopAtLevel=1', os.path.join(HERE, 'SocksClient.java')], bare,
                 stdin='\n'.join(lines).encode('ascii'))
    if b'Could not find or load main class' in result.err:
        lacking_client('Java 11 or newer')
    said = result.out.decode('ascii').splitlines()
    assert said[:2] == ['fine', 'fine'] and 'authentication failed' in said[2], result
    assert said[3] == 'java.net.SocketException: SOCKS: Connection not allowed by ruleset'


@pytest.fixture
def sshd(client, run, bare, tmpdir):
    """Run an sshd on loopback. Return (its port, the options with which ssh logs in there)."""
    program = client('sshd')                    # sshd wants to be called by its whole path
    if not os.getuid() and not os.path.exists('/run/sshd'):
        os.mkdir('/run/sshd')                   # as its service does; without it sshd does not start as root
    for name in ('host', 'user'):
        run([client('ssh-keygen'), '-q', '-t', 'ed25519', '-N', '', '-f', str(tmpdir.join(name))], bare)
    tmpdir.join('user.pub').copy(tmpdir.join('authorized'))
    port = free_port()
    server = Watched([program, '-D', '-e', '-f', os.devnull, '-p', str(port), '-h', str(tmpdir.join('host'))] + [
        '-o' + option for option in (
            'ListenAddress=127.0.0.1', 'AuthorizedKeysFile=%s' % tmpdir.join('authorized'), 'StrictModes=no', 'UsePAM=no',
            'PidFile=none')], bare, str(tmpdir))
    try:
        server.wait_for(b'Server listening')
        yield port, ['-F', os.devnull, '-i', str(tmpdir.join('user')), '-p', str(port), '-oStrictHostKeyChecking=no',
                     '-oBatchMode=yes', '-oUserKnownHostsFile=' + os.devnull]
    finally:
        server.stop()


def test_ssh_logs_in_through_nc(client, run, proxy, sshd, bare):
    port, options = sshd
    for version in ('5', '4'):
        result = run([client('ssh')] + options + [
            '-oProxyCommand=%s -X %s -x %s %%h %%p' % (client('nc'), version, proxy.authority),
            '%s@127.0.0.1' % getpass.getuser(), 'echo fine; cat'], bare, stdin=b'and back')
        assert (result.code, result.out) == (0, b'fine\nand back'), result.err
    proxy.saw('CONNECT', '127.0.0.1:%d' % port)
