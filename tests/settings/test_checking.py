"""Checks of options that depend on each other, and how a problem is shown."""
from __future__ import absolute_import, division, print_function

import pytest

from encrypted import pem

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
