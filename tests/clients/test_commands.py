"""The small clients of the table in commands.py: each downloads, logs in, uploads, and shows a refusal."""
from __future__ import absolute_import, division, print_function

import base64
import os

import pytest

from geproxy.compat import to_octets

from .commands import CLIENTS
from .conftest import environment_of
from .origins import Request, digest, serving

LOGIN = 'bob:bob-secret'
SECRETS = [b'bob-secret', b'open-sesame', b'open%2Dsesame', base64.b64encode(b'ann:open-sesame'), b'cut-off']


def each(clients):
    return pytest.mark.parametrize('one', clients, ids=[one.name.replace(' ', '-') for one in clients])


@pytest.fixture(scope='module')
def origins(certificate):
    with serving(certificate) as origins:
        yield origins


@pytest.fixture(scope='module')
def present(run):
    """Return a function that tells if this host has a client; it looks for each only once."""
    known = {}

    def look(one):
        if one.name not in known:
            path = {'PATH': os.environ['PATH']}
            known[one.name] = run(['sh', '-c', '"$@" > /dev/null 2>&1', 'sh'] + one.probe, path).code == 0
        return known[one.name]
    return look


@pytest.fixture
def do(present, lacking_client, run, trusted, tmpdir, one):
    """Return a function that runs a command of a client -> (all that its user sees, the body)."""
    if not present(one):
        lacking_client(one.name)

    def work(command, url, through, login='', file=''):
        words = {'{ca}': trusted, '{file}': file, '{out}': 'got', '{folder}': str(tmpdir), '{login}': login}
        arguments = [fill(argument, words).replace(b'{url}', url) for argument in logged_in(one, command, login)]
        environment = environment_of(through, str(tmpdir), '' if one.login else login)
        environment.update({'PROXY': through.authority, 'LOGIN': login, 'SSL_CERT_FILE': trusted, 'TERM': 'dumb'})
        # w3m reads names and passwords from a file that nobody else may read.
        tmpdir.join('passwd').write('host 127.0.0.1\nport %d\nproxy\nlogin bob\npassword bob-secret\n' % through.port)
        tmpdir.join('passwd').chmod(0o600)
        result = run(arguments, environment, stdin=b'')
        return result.out + result.err
    return work


def fill(argument, words):
    for word, meaning in words.items():
        argument = argument.replace(word, meaning)
    return to_octets(argument)


def logged_in(one, command, login):
    return command[:1] + (one.login or []) + command[1:] if login else command


def body_of(one, shown, tmpdir):
    """Return the body that a client has printed or stored."""
    return tmpdir.join('got').read_binary() if '{out}' in one.get else shown


def leaked(proxy):
    return [line for line in proxy.process.lines if any(secret in line for secret in SECRETS)]


@each(CLIENTS)
def test_a_client_logs_in_and_its_url_may_have_a_password_a_fragment_and_raw_octets(
        do, one, asking, origins, path, body, tmpdir):
    target = path + ('/\xc3\xa4' if one.raw else '/%C3%A4')
    origins.content.offer(path + '/\xc3\xa4', body, chunked=True)
    url = origins.http.url(path).replace('://', '://ann:open%2Dsesame@').encode('ascii') + b'/\xc3\xa4#cut-off'
    shown = do(one.get, url, asking, LOGIN)
    assert body in body_of(one, shown, tmpdir), shown[-500:]
    authorization = 'Basic ' + base64.b64encode(b'ann:open-sesame').decode('ascii')
    assert [asked for asked in origins.content.asked if asked.target.startswith(path + '/')] == [
        Request('GET', target, authorization)]
    asking.carried('GET', origins.http, path)
    assert not leaked(asking)


@each(CLIENTS)
def test_a_client_logs_in_and_gets_https_through_a_tunnel(do, one, asking, origins, path, body, tmpdir):
    origins.content.offer(path, body)
    shown = do(one.get, origins.https.url(path).encode('ascii'), asking, LOGIN)
    if one.name == 'busybox wget':          # it sends GET https://..., in the clear
        assert one.refused_tunnel in shown
    else:
        assert body in body_of(one, shown, tmpdir), shown[-500:]
        asking.carried('GET', origins.https, path)
    assert not leaked(asking)


@each([one for one in CLIENTS if one.upload])
def test_a_client_uploads(do, one, proxy, origins, path, body, body_file):
    method, command = one.upload
    shown = do(command, origins.http.url(path).encode('ascii'), proxy, file=body_file)
    assert origins.sole_upload(path) == (method, digest(body)), shown[-500:]
    proxy.carried(method, origins.http, path)


@each(CLIENTS)
@pytest.mark.parametrize('url, words', [
    ('http://x.denied.test/', 'refused'),
    ('https://x.denied.test/', 'refused_tunnel'),
    ('http://no-such-name.invalid/', 'unknown'),
])
def test_a_client_shows_its_user_why_not(do, one, proxy, url, words):
    assert getattr(one, words) in do(one.get, to_octets(url), proxy)
