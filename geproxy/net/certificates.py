"""Certificates and keys: read from files into contexts for TLS, chosen by the name that a client asks for. Reads files.

A context is made anew when a file has changed, so ask for it again for each connection.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import os
import re
import ssl
import sys
import time

from geproxy.compat import to_native

# Paths, for open(). `key` may be the same file as `certificate`.
Pair = collections.namedtuple('Pair', 'certificate key')
# What a certificate says. `names`: of hosts, native text in lower case; `since`, `until`: seconds since the epoch.
Facts = collections.namedtuple('Facts', 'names since until')
# What was read from files. `pairs`: a tuple of Pairs; `clients`: a path, or None; `stamp`: see `stamp`; `context`: the
# ssl.SSLContext; `facts`: a tuple of (path, Facts), those of `clients` last; `doubts`: the texts of `advice`.
Loaded = collections.namedtuple('Loaded', 'pairs clients stamp context facts doubts')

PROTOCOLS = ['http/1.1']        # by ALPN (RFC 7301): without it, some clients would speak HTTP/2
# Turned off: old versions (RFC 8996), and what is dangerous, such as renegotiation and compression (CRIME).
_OFF = ('OP_NO_SSLv2', 'OP_NO_SSLv3', 'OP_NO_TLSv1', 'OP_NO_TLSv1_1', 'OP_NO_COMPRESSION', 'OP_NO_RENEGOTIATION',
        'OP_CIPHER_SERVER_PREFERENCE', 'OP_SINGLE_DH_USE', 'OP_SINGLE_ECDH_USE')
# With it a connection that was cut looks like one that has ended, and half of a body like the whole.
_CUT_IS_AN_END = getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)


# A name with a control character is no name: it could forge lines of a log. `*` means all users in rules.
_find_control = re.compile(u'[\x00-\x1f\x7f-\x9f]').search
_Names = collections.namedtuple('_Names', 'issuer subject')       # in DER, octets
_certificates_in = re.compile(br'-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----').findall
_labels = re.compile(br'-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----').findall
LONGEST_NAME = 255      # octets of a user name, as in htpasswd


# What to do, by the reason that OpenSSL gives.
_REMEDIES = {
    'KEY_VALUES_MISMATCH': '; of several certificates in a file, the first one is that of the key',
    'EE_KEY_TOO_SMALL': '; make one with a longer key',
    'CA_MD_TOO_WEAK': '; make one with a newer signature algorithm',
}

# What files are expected to be.
_CERTIFICATE, _AUTHORITIES, _KEY = 'a certificate', 'a file with certificates of authorities', 'the key'
_HALF = 'not each -----BEGIN in it has its -----END: is it complete?'
# The reasons that OpenSSL gives if a file has not what is wanted. Python has no reason for some errors.
_NOT_FOUND = (None, 'NO_START_LINE', 'NO_CERTIFICATE_OR_CRL_FOUND', 'BAD_END_LINE')

_NO_RENEGOTIATION = 1 << 30     # OP_NO_RENEGOTIATION, which Python has from 3.7


class BadCertificate(ValueError):
    """A file with a certificate or key is missing, unreadable or wrong. Its text says which, and what to do."""

    def __init__(self, message, path, errno=None):
        """`message`: native text; `path`: of the file; `errno`: an int if it cannot be read, else None."""
        ValueError.__init__(self, message)
        self.path, self.errno = path, errno


def paths_of(pairs, clients):
    """Return all paths of some Pairs, `pairs`, and of `clients`, a path or None, as a list without duplicates."""
    paths = [path for pair in pairs for path in pair] + ([clients] if clients else [])
    return sorted(set(paths), key=paths.index)


def read(pairs, clients=None):
    """Read files and return what they say, a Loaded, with a context for the server's side.

    `pairs`: a tuple of Pairs; `clients`: as for `server_context`. Raises BadCertificate.
    """
    stamped = stamp(paths_of(pairs, clients))       # before they are read, so that a change meanwhile is seen later
    context = server_context(pairs, clients)
    found = tuple((pair.certificate, facts(pair.certificate)) for pair in pairs)
    found += (_facts_of_clients(clients, context),) if clients else ()
    doubts = tuple('%s %s' % (pair.certificate, text) for pair in pairs for text in advice(pair.certificate))
    return Loaded(pairs, clients, stamped, context, found, doubts)


def _facts_of_clients(path, context):
    """Return (path, Facts) of the certificate that ends first, of the authorities that a context trusts."""
    found = [_facts(each) for each in context.get_ca_certs()] or [facts(path)]
    return path, min(found, key=lambda each: each.until)


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
        _load(authorities, _AUTHORITIES, context.load_verify_locations, authorities)
    if pair is not None:
        _load_pair(context, pair)
    return context


def facts(path):
    """Return the Facts of the first certificate in a file. `path`: of the file. Raises BadCertificate."""
    return _facts(_load(path, _CERTIFICATE, ssl._ssl._test_decode_cert, path))


def _facts(found):
    others = [name for kind, name in found.get('subjectAltName', ()) if kind in ('DNS', 'IP Address')]
    names = [name.encode('utf-8', 'backslashreplace') for name in others or _subject(found, 'commonName')]
    return Facts([to_native(name).lower() for name in names], ssl.cert_time_to_seconds(found['notBefore']),
                 ssl.cert_time_to_seconds(found['notAfter']))


def user_of(certificate):
    """Return the user name in a certificate, octets; None if it has none that a user can have, or has expired.

    It is the common name; the e-mail address if there is no common name, or one with blanks, which no rule can name.
    `certificate`: a dictionary, see TlsTransport.certificate.
    """
    names = _subject(certificate, 'commonName') + _subject(certificate, 'emailAddress') + [
        name for kind, name in certificate.get('subjectAltName', ()) if kind == 'email']
    names = [name for name in names if len(name.split()) == 1] + names
    if not names or _find_control(names[0]) or names[0].strip() in ('', '*') or _is_over(certificate):
        return None
    name = names[0].encode('utf-8')
    return name if len(name) <= LONGEST_NAME else None


def _is_over(certificate):
    """Return True if a certificate has expired. OpenSSL does not look at that again when a client resumes a session."""
    return ssl.cert_time_to_seconds(certificate['notAfter']) < time.time()


def stamp(paths):
    """Return a value that changes when a file changes, appears or goes. `paths`: of the files."""
    return tuple(_stamp(path) for path in paths)


def _stamp(path):
    try:
        found = os.stat(path)
    except OSError as error:
        return error.errno
    return found.st_mtime, found.st_ctime, found.st_size, found.st_ino     # ctime: chown lets it be read


def _subject(certificate, field):
    return [value for part in certificate.get('subject', ()) for name, value in part if name == field]


def _context():
    context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)       # the old name for whatever both sides can, which 2.7 knows
    for name in _OFF:
        context.options |= getattr(ssl, name, 0)
    if context.options & _CUT_IS_AN_END:            # Debian's Python sets it
        context.options &= ~_CUT_IS_AN_END
    if ssl.OPENSSL_VERSION_INFO >= (1, 1, 1):
        context.options |= _NO_RENEGOTIATION
    if not hasattr(ssl, 'MemoryBIO'):               # Python 2: see TlsTransport
        context.options |= getattr(ssl, 'OP_NO_TLSv1_3', 0)
    if getattr(ssl, 'HAS_ALPN', False):
        context.set_alpn_protocols(PROTOCOLS)
    return context


def _server_context(pair, clients, required):
    context = _context()
    _load_pair(context, pair)
    if clients is not None:
        _load(clients, _AUTHORITIES, context.load_verify_locations, clients)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _load_pair(context, pair):
    facts(pair.certificate)             # else a mistake in one file is told of the other
    asked = []                          # the callback must not raise: Python 3.6 turns that into a SystemError
    try:
        _load(pair.key, '%s of %s' % (_KEY, pair.certificate), context.load_cert_chain, pair.certificate, pair.key,
              lambda *_: asked.append(True) or '')
    except BadCertificate:
        begun, ended = _sections(pair.certificate)
        if begun != ended:              # in an intermediate certificate, which OpenSSL reads together with the key
            raise BadCertificate('%s is not %s: %s' % (pair.certificate, _CERTIFICATE, _HALF), pair.certificate)
        if pair.key == pair.certificate and 'PRIVATE KEY' not in begun:
            raise BadCertificate('%s has no private key: set key = FILE' % pair.certificate, pair.certificate)
        if not asked:
            raise
        raise BadCertificate('%s needs a passphrase, and nobody is there to type it: write the key without one, with '
                             'openssl pkey -in %s -out FILE' % (pair.key, pair.key), pair.key)


def _load(path, what, load, *arguments):
    try:
        with open(path, 'rb'):
            pass                        # what OpenSSL says about a file that is missing helps nobody
        return load(*arguments)
    except BadCertificate:
        raise
    except ssl.SSLError as error:
        reason = getattr(error, 'reason', None)
        why = _contents(path, what) if reason in _NOT_FOUND else (
            reason.lower().replace('_', ' ') + _REMEDIES.get(reason, ''))
        raise BadCertificate('%s is not %s: %s' % (path, what, why), path)
    except (IOError, OSError) as error:
        raise BadCertificate('cannot read %s, %s: %s' % (path, what, error.strerror), path, error.errno)


def _contents(path, what):
    """Return why a file is not what was expected, and what to do, as native text. `what`: as for `_load`."""
    wanted = 'PRIVATE KEY' if what.startswith(_KEY) else 'CERTIFICATE'
    begun, ended = _sections(path)
    if not begun:
        return 'expected PEM, a text with -----BEGIN %s-----' % wanted
    if begun != ended:
        return _HALF
    if wanted in begun:
        return 'the %s in it is damaged' % wanted
    swapped = what != _AUTHORITIES and set(begun) & {'PRIVATE KEY', 'CERTIFICATE'}
    return 'it has a %s%s' % (' and a '.join(sorted(set(begun), key=begun.index)),
                              ': are certificate and key swapped?' if swapped else ', and no %s' % wanted)


def _sections(path):
    """Return the labels of a PEM file, as two lists of native text: of its lines with BEGIN, and of those with END."""
    try:
        with open(path, 'rb') as opened:
            found = [(edge, to_native(label)) for edge, label in _labels(opened.read())]
    except (IOError, OSError):
        found = []                      # it was there a moment ago
    found = [(edge, label) for edge, label in found if not label.endswith('PARAMETERS')]    # they go with a key
    return [['PRIVATE KEY' if label.endswith('PRIVATE KEY') else label for edge, label in found if edge == each]
            for each in (b'BEGIN', b'END')]


def _ask_for_name(context, callback):
    """Have `callback` called with the owner, see TlsTransport, and the name. The methods of gevent's own contexts know
    no owners but gevent's sockets."""
    _keep_quiet()
    base = ssl._ssl._SSLContext
    if hasattr(base, 'sni_callback'):
        base.sni_callback.__set__(context, callback)
    else:
        base.set_servername_callback(context, callback)


