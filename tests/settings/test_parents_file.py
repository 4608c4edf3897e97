"""The file of parents: what it may say, who may read it, and that no message tells a password."""
from __future__ import absolute_import, division, print_function

import os
import pwd
import ssl

import pytest
from test_tls import path as pem

from geproxy.policy.routes import Parent
from geproxy.settings import parents_file
from geproxy.settings.parents_file import ParentsError
from geproxy.settings.route_lines import parse_parent

HTTP = '[http://a.corp:3128]\n'
HTTPS = '[https://a.corp:3129]\n'
SOCKS = '[socks5h://s.corp]\n'


def octets(text):
    return text if isinstance(text, bytes) else text.encode('utf-8')


@pytest.fixture
def write(tmpdir):
    """A function that writes a file that only its owner may read, and returns its path."""
    def write_file(text):
        path = str(tmpdir.join('parents'))
        with open(path, 'wb') as opened:
            os.chmod(path, 0o600)
            opened.write(octets(text))
        return path
    return write_file


def problems(path, **options):
    """Return what is wrong with a file, as a list of (line number, message)."""
    with pytest.raises(ParentsError) as raised:
        parents_file.read(path, **options)
    assert str(raised.value).startswith(path) and 'secret' not in repr(raised.value)
    return [(number, what) for _path, number, what in raised.value.problems]


def login(path, url='http://a.corp:3128'):
    """Return (name, password) that a parent gets of a file."""
    return parents_file.complete(parse_parent(url), parents_file.read(path)).login


# --- what may stand in it

def test_each_parent_gets_its_own_login(write):
    path = write(b'''\xef\xbb\xbf
        # the first one
        [http://A.corp:3128]
        user = joe
        password = p1
        ; and another
        [socks5h://s.corp]
        password=p2
        user=ann
        [https://a.corp:3129/]
        [socks4a://[::1]:1081]
        user = plain
    '''.replace(b'\n', b'\r\n'))
    assert login(path) == (b'joe', b'p1') and login(path, 'socks5h://s.corp:1080') == (b'ann', b'p2')
    assert login(path, 'socks4a://[::1]:1081') == (b'plain', b'')
    assert login(path, 'https://a.corp:3129') is None and login(path, 'http://b.corp:3128') is None
    assert login(path, 'socks5://s.corp') is None           # it is another parent


@pytest.mark.parametrize('text, password', [
    (b'# a', b'# a'), (b'a #b ;c', b'a #b ;c'), (b'%s%(x)s', b'%s%(x)s'), (b'=a=b', b'=a=b'), (b'a  b', b'a  b'), (b'[a]', b'[a]'),
    (b'\xc3\xa4\xe2\x82\xac', b'\xc3\xa4\xe2\x82\xac'), (b'\xe4', b'\xe4'), (b'\\x41', b'\\x41'), (b'', b''), (b'a:b', b'a:b'),
    (b'" a "', b' a '), (b'""', b''), (b'"', b'"'), (b'"a', b'"a'), (b'a"b"', b'a"b"'), (b'""a""', b'"a"'), (b"'a'", b"'a'"),
    (b'a,b', b'a,b'), (b'\\', b'\\'), (b'"\\"', b'\\'),
])
def test_a_password_may_have_any_octets(write, text, password):
    for end in (b'\n', b'\r\n', b' \t\n', b''):
        assert login(write(octets(HTTP) + b'user = joe\npassword = ' + text + end)) == (b'joe', password)


def test_a_long_login_for_basic_is_possible(write):
    assert len(login(write(HTTP + 'user = %s\npassword = %s' % (1024 * 'u', 1024 * 'p'))).password) == 1024


def test_a_login_has_no_password_in_its_repr(write):
    facts = parents_file.read(write(HTTP + 'user = joe\npassword = secret'))
    parent = parents_file.complete(parse_parent('http://a.corp:3128'), facts)
    assert isinstance(parent, Parent) and parent.login == (b'joe', b'secret')
    assert 'secret' not in '%r %r %s' % (parent, facts, parent.login)


# --- certificates

