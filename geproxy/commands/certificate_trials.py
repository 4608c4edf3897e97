"""Tries the certificates of [tls] for `geproxy doctor`, as a client does that trusts what this host trusts."""
from __future__ import absolute_import, division, print_function

import socket

from geproxy.commands.findings import ERROR, NOTE, OK, WARNING, Finding
from geproxy.net import certificates
from geproxy.net.tls import Failure, TlsTransport
from geproxy.service import certificate_store

ROUNDS = 20         # more than any handshake takes
OWN_CA = ('if it is of your own CA, give clients the certificate of that CA; if it is of a public CA, put the '
          'intermediate certificates behind it into the same file')


def examine(loaded):
    """Return [Finding] about certificates. `loaded`: the certificates.Loaded, or None if there is no TLS."""
    found = [Finding(ERROR if 'expired' in text else WARNING, text, '') for text in certificate_store.warnings(loaded)]
    rows = certificate_store.rows(loaded)
    for row, pair in zip(rows, loaded.pairs if loaded else ()):
        why = refusal(pair, row.names)
        what = '%s, %d days left' % (certificate_store.show(row), row.days)
        if why:
            what += '; clients that trust only the CAs of this host refuse it: %s' % why
        found.append(Finding(NOTE if why else OK, what, why and OWN_CA))
    found.extend(Finding(OK, 'clients log in by certificates of %s, %d days left' % (
        certificate_store.show(row), row.days), '') for row in rows[len(loaded.pairs) if loaded else 0:])
    return found


def refusal(pair, names, authorities=None):
    """Return why a client refuses a certificate, as native text; '' if it does not.

    `pair`: its Pair; `names`: that it has, native texts; `authorities`: path of the certificates that the client
    trusts, None for those of this host.
    """
    name = names[0].replace('*', 'any', 1) if names else 'localhost'
    ours, theirs = [each if hasattr(each, 'detach') else each._sock for each in socket.socketpair()]
    server = TlsTransport(ours, certificates.server_context([pair]))
    client = TlsTransport(theirs, certificates.client_context(authorities), name)
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
