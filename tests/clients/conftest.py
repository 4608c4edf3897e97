"""What every client needs: origins to ask, the proxy to ask through, and an environment of its own."""
from __future__ import absolute_import, division, print_function

import base64
import contextlib
import hashlib
import os
import re
import socket
import sys

import pytest
import trustme

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

REFUSAL = b'SEC-1: not for us'      # what a client is told of a host that the rules deny

USERS = {u'bob': u'bob-secret', u'j\xf6rg': u'g\xe4rtchen'}


def pytest_collection_modifyitems(items):
    for item in items:
        if str(item.fspath).startswith(os.path.dirname(os.path.abspath(__file__)) + os.sep):
            item.add_marker('programs')


class Proxy(object):
    """`python -m geproxy` as a process, and what its log says."""

    def __init__(self, port, process):
        self.authority = '127.0.0.1:%d' % port
        self.port = port
        self.url = 'http://' + self.authority
        self.process = process

    def saw(self, method, target):
        """Wait until the log has told of such a request."""
        return self.process.wait_for(method.encode('ascii'), target.encode('ascii'))

    def carried(self, method, origin, path):
        """Wait until the log has told that the request for `path` came by here: in the open, or in a tunnel."""
        if origin.scheme == 'https':
            return self.saw('CONNECT', origin.authority)
        return self.saw(method, origin.url(path))


@pytest.fixture(scope='session')
def proxy(tmpdir_factory):
    with running(tmpdir_factory.mktemp('proxy')) as proxy:
        yield proxy


@pytest.fixture(scope='session')
def asking(tmpdir_factory):
    """A proxy that asks for a name and a password: those of USERS."""
    folder = tmpdir_factory.mktemp('asking')
    lines = [u'%s:{SHA}%s\n' % (name, base64.b64encode(hashlib.sha1(password.encode('utf-8')).digest()).decode('ascii'))
             for name, password in USERS.items()]
    folder.join('users').write_binary(u''.join(lines).encode('utf-8'))
    with running(folder, '[auth]\nusers = users\n') as proxy:
        yield proxy


@contextlib.contextmanager
def running(folder, more=''):
    """A Proxy, whose ini file is CONFIGURATION and `more`, in `folder`."""
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


def free_port():
    probe = socket.socket()
    try:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]
    finally:
        probe.close()


@pytest.fixture(scope='session')
def authority():
    """A certificate authority that exists for this session only."""
    return trustme.CA()


@pytest.fixture(scope='session')
def trusted(authority, tmpdir_factory):
    """The path of the PEM file of the authority that clients are to trust."""
    path = str(tmpdir_factory.mktemp('trusted').join('ca.pem'))
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope='session')
def certificate(authority, tmpdir_factory):
    """The path of the PEM file with the key and certificate of the TLS origins."""
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
    """All that a client is told: nothing is inherited but where programs are. `login`: NAME:PASSWORD for the proxy,
    percent-encoded."""
    url = proxy.url.replace('://', '://%s@' % login) if login else proxy.url
    return {
        'PATH': os.environ['PATH'], 'HOME': home, 'LANG': 'C.UTF-8',
        'http_proxy': url, 'https_proxy': url, 'HTTP_PROXY': url, 'HTTPS_PROXY': url,
        'no_proxy': '', 'NO_PROXY': '',
    }


@pytest.fixture
def path(request):
    """A path that no other test asks for."""
    return '/' + re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')


@pytest.fixture(scope='session')
def body():
    """2 MiB and a few octets more that do not repeat, and are the same on every run."""
    return b''.join(hashlib.sha256(b'%d' % number).digest() for number in range(65536)) + b'the end'


@pytest.fixture(scope='session')
def body_file(body, tmpdir_factory):
    path = tmpdir_factory.mktemp('body').join('body')
    path.write_binary(body)
    return str(path)


@pytest.fixture(scope='session')
def client():
    """Look for a program: its path, or the test is skipped and the summary names it."""
    def look(program, name=None):
        path = programs.find(program)
        if path is None:
            lacking(name or program)
        return path
    return look


@pytest.fixture(scope='session')
def lacking_client():
    """Skip the test because this host lacks a client; the summary shows the reason."""
    return lacking


def lacking(name):
    pytest.skip('this host has no %s' % name)


@pytest.fixture(scope='session')
def run():
    """Run a program to its end, within a limit."""
    return programs.run
