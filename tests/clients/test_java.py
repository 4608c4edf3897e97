"""Java: HttpClient and HttpURLConnection, all requests in one run of one program, since a JVM starts slowly."""
from __future__ import absolute_import, division, print_function

import os

import pytest

from .conftest import environment_of
from .origins import digest, serving

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


@pytest.fixture(scope='module')
def origins(certificate):
    with serving(certificate) as origins:
        yield origins


@pytest.fixture(scope='module')
def folder(tmpdir_factory):
    return tmpdir_factory.mktemp('java')


@pytest.fixture(scope='module')
def answers(client, lacking_client, run, proxy, trusted, origins, folder, body, body_file):
    """What the program printed for each of REQUESTS."""
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
    result = run(command, environment_of(proxy, str(folder)), stdin='\n'.join(lines).encode('ascii'))
    if b'Could not find or load main class' in result.err:
        lacking_client('Java 11 or newer')
    assert result.code == 0, result.err
    return dict(zip(REQUESTS, result.out.decode('utf-8').split('\n')))


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
