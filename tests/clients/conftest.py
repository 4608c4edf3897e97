"""What all tests of clients need: origins, the proxy, and an environment of their own."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import hashlib
import os
import re
import sys

import pytest
import trustme
from helpers import free_port

from . import programs
from .origins import serving

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

CONFIGURATION = """\
[proxy]
listen = 127.0.0.1:%d
[access]
connect_ports = any
http_ports = any
rules =
    deny any .denied.test   # SEC-1: not for us
    allow any any
[log]
access = -
format = console
"""

REFUSAL = b'SEC-1: not for us'      # in the answer for a host that the rules deny

USERS = {u'bob': u'bob-secret', u'j\xf6rg': u'g\xe4rtchen'}


def pytest_collection_modifyitems(items):
    for item in items:
        if str(item.fspath).startswith(os.path.dirname(os.path.abspath(__file__)) + os.sep):
            item.add_marker('programs')


class Proxy(object):
    """`python -m geproxy` as a process, and its log. `port`: where it listens; `process`: a Watched."""

    def __init__(self, port, process):
        self.authority = '127.0.0.1:%d' % port
        self.port = port
        self.url = 'http://' + self.authority
        self.process = process

    def saw(self, method, target):
        """Wait for a request in the log. Return the line. `method`, `target`: native texts."""
        return self.process.wait_for(method.encode('ascii'), target.encode('ascii'))

    def carried(self, method, origin, path):
        """Wait until the log shows a request for `path`; for https, the tunnel to its origin. Return the line."""
        if origin.scheme == 'https':
            return self.saw('CONNECT', origin.authority)
        return self.saw(method, origin.url(path))


@pytest.fixture(scope='session')
def proxy(tmpdir_factory):
    with running(tmpdir_factory.mktemp('proxy')) as proxy:
        yield proxy


@pytest.fixture(scope='session')
def asking(tmpdir_factory):
    """Run a proxy that asks for a log-in of USERS."""
    folder = tmpdir_factory.mktemp('asking')
    lines = [u'%s:{SHA}%s\n' % (name, base64.b64encode(hashlib.sha1(password.encode('utf-8')).digest()).decode('ascii'))
             for name, password in USERS.items()]
    folder.join('users').write_binary(u''.join(lines).encode('utf-8'))
    with running(folder, '[auth]\nusers = users\n') as proxy:
        yield proxy


@contextlib.contextmanager
def running(folder, more=''):
    """Run a Proxy during a with block. `folder`: for its ini file; `more`: lines after CONFIGURATION."""
    port = free_port()
    ini = folder.join('proxy.ini')
    ini.write(CONFIGURATION % port + more)
    process = programs.Watched([sys.executable, '-m', 'geproxy', '-c', str(ini)], {'PATH': os.environ['PATH']}, ROOT)
    try:
        process.wait_for(b'listening')
        yield Proxy(port, process)
    finally:
        code = process.stop()
    assert code == 0 and not any(b'Traceback' in line for line in process.lines), process


@pytest.fixture(scope='session')
def authority():
    """Make a certificate authority for this session."""
    return trustme.CA()


@pytest.fixture(scope='session')
def trusted(authority, tmpdir_factory):
    """Return the path of the PEM file with the authority that clients must trust."""
    path = str(tmpdir_factory.mktemp('trusted').join('ca.pem'))
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope='session')
def certificate(authority, tmpdir_factory):
    """Return the path of the PEM file with the key and the certificate of the TLS origins."""
    path = str(tmpdir_factory.mktemp('certificate').join('origin.pem'))
    authority.issue_cert(u'localhost', u'127.0.0.1').private_key_and_cert_chain_pem.write_to_path(path)
    return path


@pytest.fixture
def origins(certificate):
    with serving(certificate) as origins:
        yield origins


@pytest.fixture
def environment(proxy, tmpdir):
    return environment_of(proxy, str(tmpdir))


def environment_of(proxy, home, login=''):
    """Return the environment of a client. Only PATH is inherited.

    `proxy`: a Proxy; `home`: path for HOME; `login`: NAME:PASSWORD for the proxy, percent-encoded, or ''.
    """
    url = proxy.url.replace('://', '://%s@' % login) if login else proxy.url
    return {
        'PATH': os.environ['PATH'], 'HOME': home, 'LANG': 'C.UTF-8',
        'http_proxy': url, 'https_proxy': url, 'HTTP_PROXY': url, 'HTTPS_PROXY': url,
        'no_proxy': '', 'NO_PROXY': '',
    }


@pytest.fixture
def path(request):
    """Return a path that no other test uses."""
    return '/' + re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')


@pytest.fixture(scope='session')
def body():
    """Return 2 MiB and a few octets that do not repeat and are the same in every run."""
    return b''.join(hashlib.sha256(b'%d' % number).digest() for number in range(65536)) + b'the end'


@pytest.fixture(scope='session')
def body_file(body, tmpdir_factory):
    path = tmpdir_factory.mktemp('body').join('body')
    path.write_binary(body)
    return str(path)


@pytest.fixture(scope='session')
def client():
    """Return a function that returns the path of a program, or skips the test and names the program."""
    def look(program, name=None):
        path = programs.find(program)
        if path is None:
            lacking(name or program)
        return path
    return look


@pytest.fixture(scope='session')
def lacking_client():
    """Return a function that skips the test because this host has no such client."""
    return lacking


def lacking(name):
    pytest.skip('this host has no %s' % name)


@pytest.fixture
def undici_fetch(client, lacking_client):
    """Return the folder of undici: npm contains one, or it is installed beside npm."""
    modules = os.path.join(os.path.realpath(client('npm', 'undici')), '..', '..', 'node_modules')
    for folder in (modules, os.path.join(modules, '..', '..')):
        path = os.path.normpath(os.path.join(folder, 'undici'))
        if os.path.isdir(path):
            return path
    lacking_client('undici')


@pytest.fixture(scope='session')
def run():
    """Return programs.run."""
    return programs.run
