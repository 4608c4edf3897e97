"""Authorities that sign certificates of any content, for tests. A test that uses them is skipped without cryptography."""
from __future__ import absolute_import, division, print_function

import datetime

import pytest

from geproxy.net.certificates import Pair

A_DAY = datetime.timedelta(1)


class Authority(object):
    """An authority with its own files in `folder`. `path`: of its certificate."""

    def __init__(self, folder, name, issuer=None, strict=False):
        """`folder`: of py.path; `name`: native text; `issuer`: the Authority that signs its certificate, or None; `strict`:
        True for certificates with all extensions that RFC 5280 demands."""
        pytest.importorskip('cryptography')
        self._folder, self._issuer, self._key, self._strict = folder, issuer, None, strict
        pair = self.make(name, common=name, own=True)
        self.path = pair.certificate

    def make(self, file_name, common=None, email=None, hosts=(), since=-1, until=3650, own=False):
        """Return the Pair of a new certificate.

        `file_name`: without .pem; `common`, `email`: of the subject, text; `hosts`: names; `since`, `until`: in days
        from now; `own`: True for the certificate of this authority itself.
        """
        from cryptography import x509
        from cryptography.hazmat.backends import default_backend
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        key = ec.generate_private_key(ec.SECP256R1(), default_backend())
        now, text = datetime.datetime.utcnow(), u'%s'
        subject = x509.Name([x509.NameAttribute(oid, text % value) for oid, value in (
            (x509.NameOID.COMMON_NAME, common), (x509.NameOID.EMAIL_ADDRESS, email)) if value is not None])
        signer = self._issuer if own else self
        if own:
            self._key, self.subject = key, subject
        builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key()).serial_number(
            x509.random_serial_number()).issuer_name((signer or self).subject).not_valid_before(
                now + since * A_DAY).not_valid_after(now + until * A_DAY).add_extension(
                    x509.BasicConstraints(own, None), True)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(
                [x509.DNSName(text % host) for host in hosts]), False)
        if self._strict:
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False).add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((signer or self)._key.public_key()), False)
        if self._strict and own:
            builder = builder.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        signed = builder.sign((signer or self)._key, hashes.SHA256(), default_backend())
        pem = serialization.Encoding.PEM
        pair = Pair(str(self._folder.join(file_name + '.pem')), str(self._folder.join(file_name + '.key')))
        with open(pair.certificate, 'wb') as opened:
            opened.write(signed.public_bytes(pem))
        with open(pair.key, 'wb') as opened:
            opened.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return pair
