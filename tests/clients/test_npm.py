"""npm with a local registry of one package: install (GET) and publish (PUT), by http and https."""
from __future__ import absolute_import, division, print_function

import base64
import hashlib
import io
import json
import tarfile

import pytest

from .origins import digest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])

# npm reads a setting from npm_config_NAME; "-" is written "_".
SETTINGS = {
    'noproxy': '', 'update_notifier': 'false',
    'audit': 'false', 'fund': 'false', 'fetch_retries': '0', 'ignore_scripts': 'true',
}


@pytest.fixture
def npm(client, run, environment, proxy, trusted, tmpdir):
    client('node', 'npm')
    program = client('npm')
    settings = dict(SETTINGS, proxy=proxy.url, https_proxy=proxy.url, cafile=trusted, cache=str(tmpdir.join('cache')))
    environment = dict(environment, **dict(('npm_config_' + name, value) for name, value in settings.items()))

    def work(folder, *arguments):
        result = run([program] + list(arguments), environment, folder=str(folder))
        assert result.code == 0, result.err
        return result
    return work


@pytest.fixture
def tarball(body):
    """Return the octets of a package that contains `body`."""
    octets = io.BytesIO()
    with tarfile.open(mode='w:gz', fileobj=octets) as archive:
        for name, content in [('package.json', manifest('sample')), ('body', body)]:
            member = tarfile.TarInfo('package/' + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return octets.getvalue()


def manifest(name):
    return json.dumps({'name': name, 'version': '1.0.0', 'license': 'MIT'}).encode('ascii')


def integrity(octets):
    return 'sha512-' + base64.b64encode(hashlib.sha512(octets).digest()).decode('ascii')


def packument(url, octets):
    """Return what the registry says about a package."""
    version = {'name': 'sample', 'version': '1.0.0', 'dist': {'tarball': url, 'integrity': integrity(octets)}}
    tags = {'latest': '1.0.0'}
    return json.dumps({'name': 'sample', 'dist-tags': tags, 'versions': {'1.0.0': version}}).encode('ascii')


@SCHEMES
def test_npm_installs(npm, proxy, origins, tarball, body, tmpdir, scheme):
    origin = origins.by(scheme)
    origins.content.offer('/sample', packument(origin.url('/files/sample.tgz'), tarball), kind='application/json')
    origins.content.offer('/files/sample.tgz', tarball)
    project = tmpdir.mkdir('project')
    npm(project, 'install', '--registry', origin.url('/'), 'sample')
    assert digest(project.join('node_modules', 'sample', 'body').read_binary()) == digest(body)
    proxy.carried('GET', origin, '/sample')
    proxy.carried('GET', origin, '/files/sample.tgz')


@SCHEMES
def test_npm_publishes(npm, proxy, origins, body, tmpdir, scheme):
    origin = origins.by(scheme)
    project = tmpdir.mkdir('project')
    project.join('package.json').write_binary(manifest('mine'))
    project.join('body').write_binary(body)
    token = '--//%s/:_authToken=none' % origin.authority
    npm(project, 'publish', '--registry', origin.url('/'), token)
    upload, = origins.content.uploads['/mine']
    document = json.loads(upload.octets.decode('ascii'))
    attachment, = document['_attachments'].values()
    octets = base64.b64decode(attachment['data'])
    assert integrity(octets) == document['versions']['1.0.0']['dist']['integrity']
    with tarfile.open(fileobj=io.BytesIO(octets)) as archive:
        assert digest(archive.extractfile('package/body').read()) == digest(body)
    proxy.carried('PUT', origin, '/mine')
