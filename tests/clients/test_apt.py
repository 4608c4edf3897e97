"""apt with a local flat repository, by http and https, in folders of its own. apt has no uploads.

apt asks for several files at once, without waiting for the answers (pipelining), on one connection.
"""
from __future__ import absolute_import, division, print_function

import re

import pytest

from .origins import digest

PACKAGES = 6            # from each origin; apt has at most 10 requests under way on a connection

CONTROL = """\
Package: %s
Version: 1.0
Architecture: all
Maintainer: A <a@localhost>
Description: made by a test
"""

ENTRY = CONTROL + """\
Filename: flat/%s.deb
Size: %d
SHA256: %s

"""

CONFIGURATION = """\
Dir "%(home)s";
Dir::State::status "%(home)s/status";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "%(home)s/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Bin::methods "/usr/lib/apt/methods";
APT::Sandbox::User "";
APT::Architecture "amd64";
APT::Architectures "amd64";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Proxy "%(proxy)s";
Acquire::https::Proxy "%(proxy)s";
Acquire::https::CaInfo "%(trusted)s";
"""

FOLDERS = [             # that apt expects to find
    'etc/apt/preferences.d', 'var/lib/apt/lists/partial', 'var/cache/apt/archives/partial', 'var/lib/dpkg',
    'var/log/apt',
]


@pytest.fixture
def apt(client, run, proxy, environment, trusted, tmpdir):
    """Return a function that runs apt-get without any file of the apt of this host."""
    program = client('apt-get', 'apt')
    for folder in FOLDERS:
        tmpdir.ensure(folder, dir=True)
    tmpdir.join('status').write('')
    configuration = tmpdir.join('apt.conf')
    configuration.write(CONFIGURATION % {'home': tmpdir, 'proxy': proxy.url, 'trusted': trusted})

    def work(*arguments):
        result = run([program, '-q'] + list(arguments), dict(environment, APT_CONFIG=str(configuration)))
        assert result.code == 0, result.out + result.err
        return result
    return work


@pytest.fixture
def package(client, run, environment, tmpdir):
    """Return a function that makes a package and returns its octets."""
    program = client('dpkg-deb', 'apt')

    def make(name, content):
        folder = tmpdir.mkdir(name)
        folder.ensure('DEBIAN', 'control').write(CONTROL % name)
        folder.ensure('usr', 'share', name).write_binary(content)
        made = tmpdir.join(name + '.deb')
        result = run([program, '--build', '-Znone', str(folder), str(made)], environment)
        assert result.code == 0, result.err
        return made.read_binary()
    return make


@pytest.fixture
def publish(package, origins, body):
    """Return a function that offers a repository on an origin -> (its line for sources.list, octets of its packages)."""
    def put(origin):
        packages = {}
        for number in range(PACKAGES):
            name = '%s-%d' % (origin.scheme, number)
            packages[name] = package(name, body[:(number + 1) * 50000])
            origins.content.offer('/flat/%s.deb' % name, packages[name])
        entries = [ENTRY % (name, name, len(octets), digest(octets)) for name, octets in packages.items()]
        origins.content.offer('/%s/Packages' % origin.scheme, ''.join(entries).encode('ascii'))
        return 'deb [trusted=yes] %s %s/\n' % (origin.url(), origin.scheme), packages
    return put


def test_apt_updates_and_downloads_packages_in_a_pipeline(apt, publish, proxy, origins, tmpdir):
    published = [(origin, publish(origin)) for origin in (origins.http, origins.https)]
    tmpdir.join('sources.list').write(''.join([line for _, (line, _) in published]))
    apt('update')
    result = apt('install', '--yes', '--download-only', '--option', 'Debug::Acquire::http=1',
                 *[name for _, (_, packages) in published for name in packages])
    steps = re.findall(br'^(GET|Answer) ', result.out + result.err, re.M)
    assert b'GET GET' in b' '.join(steps)           # it did not wait for the answer to the former
    for origin, (_, packages) in published:
        for name, octets in packages.items():
            stored = tmpdir.join('var/cache/apt/archives/%s_1.0_all.deb' % name)
            assert digest(stored.read_binary()) == digest(octets)
            proxy.carried('GET', origin, '/flat/%s.deb' % name)


def test_apt_may_have_credentials_in_its_sources(apt, publish, proxy, origins, tmpdir):
    line, packages = publish(origins.http)
    tmpdir.join('sources.list').write(line.replace('http://', 'http://bob:open-sesame@'))
    apt('update')
    apt('install', '--yes', '--download-only', *packages)
    for name, octets in packages.items():
        stored = tmpdir.join('var/cache/apt/archives/%s_1.0_all.deb' % name)
        assert digest(stored.read_binary()) == digest(octets)
        proxy.carried('GET', origins.http, '/flat/%s.deb' % name)
    assert not any(b'open-sesame' in line for line in proxy.process.lines)
