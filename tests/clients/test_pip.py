"""pip of this Python, with a local index. pip has no uploads (twine has)."""
from __future__ import absolute_import, division, print_function

import base64
import hashlib
import io
import sys
import zipfile

import pytest

from .origins import digest

WHEEL = 'geproxy_sample-1.0-py2.py3-none-any.whl'

METADATA = b'Metadata-Version: 2.1\nName: geproxy-sample\nVersion: 1.0\n'
TAGS = b'Wheel-Version: 1.0\nGenerator: geproxy\nRoot-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n'

NO_PROXIES = dict.fromkeys(['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'], '')

CASES = [
    # scheme, changes of the environment, options
    ('http', {}, []),
    ('https', NO_PROXIES, ['--proxy', '{proxy}']),
]


@pytest.fixture(scope='module')
def wheel(body):
    """Return the octets of a wheel that contains `body`."""
    files = [
        ('geproxy_sample/__init__.py', b''),
        ('geproxy_sample/body', body),
        ('geproxy_sample-1.0.dist-info/METADATA', METADATA),
        ('geproxy_sample-1.0.dist-info/WHEEL', TAGS),
    ]
    record = 'geproxy_sample-1.0.dist-info/RECORD'
    rows = ['%s,sha256=%s,%d' % (name, unpadded(octets), len(octets)) for name, octets in files] + [record + ',,']
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, 'w') as packed:
        for name, octets in files + [(record, '\n'.join(rows).encode('ascii'))]:
            packed.writestr(name, octets)
    return archive.getvalue()


def unpadded(octets):
    return base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b'=').decode('ascii')


@pytest.fixture
def pip_install(run, lacking_client, environment, trusted):
    command = [sys.executable, '-m', 'pip']
    if run(command + ['--version'], environment).code != 0:
        lacking_client('pip')
    environment = dict(environment, PIP_CONFIG_FILE='/dev/null')

    def install(changes, *arguments):
        options = ['--disable-pip-version-check', '--no-cache-dir', '--retries=0', '--cert', trusted, '--no-deps']
        result = run(command + ['install'] + options + list(arguments), dict(environment, **changes))
        assert result.code == 0, result.out + result.err
    return install


@pytest.mark.parametrize('scheme, changes, options', CASES, ids=['http, by environment', 'https, by option'])
def test_pip_installs(pip_install, proxy, origins, wheel, body, tmpdir, scheme, changes, options):
    index = '<a href="/files/%s#sha256=%s">%s</a>' % (WHEEL, digest(wheel), WHEEL)
    origins.content.offer('/simple/geproxy-sample/', index.encode('ascii'), kind='text/html')
    origins.content.offer('/files/' + WHEEL, wheel)
    origin = origins.by(scheme)
    pip_install(changes, '--target', str(tmpdir.join('here')), '--index-url', origin.url('/simple/'), 'geproxy-sample',
                *[option.format(proxy=proxy.url) for option in options])
    assert digest(tmpdir.join('here', 'geproxy_sample', 'body').read_binary()) == digest(body)
    proxy.carried('GET', origin, '/simple/geproxy-sample/')
    proxy.carried('GET', origin, '/files/' + WHEEL)
