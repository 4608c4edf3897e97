"""Clients that speak TLS to the proxy, because its URL begins with https://."""
from __future__ import absolute_import, division, print_function

import os
import sys

import pytest

from .conftest import REFUSAL, Proxy, environment_of, running
from .origins import digest
from .test_python import AIOHTTP, HTTPX, REQUESTS

TLS = """\
[tls]
certificate = %(own)s
key = %(own)s
clients = %(trusted)s
[auth]
certificates = accepted
"""

GO = r'''
package main

import ("crypto/tls"; "crypto/x509"; "fmt"; "io"; "net/http"; "net/url"; "os")

func main() {
    pem, _ := os.ReadFile(os.Args[2])
    roots := x509.NewCertPool()
    roots.AppendCertsFromPEM(pem)
    proxy, _ := url.Parse(os.Getenv("https_proxy"))
    client := &http.Client{Transport: &http.Transport{
        Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}}
    response, err := client.Get(os.Args[1])
    if err == nil && response.StatusCode != 200 {
        err = fmt.Errorf("%s", response.Status)
    }
    if err != nil {
        fmt.Fprintln(os.Stderr, err)
        os.Exit(1)
    }
    io.Copy(os.Stdout, response.Body)
}
'''

NODE = r'''
const fs = require('fs');
const {ProxyAgent, fetch} = require(process.argv[2]);
const ca = fs.readFileSync(process.argv[4]);
const dispatcher = new ProxyAgent({uri: process.env.https_proxy, proxyTls: {ca}, requestTls: {ca}});
const show = (error) => error ? error.message + ', ' + show(error.cause) : '';
fetch(process.argv[3], {dispatcher}).then(async (response) => {
    process.stdout.write(Buffer.from(await response.arrayBuffer()));
    await dispatcher.close();
}).catch((error) => { console.error(show(error)); process.exit(1); });
'''


@pytest.fixture(scope='module')
def certified(authority, trusted, tmpdir_factory):
    """Run a proxy with a certificate. Its `url` begins with https://."""
    folder = tmpdir_factory.mktemp('certified')
    own = folder.join('own.pem')
    authority.issue_cert(u'localhost', u'127.0.0.1').private_key_and_cert_chain_pem.write_to_path(str(own))
    own.chmod(0o600)
    with running(folder, TLS % {'own': own, 'trusted': trusted}) as plain:
        proxy = Proxy(plain.port, plain.process)
        proxy.url = 'https://localhost:%d' % plain.port
        yield proxy


@pytest.fixture
def environment(certified, trusted, tmpdir):
    """Return the environment of a client that trusts the authority, and asks this proxy."""
    return dict(environment_of(certified, str(tmpdir)), SSL_CERT_FILE=trusted, GIT_CONFIG_NOSYSTEM='1',
                GIT_TERMINAL_PROMPT='0', GIT_SSL_CAINFO=trusted, GIT_PROXY_SSL_CAINFO=trusted)


@pytest.fixture
def check(run, environment, certified, origins, path, body):
    """Return a function that lets a client ask by http and by https, and for a host that is denied by https."""
    def work(command, said=REFUSAL):
        origins.content.offer(path, body)
        for scheme in ('http', 'https'):
            result = run(command(origins.by(scheme).url(path)), environment)
            assert digest(result.out) == digest(body), result.err
            certified.process.wait_for(origins.by(scheme).authority.encode('ascii'))    # it was not asked directly
        result = run(command('https://x.denied.test/'), environment)
        assert said in result.out + result.err, result
    return work


def test_curl(check, client, trusted):
    check(lambda url: [client('curl'), '-q', '-sS', '--cacert', trusted, '--proxy-cacert', trusted, url], b'response 403')


def test_curl_uploads(run, client, environment, trusted, origins, path, body, body_file):
    base = [client('curl'), '-q', '-sS', '--cacert', trusted, '--proxy-cacert', trusted]
    for more in (['--upload-file', body_file], ['--upload-file', '-']):
        for scheme in ('http', 'https'):
            result = run(base + more + [origins.by(scheme).url(path)], environment, stdin=body if more[1] == '-' else None)
            assert result.code == 0, result.err
            assert origins.content.uploads.pop(path)[0].digest == digest(body)