def test_an_https_parent_without_certificates_trusts_those_of_the_system(write):
    facts = parents_file.read(write('[https://a.corp:3129]\nuser = joe\npassword = p'))
    contexts = [parents_file.complete(parse_parent(url), each).context for each in (facts, parents_file.Facts())
                for url in ('https://a.corp:3129', 'https://b.corp:3129')]
    assert all(context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname for context in contexts)
    assert contexts[0] is contexts[1]           # to read all of them for each parent takes too long
    assert parents_file.complete(parse_parent('http://a.corp:3128'), facts).context is None


def test_certificates_are_relative_to_the_file(write, tmpdir):
    for name in ('ca.pem', 'joe.pem', 'joe.key'):
        with open(pem(name), 'rb') as opened:
            tmpdir.join(name).write_binary(opened.read())
    facts = parents_file.read(write(HTTPS + 'ca = ca.pem\ncertificate = joe.pem\nkey = %s' % pem('joe.key')))
    context = parents_file.complete(parse_parent('https://a.corp:3129'), facts).context
    assert [each['subject'][0][0][1] for each in context.get_ca_certs()] == ['geproxy test CA']


@pytest.mark.parametrize('text, line, what', [
    (HTTP + 'ca = ca.pem', 2, 'ca is only for parents with https://'),
    (HTTPS + 'certificate = a.pem', 2, 'certificate without key: write key = FILE, too; it may be the same file'),
    (HTTPS + 'key = a.pem', 2, 'key without certificate: write certificate = FILE'),
    (HTTPS + 'ca = nowhere.pem', 2, 'nowhere.pem, a file with certificates of authorities: No such file or directory'),
    (HTTPS + 'ca = %s' % pem('joe.key'), 2, 'joe.key is not a file with certificates of authorities'),
    (HTTPS + 'ca = %s\ncertificate = %s\nkey = %s' % (pem('ca.pem'), pem('joe.pem'), pem('proxy.test.key')), 4,
     'proxy.test.key is not the key of '),
    (HTTPS + 'ca = %s\nkey = %s\ncertificate = %s' % (pem('ca.pem'), pem('joe.key'), pem('joe.key')), 4,
     'joe.key is not a certificate'),
])
def test_certificates_that_are_wrong_are_told_with_their_line(write, text, line, what):
    (number, said), = problems(write(text))
    assert number == line and what in said


# --- mistakes

@pytest.mark.parametrize('text, line, what', [
    ('user = joe', 1, 'this line is before the first section: expected the URL of a parent, such as '
     '[http://proxy.corp:3128]'),
    (HTTP + 'secret', 2, 'invalid line: expected name = value, with one of the names user, password, ca, certificate, key'),
    (HTTP + '[secret', 2, 'invalid line: expected name = value, with one of the names user, '),
    (HTTP + 'usr = secret', 2, 'unknown name before the = (did you mean user?): expected one of user, password, '),
    (HTTP + 'Password = secret', 2, 'unknown name before the = (did you mean password?)'),
    (HTTP + 'secret=', 2, 'unknown name before the = (did you mean user?): expected one of user, password, ca, certificate, key'),
    (HTTP + 'q8x =', 2, 'unknown name before the =: expected one of user'),
    (HTTPS + 'ca =', 2, 'the value of ca is empty'),
    (HTTP + 'user = joe\npassword = secret\nuser = secret', 4, 'user is set in line 2 already'),
    (HTTP + 'user = joe', 2, 'a user without a password: write password = PASSWORD'),
    (HTTP + 'password = secret', 2, 'a password without a user: write user = NAME'),
    (HTTP + 'user =\npassword = secret', 2, 'the value of user is empty: write one, or remove the line'),
    (HTTP + 'user = a:b\npassword = secret', 2, 'the user has a colon, which Basic uses as the end of the name (RFC 7617, 2)'),
    (HTTP + 'user = a\npassword = secret\0', 3, 'the value of password has a control character'),
    (HTTP + 'user = a\npassword = secret' + 1100 * 'x', 3, 'the password has more than the 1024 octets that are possible'),
    (SOCKS + 'user = %s\npassword = secret' % (256 * 'u'), 2, 'the user has 256 octets, more than the 255 that are possible'),
    (SOCKS + 'user = u\npassword = secret%s' % (256 * 'p'), 3, 'the password has more than the 255 octets that are possible'),
    (SOCKS + 'user = u\npassword =', 3, 'the password is empty, which SOCKS 5 does not allow (RFC 1929, 2)'),
    ('[socks4a://s.corp]\nuser = u\npassword = secret', 3, 'SOCKS 4 has no passwords: remove it, or use socks5h://'),
    (HTTP + HTTP, 2, 'line 1 has a section for this parent already: write all of it there'),
    ('[http://joe:secret@a.corp:3128]', 1, 'user and password do not belong into the URL: write user = and password = '
     'below it'),
    ('[joe:secret@a.corp]', 1, 'user and password do not belong into the URL'),
    ('[a.corp:3128]', 1, 'a section begins with the URL of a parent, such as [http://proxy.corp:3128]'),
    ('[ftp://a.corp:3128]', 1, 'a section begins with the URL of a parent, such as [http://proxy.corp:3128]'),
    ('[http://a.corp]', 1, 'a section begins with the URL of a parent'),
    ('[http://a.corp:0x]', 1, 'a section begins with the URL of a parent'),
    ('[direct]', 1, 'a section begins with the URL of a parent'),
    ('[]', 1, 'a section begins with the URL of a parent'),
    ('[http://a\x01b:1]', 1, 'the URL of the parent has a control character'),
])
def test_a_mistake_is_told_with_its_line_and_what_to_do(write, text, line, what):
    (number, said), = problems(write(text))
    assert number == line and what in said


