"""``geproxy doctor`` and ``--check`` about certificates: real files, and a real handshake with each."""
from __future__ import absolute_import, division, print_function

import ssl

import pytest
from authorities import Authority
from test_tls import path

from geproxy import cli
from geproxy.commands import certificate_trials, doctor
from geproxy.commands.findings import ERROR, NOTE, OK, WARNING
from geproxy.net import certificates
from geproxy.settings import loading

PROXY = certificates.Pair(path('proxy.test.pem'), path('proxy.test.key'))


@pytest.fixture
def authority(tmpdir):
    """An Authority."""
    return Authority(tmpdir, 'ca')


def test_without_tls_nothing_is_said():
    assert certificate_trials.examine(None) == []


def test_a_certificate_of_an_own_authority_is_a_note_that_says_what_clients_need():
    found = certificate_trials.examine(certificates.read((PROXY,), path('ca.pem')))
    ours, clients = found[0], found[-1]
    assert ours.severity == NOTE and 'proxy.test localhost' in ours.what and 'days left' in ours.what
    assert 'refuse it: certificate verify failed' in ours.what and 'own CA' in ours.remedy
    assert clients.severity == OK and 'clients log in by certificates of' in clients.what


@pytest.mark.skipif(ssl.OPENSSL_VERSION_INFO < (3,), reason='this OpenSSL does not look at the key usage')
@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('where', ['in its file', 'in [tls] clients'])
def test_an_authority_that_strict_clients_refuse_is_told(tmpdir, strict, where):
    authority = Authority(tmpdir, 'ca', strict=strict)
    pair = authority.make('x', u'x', hosts=[u'x.test'])
    if where == 'in its file':
        with open(pair.certificate, 'a') as opened:
            opened.write(open(authority.path).read())
    loaded = certificates.read((pair,), authority.path if where != 'in its file' else None)
    said = [each for each in certificate_trials.examine(loaded) if '3.13' in each.what]
    assert [(each.severity, 'keyUsage' in each.remedy) for each in said] == ([] if strict else [(WARNING, True)])
    assert all(each.what.startswith('%s: ' % pair.certificate) and 'verify failed' in each.what for each in said)


@pytest.mark.parametrize('hosts, trusts, refused', [
    ([u'x.test'], True, ''), ([u'*.corp.test', u'x.test'], True, ''), ([u'x.test'], False, 'certificate verify failed')])
def test_a_handshake_tells_if_a_client_accepts_it(authority, hosts, trusts, refused):
    pair = authority.make('x', u'x', hosts=hosts)
    names = certificates.facts(pair.certificate).names
    said = certificate_trials.refusal(pair, names, authority.path if trusts else path('ca.pem'))
    assert bool(said) == bool(refused) and refused in said


def test_a_missing_intermediate_is_found(tmpdir, authority):
    middle = Authority(tmpdir, 'middle', authority)
    alone = middle.make('x', u'x', hosts=[u'x.test'])
    assert 'verify failed' in certificate_trials.refusal(alone, ['x.test'], authority.path)
    chain = tmpdir.join('chain.pem')
    chain.write(open(alone.certificate).read() + open(middle.path).read())
    assert certificate_trials.refusal(certificates.Pair(str(chain), alone.key), ['x.test'], authority.path) == ''


@pytest.mark.parametrize('until, severity, what', [(-1, ERROR, 'expired on'), (10, WARNING, 'in 9 days')])
def test_one_that_has_ended_or_ends_soon_is_told_by_doctor_and_check(tmpdir, authority, capsys, until, severity, what):
    pair = authority.make('x', u'x', hosts=[u'x.test'], since=-9, until=until)
    ini = tmpdir.join('x.ini')
    ini.write('[proxy]\nlisten = 127.0.0.1:0\n[tls]\ncertificate = x.pem\nkey = x.key\n')
    found = certificate_trials.examine(loading.load(str(ini)).certificates)
    assert found[0].severity == severity and what in found[0].what and pair.certificate in found[0].what
    assert (', expired 20' in found[1].what) is (until < 0) and ', -' not in found[1].what
    assert cli.main(['--check', str(ini)]) == 0
    assert what in capsys.readouterr()[0]
    assert doctor.main(['doctor', '-c', str(ini)]) in (1, 2)
    assert what in capsys.readouterr()[0]
