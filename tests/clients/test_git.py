"""git over http and https: clone and push by the smart protocol, answered by the CGI program of git.

A push of more than git's http.postBuffer (1 MiB) is sent chunked.
"""
from __future__ import absolute_import, division, print_function

import os

import pytest

from . import programs
from .origins import digest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])


@pytest.fixture
def git(client, run, environment, trusted):
    program = client('git')
    environment = dict(
        environment, GIT_CONFIG_NOSYSTEM='1', GIT_TERMINAL_PROMPT='0', GIT_SSL_CAINFO=trusted,
        GIT_AUTHOR_NAME='A', GIT_AUTHOR_EMAIL='a@localhost', GIT_COMMITTER_NAME='A', GIT_COMMITTER_EMAIL='a@localhost')

    def work(*arguments):
        result = run([program, '-c', 'gc.auto=0'] + list(arguments), environment)
        assert result.code == 0, result.err
        return result.out.strip()
    return work


@pytest.fixture
def served(git, origins, tmpdir):
    """Return the path of an empty bare repository that the origins serve below /git/."""
    path = str(tmpdir.mkdir('served').join('sample.git'))
    git('init', '--quiet', '--bare', path)
    git('-C', path, 'config', 'http.receivepack', 'true')
    origins.content.mounted['/git/'] = Backend(git, os.path.dirname(path))
    return path


@pytest.fixture
def committed(git, tmpdir):
    """Return a function that makes a repository with one commit of these octets."""
    def commit(octets):
        path = tmpdir.mkdir('mine')
        git('init', '--quiet', str(path))
        path.join('content').write_binary(octets)
        git('-C', str(path), 'add', 'content')
        git('-C', str(path), 'commit', '--quiet', '--message', 'content')
        return str(path)
    return commit


class Backend(object):
    """Return a WSGI application that runs `git http-backend`, as a web server does."""

    def __init__(self, git, root):
        self.program = os.path.join(git('--exec-path').decode('ascii'), 'git-http-backend')
        self.root = root

    def __call__(self, environment, start_response):
        variables = {
            'PATH': os.environ['PATH'], 'HOME': self.root, 'GIT_PROJECT_ROOT': self.root, 'GIT_HTTP_EXPORT_ALL': '1',
            'REMOTE_USER': 'somebody', 'REMOTE_ADDR': '127.0.0.1', 'GATEWAY_INTERFACE': 'CGI/1.1',
            'PATH_INFO': environment['PATH_INFO'][len('/git'):],
            'GIT_PROTOCOL': environment.get('HTTP_GIT_PROTOCOL', ''),
        }
        for name in ('REQUEST_METHOD', 'QUERY_STRING', 'CONTENT_TYPE', 'HTTP_CONTENT_ENCODING'):
            if environment.get(name):
                variables[name] = environment[name]
        octets = environment['wsgi.input'].read()
        variables['CONTENT_LENGTH'] = str(len(octets))
        result = programs.run([self.program], variables, stdin=octets)
        head, _, body = result.out.partition(b'\r\n\r\n')
        fields = [tuple(line.split(': ', 1)) for line in head.decode('latin-1').split('\r\n')]
        fields = [(str(name), str(value)) for name, value in fields]
        status = dict(fields).get('Status', '200 OK')
        start_response(status, [field for field in fields if field[0] != 'Status'])
        return [body]


@SCHEMES
def test_git_clones(git, proxy, origins, served, committed, body, tmpdir, scheme):
    git('-C', committed(body), 'push', '--quiet', served, 'HEAD:refs/heads/main')
    git('-C', served, 'symbolic-ref', 'HEAD', 'refs/heads/main')
    clone = tmpdir.join('clone')
    git('clone', '--quiet', origins.by(scheme).url('/git/sample.git'), str(clone))
    assert digest(clone.join('content').read_binary()) == digest(body)
    proxy.carried('GET', origins.by(scheme), '/git/sample.git/info/refs')
    proxy.carried('POST', origins.by(scheme), '/git/sample.git/git-upload-pack')


@SCHEMES
@pytest.mark.parametrize('length', [1000, None], ids=['small', 'large and chunked'])
def test_git_pushes(git, proxy, origins, served, committed, body, scheme, length):
    octets = body[:length]
    mine = committed(octets)
    git('-C', mine, 'push', '--quiet', origins.by(scheme).url('/git/sample.git'), 'HEAD:refs/heads/pushed')
    assert git('-C', served, 'rev-parse', 'pushed') == git('-C', mine, 'rev-parse', 'HEAD')
    assert git('-C', served, 'rev-parse', 'pushed:content') == git('-C', mine, 'hash-object', 'content')
    git('-C', served, 'fsck', '--strict')
    proxy.carried('POST', origins.by(scheme), '/git/sample.git/git-receive-pack')
