"""Checks of options that depend on each other, and how a problem is shown."""
from __future__ import absolute_import, division, print_function

import pytest
from encrypted import pem
from test_tls import path

from geproxy.settings import checking, loading


def problems(*lines):
    """Return what is wrong with a file of these lines, as texts of one line each."""
    with pytest.raises(checking.ConfigError) as raised:
        loading.load('test.ini', lines)
    return str(raised.value).split('\n')


@pytest.mark.parametrize('problem, shown', [
    (('p.ini', 7, 'access', 'rules', 'bad'), 'p.ini:7: [access] rules: bad'),
    (('p.ini', 7, 'access', '', 'bad'), 'p.ini:7: [access]: bad'),
    (('p.ini', 7, '', 'x', 'bad'), 'p.ini:7: x: bad'),
    (('users', 0, '', '', 'bad'), 'users: bad'),
])
def test_a_problem_is_one_line_with_its_file_line_and_option(problem, shown):
    assert checking.show_problem(checking.Problem(*problem)) == shown
    assert str(checking.ConfigError([checking.Problem(*problem)] * 2)) == shown + '\n' + shown


def test_a_rule_that_names_users_needs_the_files_that_have_them():
    assert problems('[access]', 'rules = allow any a', '  allow user:bob any', '  allow group:ops any') == [
        'test.ini:3: [access] rules: this rule names users or groups: set [auth] users',
        'test.ini:4: [access] rules: this rule names users or groups: set [auth] users and groups']


def test_a_quota_needs_a_file():
    assert problems('[limits]', 'quota = 1g') == [
        'test.ini:2: [limits] quota: set quota_file, too: without the file a restart would reset all quotas']
    assert loading.load('test.ini', ['[limits]', 'quota = 1g', 'quota_file = /x']).limits.quota == 1 << 30


def test_a_listener_for_tls_needs_a_certificate():
    assert problems('[proxy]', 'listen = *:9000 *:9443 tls') == [
        'test.ini:2: [proxy] listen: tls needs a certificate: set [tls] certificate, too, or remove the word tls']
    loaded = loading.load('test.ini', ['[proxy]', 'listen = *:9443 tls', '[tls]', 'certificate = ' + pem('proxy.test.pem'),
                                       'key = ' + pem('proxy.test.key')])
    assert loaded.proxy.listen[0].tls


# --- certificates

PROXY, KEY, CA = path('proxy.test.pem'), path('proxy.test.key'), path('ca.pem')


@pytest.mark.parametrize('lines, said', [
    (['key = %s' % KEY], ['test.ini:2: [tls] key: set certificate, too: without it there is no TLS']),
    (['clients = %s' % CA], ['test.ini:2: [tls] clients: set certificate, too: without it there is no TLS']),
    (['certificate = a', ' b', 'key = a'],
     ['test.ini:4: [tls] key: expected as many keys as certificates, in their order: 2, not 1']),
    (['certificate = %s' % PROXY, 'key = %s' % path('other.test.key')],
     ['test.ini:3: [tls] key: %s is not the key of %s: key values mismatch; of several certificates in a file, the first '
      'one is that of the key' % (path('other.test.key'), PROXY)]),
    (['certificate = %s' % PROXY], ['test.ini:2: [tls] certificate: %s has no private key: set key = FILE' % PROXY]),
    (['certificate = nowhere.pem', 'key = %s' % KEY],
     ['test.ini:2: [tls] certificate: cannot read nowhere.pem, a certificate: No such file or directory']),
    (['certificate = %s' % PROXY, '  %s' % path('ca.pem'), 'key = %s' % KEY, '  %s' % KEY],
     ['test.ini:5: [tls] key: %s is not the key of %s' % (KEY, CA)]),
    (['certificate = %s' % PROXY, '  nowhere.pem', 'key = %s' % CA, '  %s' % KEY],
     ['test.ini:3: [tls] certificate: cannot read nowhere.pem', 'test.ini:4: [tls] key: %s is not the key of' % CA]),
    (['certificate = %s' % PROXY, 'key = %s' % KEY, 'clients = %s' % KEY],
     ['test.ini:4: [tls] clients: %s is not a file with certificates of authorities' % KEY]),
])
def test_what_is_wrong_with_certificates_is_told_with_its_line(lines, said):
    found = problems('[tls]', *lines)
    assert len(found) == len(said) and all(text.startswith(start) for text, start in zip(found, said))


def test_a_key_may_be_in_the_file_of_its_certificate(tmpdir):
    both = tmpdir.join('both.pem')
    both.write(open(KEY).read() + open(PROXY).read())
    loaded = loading.load(str(tmpdir.join('x.ini')), ['[tls]', 'certificate = both.pem']).certificates
    assert loaded.pairs == ((str(both), str(both)),) and loaded.clients is None


def test_groups_are_read_without_users_if_certificates_log_in(tmpdir):
    tmpdir.join('groups').write('ops: joe\n')
    tls = ['[tls]', 'certificate = %s' % PROXY, 'key = %s' % KEY, 'clients = %s' % CA]
    lines, where = ['[auth]', 'groups = groups'], str(tmpdir.join('x.ini'))
    assert loading.load(where, lines + tls).users.groups == {b'joe': {b'ops'}}
    assert loading.load(where, lines).users is None