def test_curl_logs_in_by_a_certificate(run, client, environment, authority, trusted, certified, origins, path, tmpdir):
    origins.content.offer(path, b'fine')
    own = tmpdir.join('joe.pem')
    authority.issue_cert(u'joe@example.test', common_name=u'joe').private_key_and_cert_chain_pem.write_to_path(str(own))
    command = [client('curl'), '-q', '-sS', '--proxy-cacert', trusted, '--proxy-cert', str(own), origins.http.url(path)]
    result = run(command, environment)
    assert (result.code, result.out) == (0, b'fine'), result.err
    assert b' joe' in certified.carried('GET', origins.http, path)


def test_curl_sees_that_the_certificate_is_for_another_host(run, client, environment, trusted, certified):
    result = run([client('curl'), '-q', '-sS', '-v', '--proxy-cacert', trusted, '--connect-to', '::localhost:',
                  '--proxy', 'https://another.test:%d' % certified.port, '--resolve',
                  'another.test:%d:127.0.0.1' % certified.port, 'http://a.test/'], environment)
    assert result.code == 60 and b'another.test' in result.err, result


def test_git(run, client, environment, origins, path):
    origins.content.offer(path + '/info/refs', b'%040d\trefs/heads/main\n' % 1)
    origins.content.offer(path + '/HEAD', b'ref: refs/heads/main\n')
    result = run([client('git'), 'ls-remote', origins.http.url(path)], environment)
    assert result.code == 0 and b'refs/heads/main' in result.out, result.err


def test_apt(run, environment, certified, trusted, origins, path, body, tmpdir):
    program = '/usr/lib/apt/apt-helper'
    if not os.path.exists(program):
        pytest.skip('this host has no apt')
    origins.content.offer(path, body)
    options = ['Dir::Etc::main=/dev/null', 'Dir::Etc::parts=/dev/null', 'APT::Sandbox::User=', 'Acquire::Retries=0',
               'Acquire::https::CaInfo=' + trusted, 'Acquire::http::Proxy=' + certified.url,
               'Acquire::https::Proxy=' + certified.url]
    command = [program] + [word for option in options for word in ('-o', option)] + ['download-file']
    for scheme in ('http', 'https'):
        out = tmpdir.join(scheme)
        result = run(command + [origins.by(scheme).url(path), str(out)], environment)
        assert result.code == 0 and digest(out.read_binary()) == digest(body), result
    result = run(command + ['https://x.denied.test/', str(out)], environment)
    assert REFUSAL in result.out + result.err


# aiohttp ignores such a URL in the environment, and asks directly.
NAMING = AIOHTTP.replace('ssl=context)', "ssl=context, proxy=os.environ['https_proxy'])").replace('ssl, sys', 'os, ssl, sys')


@pytest.mark.parametrize('module, oldest, program', [       # `oldest`: Python with which it can do TLS inside TLS
    ('requests', (3, 6), REQUESTS), ('httpx', (3, 8), HTTPX), ('aiohttp', (3, 11), NAMING),
], ids=['requests', 'httpx', 'aiohttp'])
def test_python(check, run, lacking_client, trusted, module, oldest, program):
    if sys.version_info < oldest or run([sys.executable, '-c', 'import ' + module], {}).code:
        lacking_client('%s with TLS inside TLS (for Python %d.%d)' % ((module,) + sys.version_info[:2]))
    check(lambda url: [sys.executable, '-c', program, 'GET', url, trusted])


def test_node(check, client, undici_fetch, trusted, tmpdir):
    program = tmpdir.join('ask.js')
    program.write(NODE)
    check(lambda url: [client('node'), str(program), undici_fetch, url, trusted], b'403')


def test_go(check, run, client, environment, trusted, tmpdir):
    source, program = tmpdir.join('ask.go'), tmpdir.join('ask')
    source.write(GO)
    built = run([client('go'), 'build', '-o', str(program), str(source)],
                dict(environment, GO111MODULE='off', GOCACHE=str(tmpdir.join('cache'))))
    assert built.code == 0, built.err
    check(lambda url: [str(program), url, trusted])
