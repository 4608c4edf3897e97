"""Clients in this Python: urllib, requests, httpx and aiohttp. The environment names the proxy.

Each is a program, because this process is patched by gevent, and theirs are not.
"""
from __future__ import absolute_import, division, print_function

import base64
import sys

import pytest

from .conftest import REFUSAL
from .origins import Request, digest

# Each program is given METHOD URL CA_FILE [BODY_FILE], and writes the response's body to standard output.

URLLIB = r'''
import ssl, sys
try:
    from urllib.request import HTTPSHandler, Request, build_opener
except ImportError:
    from urllib2 import HTTPSHandler, Request, build_opener

method, url, authority = sys.argv[1:4]
body = open(sys.argv[4], 'rb').read() if sys.argv[4:] else None
request = Request(url, body, {'Content-Type': 'application/octet-stream'})
request.get_method = lambda: method
opener = build_opener(HTTPSHandler(context=ssl.create_default_context(cafile=authority)))
getattr(sys.stdout, 'buffer', sys.stdout).write(opener.open(request, timeout=20).read())
'''

REQUESTS = r'''
import sys
import requests

method, url, authority = sys.argv[1:4]
body = open(sys.argv[4], 'rb') if sys.argv[4:] else None
response = requests.request(method, url, data=body, verify=authority, timeout=20)
response.raise_for_status()
getattr(sys.stdout, 'buffer', sys.stdout).write(response.content)
'''

REQUESTS_CHUNKED = REQUESTS.replace('data=body', 'data=body and iter(lambda: body.read(100000), b"")')

HTTPX = r'''
import ssl, sys
import httpx

method, url, authority = sys.argv[1:4]
body = open(sys.argv[4], 'rb') if sys.argv[4:] else None
response = httpx.request(method, url, content=body, verify=ssl.create_default_context(cafile=authority), timeout=20)
response.raise_for_status()
sys.stdout.buffer.write(response.content)
'''

AIOHTTP = r'''
import asyncio, ssl, sys
import aiohttp

async def main(method, url, authority, body=None):
    context = ssl.create_default_context(cafile=authority)
    timeout = aiohttp.ClientTimeout(20)
    async with aiohttp.ClientSession(trust_env=True, raise_for_status=True, timeout=timeout) as session:
        async with session.request(method, url, data=body and open(body, 'rb'), ssl=context) as response:
            sys.stdout.buffer.write(await response.read())

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main(*sys.argv[1:]))
'''

# With a log-in as urllib3 makes it: in Latin-1, and of no URL.
URLLIB3 = r'''
import os, sys
import urllib3
try:
    from urllib.parse import unquote, urlsplit
except ImportError:
    from urllib import unquote
    from urlparse import urlsplit

method, url, authority = sys.argv[1:4]
proxy = urlsplit(os.environ['http_proxy'])
login = ':'.join(unquote(part) for part in (proxy.username, proxy.password))
if isinstance(login, bytes):        # Python 2
    login = login.decode('utf-8').encode('latin-1')
manager = urllib3.ProxyManager(
    'http://%s:%d' % (proxy.hostname, proxy.port), proxy_headers=urllib3.make_headers(proxy_basic_auth=login), ca_certs=authority)
response = manager.request(method, url, retries=False, timeout=20)
assert response.status == 200, response.reason
getattr(sys.stdout, 'buffer', sys.stdout).write(response.data)
'''

CLIENTS = [
    # name, module, program
    ('urllib', 'ssl', URLLIB),
    ('requests', 'requests', REQUESTS),
    ('httpx', 'httpx', HTTPX),
    ('aiohttp', 'aiohttp', AIOHTTP),
]

SCHEMES = pytest.mark.parametrize('scheme', ['http', 'https'])
LOGGING_IN = CLIENTS + [('urllib3', 'urllib3', URLLIB3)]
EACH = pytest.mark.parametrize('module, program', [row[1:] for row in CLIENTS], ids=[row[0] for row in CLIENTS])


@pytest.fixture(scope='module')
def importable(run):
    """Return the modules of LOGGING_IN that can be imported. Found out once, because it is slow."""
    return [module for _, module, _ in LOGGING_IN if run([sys.executable, '-c', 'import ' + module], {}).code == 0]


@pytest.fixture
def start(run, environment, importable, lacking_client, trusted, module, program):
    """Return a function that runs a program of CLIENTS to its end, with more variables in its environment."""
    if module not in importable:
        lacking_client('%s (for Python %d.%d)' % ((module,) + sys.version_info[:2]))

    def work(method, url, *body_file, **variables):
        arguments = [sys.executable, '-c', program, method, url, trusted] + list(body_file)
        return run(arguments, dict(environment, **variables))
    return work


@pytest.fixture
def ask(start):
    def work(*arguments, **variables):
        result = start(*arguments, **variables)
        assert result.code == 0, result.err
        return result.out
    return work


@SCHEMES
@EACH
def test_python_gets(ask, proxy, origins, path, body, scheme):
    origins.content.offer(path, body)
    assert digest(ask('GET', origins.by(scheme).url(path))) == digest(body)
    proxy.carried('GET', origins.by(scheme), path)


@SCHEMES
@EACH
def test_python_uploads(ask, proxy, origins, path, body, body_file, scheme):
    ask('PUT', origins.by(scheme).url(path), body_file)
    assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.carried('PUT', origins.by(scheme), path)


@pytest.mark.parametrize('module, program', [('requests', REQUESTS_CHUNKED)], ids=['requests'])
def test_python_uploads_chunked(ask, proxy, origins, path, body, body_file):
    # Not by https: before 2.29 requests then speaks TLS to the proxy itself, and asks for no tunnel.
    ask('PUT', origins.http.url(path), body_file)
    assert origins.sole_upload(path) == ('PUT', digest(body))
    proxy.carried('PUT', origins.http, path)


@pytest.mark.parametrize('module, program', [row[1:] for row in LOGGING_IN], ids=[row[0] for row in LOGGING_IN])
def test_python_logs_in_by_a_name_in_latin_1_or_utf_8(ask, asking, origins, path, body):
    origins.content.offer(path, body)
    url = asking.url.replace('://', '://j%C3%B6rg:g%C3%A4rtchen@')
    variables = dict.fromkeys(['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'], url)
    assert digest(ask('GET', origins.http.url(path), **variables)) == digest(body)
    line = asking.carried('GET', origins.http, path)
    assert b'j%C3%B6rg@' in line


@EACH
def test_python_may_have_a_password_with_an_at_sign_in_its_url(ask, proxy, origins, path, body):
    origins.content.offer(path, body)
    url = origins.http.url(path).replace('://', '://ann:open%40sesame@') + '#cut-off'
    assert digest(ask('GET', url)) == digest(body)
    asked, = origins.content.asked
    assert asked == Request('GET', path, 'Basic ' + base64.b64encode(b'ann:open@sesame').decode('ascii'))
    proxy.carried('GET', origins.http, path)
    assert not any(b'sesame' in line or b'cut-off' in line for line in proxy.process.lines)


@SCHEMES
@EACH
def test_python_shows_its_user_why_not(start, proxy, scheme):
    assert REFUSAL in start('GET', scheme + '://x.denied.test/').err
