"""Java: HttpClient and HttpURLConnection. One run of one program sends all requests, because a JVM starts slowly."""
from __future__ import absolute_import, division, print_function

import base64
import os

import pytest

from .conftest import environment_of
from .origins import Request, digest, serving

HERE = os.path.dirname(os.path.abspath(__file__))

REQUESTS = [
    # client, method, scheme
    (kind, method, scheme)
    for kind, method in [
        ('HttpClient', 'GET'),
        ('HttpClient', 'PUT'),                  # of known length
        ('HttpClient-Expect', 'PUT'),
        ('HttpURLConnection', 'GET'),
        ('HttpURLConnection', 'PUT'),           # chunked
    ]
    for scheme in ('http', 'https')
]

REFUSALS = [
    # client, URL, what the program prints
    ('HttpURLConnection', 'http://x.denied.test/', '403'),
    ('HttpURLConnection', 'https://x.denied.test/', 'SEC-1: not for us'),
    ('HttpClient', 'http://x.denied.test/', '403'),
    ('HttpClient', 'https://x.denied.test/', 'Tunnel failed, got: 403'),
]

KINDS = ['HttpURLConnection', 'HttpClient']


@pytest.fixture(scope='module')
def origins(certificate):
    with serving(certificate) as origins:
        yield origins


@pytest.fixture(scope='module')
def folder(tmpdir_factory):
    return tmpdir_factory.mktemp('java')


@pytest.fixture(scope='module')
def answers(client, lacking_client, run, proxy, trusted, origins, folder, body, body_file):
    """Return what the program printed for each of REQUESTS, each URL of REFUSALS, and a URL with a password."""
    client('javac', 'java')                     # the compiler, which a JRE lacks
    source = os.path.join(HERE, 'ProxyClient.java')
    command = [client('java'), '-XX:TieredStopAtLevel=1', source, str(proxy.port), trusted]
    lines = []
    for case in REQUESTS:
        kind, method, scheme = case
        path = path_of(case)
        origins.content.offer(path, body)
        file = body_file if method == 'PUT' else str(folder.join(path))
        lines.append(' '.join([kind, method, origins.by(scheme).url(path), file]))
    for kind, url, _words in REFUSALS:
        lines.append(' '.join([kind, 'GET', url, str(folder.join('refused'))]))
    for kind in KINDS:
        path = '/password-' + kind
        origins.content.offer(path, body)
        url = origins.http.url(path).replace('://', '://ann:open%2Dsesame@') + '#cut-off'
        lines.append(' '.join([kind, 'GET', url, str(folder.join(path))]))
    result = run(command, environment_of(proxy, str(folder)), stdin='\n'.join(lines).encode('ascii'))
    if b'Could not find or load main class' in result.err:
        lacking_client('Java 11 or newer')
    assert result.code == 0, result.err
    return dict(zip(REQUESTS + REFUSALS + KINDS, result.out.decode('utf-8').split('\n')))


def path_of(case):
    return '/' + '-'.join(case).lower()


@pytest.mark.parametrize('case', REQUESTS, ids=[' '.join(row) for row in REQUESTS])
def test_java_gets_and_uploads(answers, proxy, origins, folder, body, case):
    kind, method, scheme = case
    path = path_of(case)
    if method == 'GET':
        assert answers[case] == '200'
        assert digest(folder.join(path).read_binary()) == digest(body)
    else:
        assert answers[case] == '201'
        assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.carried(method, origins.by(scheme), path)


@pytest.mark.parametrize('case', REFUSALS, ids=[' '.join(row[:2]) for row in REFUSALS])
def test_java_shows_its_user_why_not(answers, case):
    assert case[2] in answers[case]


@pytest.mark.parametrize('kind', KINDS)
def test_java_may_have_a_password_and_a_fragment_in_its_url(answers, proxy, origins, kind):
    assert answers[kind] == '200'
    asked, = [asked for asked in origins.content.asked if 'password-' + kind in asked.target]
    assert asked == Request('GET', '/password-' + kind, 'Basic ' + base64.b64encode(b'ann:open-sesame').decode('ascii'))
    proxy.carried('GET', origins.http, '/password-' + kind)
    assert not any(b'sesame' in line or b'cut-off' in line for line in proxy.process.lines)
