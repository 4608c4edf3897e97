"""Node: its modules http and tls, fetch of undici, and its own fetch if that reads http_proxy.

Fetch tunnels http too: CONNECT for whatever port the origin has.
"""
from __future__ import absolute_import, division, print_function

import os

import pytest

from .origins import digest

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])
HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def node(client, run, environment):
    program = client('node')

    def work(*arguments, **variables):
        result = run([program] + list(arguments), dict(environment, **variables))
        assert result.code == 0, result.err
        return result.out
    return work


@pytest.fixture(params=['undici', 'own'])
def fetch(request, node, proxy, trusted):
    """Return a function that fetches. Skip the test if this host does not have this kind of fetch."""
    kind = request.getfixturevalue(request.param + '_fetch')

    def ask(method, url, *body_file):
        return node(os.path.join(HERE, 'fetch_client.js'), kind, proxy.url, method, url, trusted, *body_file,
                    **{'NODE_USE_ENV_PROXY': '1', 'NODE_EXTRA_CA_CERTS': trusted})
    return ask


@pytest.fixture
def own_fetch(node, lacking_client):
    version = node('--print', 'process.versions.node').decode('ascii').strip()
    major, minor = [int(number) for number in version.split('.')[:2]]
    if (major, minor) < (22, 21) or major == 23:
        lacking_client('Node 22.21 or 24, whose own fetch obeys http_proxy (this is %s)' % version)
    return 'own'


@SCHEMES
def test_node_gets_by_hand(node, proxy, origins, path, body, trusted, scheme):
    origins.content.offer(path, body)
    url = origins.by(scheme).url(path)
    octets = node(os.path.join(HERE, 'core_client.js'), str(proxy.port), 'GET', url, trusted)
    assert digest(octets) == digest(body)
    proxy.carried('GET', origins.by(scheme), path)


@SCHEMES
def test_node_uploads_by_hand(node, proxy, origins, path, body, body_file, trusted, scheme):
    url = origins.by(scheme).url(path)
    node(os.path.join(HERE, 'core_client.js'), str(proxy.port), 'PUT', url, trusted, body_file)
    assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.carried('PUT', origins.by(scheme), path)


@SCHEMES
def test_fetch_gets(fetch, proxy, origins, path, body, scheme):
    origins.content.offer(path, body)
    assert digest(fetch('GET', origins.by(scheme).url(path))) == digest(body)
    proxy.saw('CONNECT', origins.by(scheme).authority)


@SCHEMES
def test_fetch_uploads(fetch, proxy, origins, path, body, body_file, scheme):
    fetch('PUT', origins.by(scheme).url(path), body_file)
    assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.saw('CONNECT', origins.by(scheme).authority)