_HOOK = 'unraisablehook'        # of sys, from Python 3.8 on


def _keep_quiet():
    """Keep Python from writing a traceback for each name that is not in ASCII.

    Python refuses such a handshake before it calls us. Before Python 3.8, it cannot be kept from writing.
    """
    usual = getattr(sys, _HOOK, None)
    if usual is None or getattr(usual, 'is_quiet', False):
        return

    def hook(found):
        # From Python 3.14 on, the name is a part of the message instead of the object.
        of_a_name = isinstance(found.object, bytes) or 'servername' in (found.err_msg or '')
        if not (of_a_name and isinstance(found.exc_value, UnicodeDecodeError)):
            usual(found)
    hook.is_quiet = True
    setattr(sys, _HOOK, hook)


def _choose(transport, name, by_name):
    """Called by OpenSSL during the handshake. `name`: native text that the client asked for, or None."""
    name = to_native(name) if isinstance(name, bytes) else name or ''
    context = by_name.get(name.lower()) or by_name.get('*.' + name.lower().partition('.')[2])
    if context is not None:
        transport.use(context)


# --- what most clients would refuse, although OpenSSL takes it here

def advice(path):
    """Return what is doubtful about the certificates in a file, as a list of native texts. `path`: of the file.

    Raises BadCertificate.
    """
    said = []
    if not facts(path).names:
        said.append('names no host, so clients refuse it: get one with a subjectAltName')
    chain = _load(path, _CERTIFICATE, _chain_in, path)
    for number, (lower, upper) in enumerate(zip(chain, chain[1:]), 2):
        if lower.issuer != upper.subject:
            said.append('is not in order: certificate %d of the file has not signed the one before it; put the one of '
                        'the proxy first, then the one that has signed it, and so on' % number)
            break
    return said


def _chain_in(path):
    """Return the _Names of the certificates in a file, in their order; none if one cannot be read as DER."""
    with open(path, 'rb') as opened:
        found = _certificates_in(opened.read())
    try:
        return [_names_in(binascii.a2b_base64(text)) for text in found]
    except ValueError:
        return []


def _names_in(der):
    """Return the _Names of a certificate in DER, octets. Raises ValueError."""
    _tag, at, _end = _element(der, 0)               # Certificate (RFC 5280, 4.1)
    _tag, at, _end = _element(der, at)              # TBSCertificate
    parts = []
    while len(parts) < 5:                           # serialNumber, signature, issuer, validity, subject
        tag, begin, end = _element(der, at)
        at = end
        if tag != b'\xa0':                          # the version, which may be left out
            parts.append(der[begin:end])
    return _Names(parts[2], parts[4])


def _element(der, at):
    """Return (tag, begin, end) of an element of DER (X.690, 8.1). `at`: where it begins."""
    size, begin = int(binascii.hexlify(der[at + 1:at + 2]), 16), at + 2
    if size > 127:
        begin += size - 128
        size = int(binascii.hexlify(der[at + 2:begin]), 16)
    return der[at:at + 1], begin, begin + size
