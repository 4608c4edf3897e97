"""Clients that log in only after a 407: again on the same connection, with CONNECT or without."""
from __future__ import absolute_import, division, print_function

import os

import pytest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])


@SCHEMES
def test_curl_logs_in_after_407_on_the_same_connection(client, run, asking, origins, trusted, tmpdir, path, scheme):
    origins.content.offer(path, b'fine')
    result = run(
        [client('curl'), '-q', '-sS', '--fail', '--cacert', trusted, '--proxy', asking.url, '--proxy-anyauth',
         '--proxy-user', 'bob:bob-secret', '--write-out', ' %{num_connects}', origins.by(scheme).url(path)],
        {'PATH': os.environ['PATH'], 'HOME': str(tmpdir)})
    assert (result.code, result.out) == (0, b'fine 1'), result.err
    asking.process.wait_for(b' 407 ')


@SCHEMES
def test_git_logs_in_after_407(client, run, asking, origins, trusted, tmpdir, path, scheme):
    origins.content.offer(path + '/info/refs', b'%040d\trefs/heads/main\n' % 1)
    origins.content.offer(path + '/HEAD', b'ref: refs/heads/main\n')
    url = 'http://bob:bob-secret@' + asking.authority
    environment = {'PATH': os.environ['PATH'], 'HOME': str(tmpdir), 'GIT_CONFIG_NOSYSTEM': '1', 'GIT_TERMINAL_PROMPT': '0',
                   'GIT_SSL_CAINFO': trusted, 'http_proxy': url, 'https_proxy': url, 'no_proxy': ''}
    result = run([client('git'), 'ls-remote', origins.by(scheme).url(path)], environment)
    assert result.code == 0 and b'refs/heads/main' in result.out, result.err


def test_curl_sends_user_and_password_of_a_url_through_tunnels_and_in_the_open_alike(
        client, run, proxy, origins, trusted, environment, path):
    origins.content.offer(path, b'fine')
    for scheme in ('http', 'https'):
        url = origins.by(scheme).url(path).replace('://', '://bob:open-sesame@') + '#fragment'
        result = run([client('curl'), '-q', '-sS', '--fail', '--cacert', trusted, url], environment)
        assert (result.code, result.out) == (0, b'fine'), result.err
    assert not any(b'open-sesame' in line or b'fragment' in line for line in proxy.process.lines)


def test_wget_may_have_user_and_password_in_its_url(client, run, proxy, origins, environment, path):
    origins.content.offer(path, b'fine')
    url = origins.by('http').url(path).replace('://', '://bob:open-sesame@') + '#fragment'
    result = run([client('wget'), '-q', '-t', '1', '-O', '-', url], environment)
    assert (result.code, result.out) == (0, b'fine'), result.err
    proxy.carried('GET', origins.by('http'), path)
    assert not any(b'open-sesame' in line or b'fragment' in line for line in proxy.process.lines)
