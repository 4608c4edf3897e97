"""Certificates and keys: read from files into contexts for TLS, chosen by the name that a client asks for. Reads files.

A context is made anew when a file has changed, so ask for it again for each connection.
"""
from __future__ import absolute_import, division, print_function

import collections
import os
import ssl

from geproxy.compat import to_native

# Paths, for open(). `key` may be the same file as `certificate`.
Pair = collections.namedtuple('Pair', 'certificate key')
# What a certificate says. `names`: native text, in lower case; `until`: seconds since the epoch.
Facts = collections.namedtuple('Facts', 'names until')

PROTOCOLS = ['http/1.1']        # by ALPN (RFC 7301): without it, some clients would speak HTTP/2
# What is not spoken any more (RFC 8996), and what costs more than it gives: renegotiation, compression (CRIME).
_OFF = ('OP_NO_SSLv2', 'OP_NO_SSLv3', 'OP_NO_TLSv1', 'OP_NO_TLSv1_1', 'OP_NO_COMPRESSION', 'OP_NO_RENEGOTIATION',
        'OP_CIPHER_SERVER_PREFERENCE', 'OP_SINGLE_DH_USE', 'OP_SINGLE_ECDH_USE')
# With it a connection that was cut looks like one that has ended, and half of a body like the whole.
_CUT_IS_AN_END = getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)


class BadCertificate(ValueError):
    """A file with a certificate or key is missing, unreadable or wrong. Its text says which, and what to do."""


def server_context(pairs, clients=None, required=False):
    """Make a context for the server's side.

    `pairs`: Pairs, the first of which is used when a client asks for no name, or for one that is in none of them;
    `clients`: path of the certificates that must have signed those of clients, None to ask for none; `required`: True
    if a client without a certificate is refused. Raises BadCertificate.
    """
    contexts = [_server_context(pair, clients, required) for pair in pairs]
    by_name = {}
    for pair, context in zip(pairs, contexts):
        for name in facts(pair.certificate).names:
            by_name.setdefault(name, context)
    if len(contexts) > 1:
        _ask_for_name(contexts[0], lambda transport, name, _context: _choose(transport, name, by_name))
    return contexts[0]


def client_context(authorities=None, pair=None):
    """Make a context for the client's side, which verifies certificate and name of the server.

    `authorities`: path of the certificates that are trusted, None for those of the system; `pair`: the Pair of our own
    certificate, or None. Raises BadCertificate.
    """
    context = _context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    if authorities is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _load(authorities, 'the certificates of authorities', context.load_verify_locations, authorities)
    if pair is not None:
        _load_pair(context, pair)
    return context


def facts(path):
    """Return the Facts of the first certificate in a file. `path`: of the file. Raises BadCertificate."""
    found = _load(path, 'a certificate', ssl._ssl._test_decode_cert, path)
    names = [name for kind, name in found.get('subjectAltName', ()) if kind == 'DNS'] or _subject(found, 'commonName')
    return Facts([str(name).lower() for name in names], ssl.cert_time_to_seconds(found['notAfter']))


def user_of(certificate):
    """Return the user name in a certificate, octets: its common name, else its e-mail address; None if it has neither.

    `certificate`: a dictionary, see TlsTransport.certificate.
    """
    names = _subject(certificate, 'commonName') + _subject(certificate, 'emailAddress') + [
        name for kind, name in certificate.get('subjectAltName', ()) if kind == 'email']
    return names[0].encode('utf-8') if names else None


def stamp(paths):
    """Return a value that changes when a file changes, appears or goes. `paths`: of the files."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path):
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime, found.st_size, found.st_ino


def _subject(certificate, field):
    return [value for part in certificate.get('subject', ()) for name, value in part if name == field]


def _context():
    context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)       # the old name for whatever both sides can, which 2.7 knows
    for name in _OFF:
        context.options |= getattr(ssl, name, 0)
    if context.options & _CUT_IS_AN_END:            # Debian's Python sets it
        context.options &= ~_CUT_IS_AN_END
    if getattr(ssl, 'HAS_ALPN', False):
        context.set_alpn_protocols(PROTOCOLS)
    return context


def _server_context(pair, clients, required):
    context = _context()
    _load_pair(context, pair)
    if clients is not None:
        _load(clients, "the certificates of the clients' authorities", context.load_verify_locations, clients)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _load_pair(context, pair):
    facts(pair.certificate)             # else a mistake in one file is told of the other
    _load(pair.key, 'the key of %s' % pair.certificate, context.load_cert_chain, pair.certificate, pair.key,
          lambda *_: _locked(pair.key))


def _locked(path):
    raise BadCertificate('%s needs a passphrase: take it off with openssl pkey -in %s' % (path, path))


def _load(path, what, load, *arguments):
    try:
        with open(path, 'rb'):
            pass                        # what OpenSSL says about a file that is missing helps nobody
        return load(*arguments)
    except BadCertificate:
        raise
    except ssl.SSLError as error:
        raise BadCertificate('%s is not %s: %s' % (
            path, what, (getattr(error, 'reason', None) or 'no PEM').lower().replace('_', ' ')))
    except (IOError, OSError) as error:
        raise BadCertificate('cannot read %s, %s: %s' % (path, what, error.strerror))


def _ask_for_name(context, callback):
    """Have `callback` called with the owner, see TlsTransport, and the name. The methods of gevent's own contexts know
    no owners but gevent's sockets."""
    base = ssl._ssl._SSLContext
    if hasattr(base, 'sni_callback'):
        base.sni_callback.__set__(context, callback)
    else:
        base.set_servername_callback(context, callback)


def _choose(transport, name, by_name):
    """Called by OpenSSL during the handshake. `name`: native text that the client asked for, or None."""
    name = to_native(name) if isinstance(name, bytes) else name or ''
    context = by_name.get(name.lower()) or by_name.get('*.' + name.lower().partition('.')[2])
    if context is not None:
        transport.use(context)
