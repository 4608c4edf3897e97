"""wget, with nothing but its environment."""
from __future__ import absolute_import, division, print_function

import pytest

from .origins import digest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])

UPLOADS = [
    # method, options
    ('POST', ['--post-file', '{file}']),
    ('PUT', ['--method', 'PUT', '--body-file', '{file}']),
]


@pytest.fixture
def wget(client, run, environment, trusted):
    program = client('wget')

    def ask(*arguments):
        command = [program, '--no-config', '--no-hsts', '--tries=1', '--ca-certificate', trusted, '-O', '-']
        result = run(command + list(arguments), environment)
        assert result.code == 0, result.err
        return result
    return ask


@SCHEMES
@pytest.mark.parametrize('chunked', [False, True], ids=['known length', 'chunked'])
def test_wget_gets(wget, proxy, origins, path, body, scheme, chunked):
    origins.content.offer(path, body, chunked=chunked)
    assert digest(wget(origins.by(scheme).url(path)).out) == digest(body)
    proxy.carried('GET', origins.by(scheme), path)


@SCHEMES
@pytest.mark.parametrize('method, options', UPLOADS, ids=[row[0] for row in UPLOADS])
def test_wget_uploads(wget, proxy, origins, path, body, body_file, scheme, method, options):
    wget(origins.by(scheme).url(path), *[option.format(file=body_file) for option in options])
    assert origins.sole_upload(path) == (method, digest(body))
    proxy.carried(method, origins.by(scheme), path)


def test_wget_asks_two_origins_in_one_run_and_each_answers(wget, proxy, origins, path, body):
    origins.content.offer(path + '/first', body[:1000])
    origins.content.offer(path + '/second', body[1000:])
    result = wget(origins.http.url(path + '/first'), origins.other.url(path + '/second'))
    assert digest(result.out) == digest(body)
    proxy.carried('GET', origins.http, path + '/first')
    proxy.carried('GET', origins.other, path + '/second')
