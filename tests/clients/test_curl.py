"""curl: by http and https, HTTP/1.0 and 1.1, with each framing of an upload that it has."""
from __future__ import absolute_import, division, print_function

import pytest

from .origins import digest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])

ASKING = [
    # name, options
    ('plainly', []),
    ('by HTTP/1.0', ['--http1.0']),
    ('a proxy of HTTP/1.0', ['--proxy1.0', '{proxy}']),
    ('through a tunnel', ['--proxytunnel']),
]

UPLOADS = [
    # name, method, options
    ('file', 'PUT', ['--upload-file', '{file}']),
    ('form', 'POST', ['--data-binary', '@{file}']),
    ('chunked', 'PUT', ['--upload-file', '-']),
    ('chunked post', 'POST', ['--upload-file', '-', '--request', 'POST']),
    ('by HTTP/1.0', 'PUT', ['--http1.0', '--upload-file', '{file}']),
    ('a proxy of HTTP/1.0', 'PUT', ['--proxy1.0', '{proxy}', '--upload-file', '{file}']),
]


@pytest.fixture
def curl(client, run, environment, trusted):
    program = client('curl')

    def ask(*arguments, **options):
        command = [program, '-q', '-sS', '-v', '--fail', '--cacert', trusted]
        result = run(command + list(arguments), environment, **options)
        assert result.code == 0, result.err
        return result
    return ask


@SCHEMES
@pytest.mark.parametrize('chunked', [False, True], ids=['known length', 'chunked'])
@pytest.mark.parametrize('options', [row[1] for row in ASKING], ids=[row[0] for row in ASKING])
def test_curl_gets(curl, proxy, origins, path, body, scheme, chunked, options):
    origins.content.offer(path, body, chunked=chunked)
    result = curl(origins.by(scheme).url(path), *[option.format(proxy=proxy.authority) for option in options])
    assert digest(result.out) == digest(body)
    if '--proxytunnel' in options:
        proxy.saw('CONNECT', origins.by(scheme).authority)
    else:
        proxy.carried('GET', origins.by(scheme), path)


@SCHEMES
def test_curl_learns_the_length_from_head(curl, proxy, origins, path, body, scheme):
    origins.content.offer(path, body)
    result = curl('--head', origins.by(scheme).url(path))
    assert b'content-length: %d\r\n' % len(body) in result.out.lower()
    proxy.carried('HEAD', origins.by(scheme), path)


@SCHEMES
@pytest.mark.parametrize('method, options', [row[1:] for row in UPLOADS], ids=[row[0] for row in UPLOADS])
def test_curl_uploads(curl, proxy, origins, path, body, body_file, scheme, method, options):
    options = [option.format(proxy=proxy.authority, file=body_file) for option in options]
    curl(origins.by(scheme).url(path), *options, stdin=body if '-' in options else None)
    assert origins.sole_upload(path) == (method, digest(body))
    proxy.carried(method, origins.by(scheme), path)


@SCHEMES
def test_curl_waits_for_100_continue_and_gets_it(curl, proxy, origins, path, body, body_file, scheme):
    result = curl('--expect100-timeout', '25', '--header', 'Expect: 100-continue', '--upload-file', body_file,
                  origins.by(scheme).url(path))
    assert b'< HTTP/1.1 100 Continue' in result.err
    assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.carried('PUT', origins.by(scheme), path)


def test_curl_asks_two_origins_on_one_connection_and_each_answers(curl, proxy, origins, path, body, tmpdir):
    origins.content.offer(path + '/first', body[:1000])
    origins.content.offer(path + '/second', body[1000:])
    result = curl(origins.http.url(path + '/first'), origins.other.url(path + '/second'),
                  '-o', str(tmpdir.join('first')), '-o', str(tmpdir.join('second')), '-w', '%{num_connects} ')
    assert result.out == b'1 0 '
    assert tmpdir.join('first').read_binary() == body[:1000]
    assert digest(tmpdir.join('second').read_binary()) == digest(body[1000:])
    proxy.carried('GET', origins.http, path + '/first')
    proxy.carried('GET', origins.other, path + '/second')
