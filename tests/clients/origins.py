"""Origins on loopback, with and without TLS. They offer octets and keep uploads."""
from __future__ import absolute_import, division, print_function

import collections
import contextlib
import hashlib
import re
import ssl

from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

Upload = collections.namedtuple('Upload', ['method', 'digest', 'length', 'octets'])
Request = collections.namedtuple('Request', ['method', 'target', 'authorization'])

PIECE = 1 << 16                 # octets of a chunk


def digest(octets):
    return hashlib.sha256(octets).hexdigest()


class Content(object):
    """The WSGI application of all origins of one test."""

    def __init__(self):
        self.offered = {}       # path: (content type, pieces)
        self.uploads = {}       # path: [Upload]; a list, to see if one is sent twice
        self.mounted = {}       # prefix of paths: another application
        self.asked = []         # all requests, as [Request]

    def offer(self, path, octets, kind='application/octet-stream', chunked=False):
        size = PIECE if chunked else len(octets) or 1
        self.offered[path] = (kind, [octets[start:start + size] for start in range(0, len(octets), size)])

    def __call__(self, environment, start_response):
        # lftp and PHP send the whole URL inside a tunnel, too; an origin must understand that (RFC 9112, 3.2.2).
        path = re.sub(r'\Ahttps?://[^/]*', '', environment['PATH_INFO'])
        self.asked.append(Request(
            environment['REQUEST_METHOD'], environment['geproxy.target'], environment.get('HTTP_AUTHORIZATION')))
        for prefix, application in self.mounted.items():
            if path.startswith(prefix):
                return application(environment, start_response)
        if environment['REQUEST_METHOD'] in ('PUT', 'POST'):
            return self.receive(path, environment, start_response)
        return self.serve(path, start_response)

    def serve(self, path, start_response):
        if path not in self.offered:
            start_response('404 Not Found', [('Content-Type', 'text/plain'), ('Content-Length', '0')])
            return []
        kind, pieces = self.offered[path]
        length = [('Content-Length', str(len(pieces[0])))] if len(pieces) == 1 else []
        start_response('200 OK', [('Content-Type', kind)] + length)
        return pieces

    def receive(self, path, environment, start_response):
        """Keep an upload and answer with its digest."""
        octets = environment['wsgi.input'].read()
        upload = Upload(environment['REQUEST_METHOD'], digest(octets), len(octets), octets)
        self.uploads.setdefault(path, []).append(upload)
        answer = ('{"digest": "%s"}' % upload.digest).encode('ascii')
        start_response('201 Created', [('Content-Type', 'application/json'), ('Content-Length', str(len(answer)))])
        return [answer]


class Origin(object):
    """The address of one server of a test."""

    def __init__(self, scheme, authority):
        self.scheme = scheme
        self.authority = authority

    def url(self, path=''):
        return '%s://%s%s' % (self.scheme, self.authority, path)


class Origins(object):
    """All servers of one test. Their ports are used by no other test, so a log line belongs to this test."""

    def __init__(self, content, plain, other, tls):
        self.content = content
        self.http = plain
        self.other = other
        self.https = tls

    def by(self, scheme):
        return {'http': self.http, 'https': self.https}[scheme]

    def sole_upload(self, path):
        """Return (method, digest) of the only upload to `path`."""
        upload, = self.content.uploads[path]
        return upload.method, upload.digest


class Handler(WSGIHandler):
    """The handler of gevent, with two changes: it keeps the target unchanged, and reads Expect in any case (RFC 9110,
    10.1.1), because Java writes 100-Continue."""

    def get_environ(self):
        environment = WSGIHandler.get_environ(self)
        environment['geproxy.target'] = self.path
        if environment.get('HTTP_EXPECT', '').lower() == '100-continue':
            environment['wsgi.input'].socket = self.socket
        return environment


class TLSServer(WSGIServer):
    """The server of gevent with an SSL context, for every gevent: before 1.2 it had none."""

    def __init__(self, certificate, *arguments, **options):
        WSGIServer.__init__(self, *arguments, **options)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate)

    def handle(self, sock, address):
        with contextlib.closing(self.context.wrap_socket(sock, server_side=True)) as secured:
            WSGIServer.handle(self, secured, address)


def options():
    """Return the options of all servers. Without SERVER_NAME, gevent would look a name up."""
    return {'handler_class': Handler, 'log': None, 'environ': {'SERVER_NAME': 'origin'}, 'spawn': Pool()}


@contextlib.contextmanager
def serving(certificate):
    """Run Origins during a with block: http://127.0.0.1, http://127.0.0.2, https://localhost.

    `certificate`: path of a PEM file.
    """
    content = Content()
    servers = [
        WSGIServer(('127.0.0.1', 0), content, **options()),
        WSGIServer(('127.0.0.2', 0), content, **options()),
        TLSServer(certificate, ('127.0.0.1', 0), content, **options()),
    ]
    try:
        for server in servers:
            server.start()
        plain, other, tls = [server.server_port for server in servers]
        yield Origins(
            content,
            Origin('http', '127.0.0.1:%d' % plain),
            Origin('http', '127.0.0.2:%d' % other),
            Origin('https', 'localhost:%d' % tls))
    finally:
        for server in servers:
            server.stop(timeout=0.01)           # seconds; the proxy may still have open connections
