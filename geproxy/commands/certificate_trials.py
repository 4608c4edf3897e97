"""Tries the certificates of [tls] for `geproxy doctor`, as a client does that trusts what this host trusts."""
from __future__ import absolute_import, division, print_function

import socket
import ssl

from geproxy.commands.findings import ERROR, NOTE, OK, WARNING, Finding
from geproxy.net import certificates
from geproxy.net.tls import Failure, TlsTransport
from geproxy.observe.formats import certificate_state
from geproxy.service import certificate_store

ROUNDS = 20         # more than any handshake takes
OWN_CA = ('if it is of your own CA, give clients the certificate of that CA; if it is of a public CA, add '
          'the intermediate certificates to the end of its file')
STRICT_CA = ('make a CA with the extensions keyUsage = keyCertSign, cRLSign and subjectKeyIdentifier, and let the '
             'certificate have authorityKeyIdentifier')


def examine(loaded):
    """Return [Finding] about certificates. `loaded`: the certificates.Loaded, or None if there is no TLS."""
    found = [Finding(ERROR if 'expired' in text else WARNING, text, '') for text in certificate_store.warnings(loaded)]
    rows = certificate_store.rows(loaded)
    for row, pair in zip(rows, loaded.pairs if loaded else ()):
        why = refusal(pair, row.names)
        what = '%s, %s' % (certificate_store.show(row), certificate_state(row._asdict()))
        if why:
            what += '; clients that trust only the CAs of this host refuse it: %s' % why
        found.append(Finding(NOTE if why else OK, what, why and OWN_CA))
        why = strict_refusal(pair, row.names, [pair.certificate, loaded.clients] if why else [None])
        if why:
            found.append(Finding(WARNING, '%s: clients on Python 3.13 and newer refuse it: %s' % (row.path, why),
                                 STRICT_CA))
    for row in rows[len(loaded.pairs) if loaded else 0:]:
        found.append(Finding(OK, 'clients log in by certificates of %s, %s' % (
            certificate_store.show(row), certificate_state(row._asdict())), ''))
    return found


def strict_refusal(pair, names, authorities):
    """Return why a client refuses a certificate only because it wants all that RFC 5280 demands, as native text; '' if
    it does not, or if none of `authorities` has signed it.

    `pair`, `names`: as for `refusal`; `authorities`: a list of what the same argument of `refusal` may be.
    """
    for each in authorities:
        if not refusal(pair, names, each):
            return refusal(pair, names, each, True)
    return ''


def refusal(pair, names, authorities=None, strict=False):
    """Return why a client refuses a certificate, as native text; '' if it does not.

    `pair`: its Pair; `names`: that it has, native texts; `authorities`: path of the certificates that the client
    trusts, None for those of this host; `strict`: True for a client that wants all that RFC 5280 demands.
    """
    name = names[0].replace('*', 'any', 1) if names else 'localhost'
    ours, theirs = [each if hasattr(each, 'detach') else each._sock for each in socket.socketpair()]
    server = TlsTransport(ours, certificates.server_context([pair]))
    context = certificates.client_context(authorities)
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    client = TlsTransport(theirs, context, name)
    try:
        for _ in range(ROUNDS):
            if [client.handshake(), server.handshake()] == [None, None]:
                return ''
        return 'the handshake comes to no end'
    except Failure as failure:
        return str(failure.args[-1])
    finally:
        client.close()
        server.close()