def test_all_mistakes_are_told_at_once(write):
    path = write('x\n' + HTTP + 'user = joe\n' + SOCKS + 'y\n')
    assert [number for number, _what in problems(path)] == [1, 3, 5]
    with pytest.raises(ParentsError) as raised:
        parents_file.read(path)
    assert str(raised.value).splitlines()[1] == (
        '%s:3: a user without a password: write password = PASSWORD' % path)


def test_lines_of_a_section_with_a_wrong_url_are_not_told_of(write):
    assert [number for number, _what in problems(write('[oops]\nuser = joe\n'))] == [1]


# --- who may read it

@pytest.mark.parametrize('mode', [0o640, 0o604, 0o620, 0o610, 0o644])
def test_others_may_not_read_or_change_the_file(write, mode):
    path = write(HTTP)
    os.chmod(path, mode)
    assert problems(path) == [(0, 'others than its owner can read or change this file with passwords (mode %03o): '
                                  'chmod 600 %s' % (mode, path))]


def test_a_file_that_is_not_there(write, tmpdir):
    (number, said), = problems(str(tmpdir.join('nowhere')))
    assert number == 0 and said == (
        'cannot be read: No such file or directory (this file is set in [upstream] parents; it must belong to the user '
        'that geproxy runs as, %s)' % pwd.getpwuid(os.geteuid()).pw_name)
    assert problems(str(tmpdir))[0][1].startswith('cannot be read: Is a directory')
    assert 'it must belong to the user that geproxy runs as, nobody' in problems(str(tmpdir.join('nowhere')), user='nobody')[0][1]


def test_a_file_that_is_far_too_large(write):
    assert problems(write(b'#' * (parents_file.MOST + 1))) == [
        (0, 'larger than 1048576 octets: expected a file of log-ins for parents')]


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_the_file_belongs_to_us_to_root_or_to_the_user_that_we_become(write):
    path = write(HTTP)
    nobody = pwd.getpwnam('nobody').pw_uid
    assert parents_file.read(path, user='nobody')       # of root
    os.chown(path, nobody, -1)
    assert parents_file.read(path, user='nobody')
    assert problems(path) == [(0, 'this file with passwords belongs to the user nobody: chown root %s' % path)]
    os.chown(path, 54321, -1)
    assert problems(path, user='nobody') == [
        (0, 'this file with passwords belongs to the user 54321: chown nobody %s' % path)]
    assert problems(path, user='no such user')
