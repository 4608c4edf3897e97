"""What a parent's answers become for people: sentences, statuses, and the text of a page."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import errors
from geproxy.compat import monotonic
from geproxy.http1 import parent_answers, reading


def answered(status, fields=b''):
    """Return the Response with a status line and these field lines, octets."""
    return reading.parse_response(b'HTTP/1.1 ' + status + b'\r\n' + fields + b'\r\n')


def refusal(status, content=b'', fields=b''):
    """Return the error for this answer."""
    return parent_answers.refusal('a.corp:3128', answered(status, fields), 'CONNECT x:443', content)


@pytest.mark.parametrize('status, message', [
    (b'403 Forbidden', 'parent a.corp:3128 answered 403 Forbidden to CONNECT x:443'),
    (b'403 ', 'parent a.corp:3128 answered 403 to CONNECT x:443'),
    (b'502 a\tb\xe4?c', 'parent a.corp:3128 answered 502 a\\x09b\\xe4?... to CONNECT x:443'),
    (b'502 ' + 100 * b'x', 'parent a.corp:3128 answered 502 ' + 60 * 'x' + '... to CONNECT x:443'),
])
def test_the_message_names_the_parent_and_its_status_and_only_printable_text(status, message):
    error = refusal(status)
    assert isinstance(error, errors.ParentRefused) and str(error) == message


@pytest.mark.parametrize('status, kept', [
    (b'403 No', 403), (b'404 No', 404), (b'503 No', 503), (b'599 No', 599), (b'302 Found', 502), (b'101 Switching', 502),
    (b'401 No', 502), (b'426 No', 502), (b'600 No', 502), (b'304 No', 502),
])
def test_the_client_gets_the_status_if_it_makes_sense_without_fields(status, kept):
    assert refusal(status).status == kept


@pytest.mark.parametrize('fields, logged_in, hint', [
    (b'', False, 'it wants a log-in. Set user and password for it in the file of [upstream] parents'),
    (b'Proxy-Authenticate: Basic realm="a, b"\r\n', False, 'it wants a log-in. Set user'),
    (b'Proxy-Authenticate: basic realm="a, b"\r\n', True, 'it does not accept the user and password that the file'),
    (b'Proxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n', True,
     'it takes NTLM, Negotiate, and this proxy can do only Basic. Use cntlm or px, which log in that way, as the parent'),
    (b'Proxy-Authenticate: NTLM, Negotiate, Basic realm="x"\r\n', True, 'it does not accept the user'),
])
def test_a_407_says_what_to_do(fields, logged_in, hint):
    error = parent_answers.login_failure('a:1', answered(b'407 Auth', fields), 'CONNECT x:443', logged_in)
    assert isinstance(error, errors.ParentLoginFailed) and error.status == 502
    assert str(error).startswith('parent a:1 answered 407 Auth to CONNECT x:443: ' + hint)


@pytest.mark.parametrize('values, schemes', [
    ([b'Digest realm="a", nonce = "x", qop="auth,auth-int", Basic realm="b"'], ['Digest', 'Basic']),
    ([b'NTLM', b'ntlm', b'NTLM'], ['NTLM', 'ntlm']),
    ([b'', b' , ', b'"x" y', b'a\xe4 b'], []),
])
def test_the_schemes_of_a_challenge_are_found(values, schemes):
    fields = b''.join(b'Proxy-Authenticate: %s\r\n' % value for value in values)
    assert parent_answers.challenges(answered(b'407 Auth', fields)) == schemes


HTML = b'Content-Type: text/html; charset=utf-8\r\n'


@pytest.mark.parametrize('fields, content, text', [
    (b'Content-Type: text/plain\r\n', b'Not\r\n\r\n  <you>!\0\x1b[1m\xe4', 'Not <you>! [1m\\xe4'),
    (HTML, b'<html><title>Oh</title><STYLE type=x>b{}</style><body bgcolor="a">No&nbsp;&lt;way&gt; &amp;lt;</body>', 'No <way> &lt;'),
    (HTML, b'before<style>never ended', 'before'),
    (HTML, b'before <a href="cut', 'before'),
    (HTML, b'a<script>x</script>b<script>y</script>c', 'a b c'),
    (HTML, b'', ''),
    (b'Content-Type: image/png\r\n', b'PNG', ''),
    (b'', b'what', ''),
    (HTML + b'Content-Encoding: gzip\r\n', b'\x1f\x8b', ''),
])
def test_a_body_becomes_one_line_of_text(fields, content, text):
    assert refusal(b'403 No', content, fields).text == text


def test_a_long_text_is_cut():
    text = refusal(b'403 No', 5000 * b'long ', HTML).text
    assert len(text) == parent_answers.TEXT_SIZE and text.endswith('...')
    assert len(refusal(b'403 No', 5000 * b'\xe4', HTML).text) == parent_answers.TEXT_SIZE


@pytest.mark.parametrize('piece', [b'<', b'<style', b'<a', b'</style', b'<!--', b'<title></title', b'&amp;', b'<>'])
def test_a_page_made_to_be_slow_is_not(piece):
    began = monotonic()
    refusal(b'403 No', (piece * parent_answers.RAW_SIZE)[:parent_answers.RAW_SIZE], HTML)
    assert monotonic() - began < 1          # 0.01 s; a quadratic search takes longer


def test_a_challenge_made_to_be_slow_is_not():
    began = monotonic()
    fields = b'Proxy-Authenticate: %s\r\n' % b','.join(b'x%d' % number for number in range(5000))
    error = parent_answers.login_failure('a:1', answered(b'407 Auth', fields), 'CONNECT x:443', True)
    assert monotonic() - began < 1 and len(str(error)) < 300


@pytest.mark.parametrize('text, advice', [
    ("certificate verify failed: Hostname mismatch, certificate is not valid for 'x'.", 'with a name that its certificate has'),
    ("hostname 'x' doesn't match 'y'", 'with a name that its certificate has'),
    ('certificate verify failed: certificate has expired', 'must renew its certificate'),
    ('certificate verify failed: unable to get local issuer certificate', 'set ca = FILE for it'),
    ('certificate verify failed: self-signed certificate in certificate chain', 'set ca = FILE for it'),
    ('certificate verify failed', 'set ca = FILE for it'),
    ('the connection broke: tlsv13 alert certificate required', 'set certificate and key for it'),
    ('sslv3 alert handshake failure', 'set certificate and key for it'),
    ('wrong version number', 'write http:// instead of https://'),
])
def test_what_openssl_says_comes_with_what_to_do(text, advice):
    said = parent_answers.with_advice(text)
    assert said.startswith(text + ': ') and advice in said
    assert parent_answers.with_advice('the connection was reset') == 'the connection was reset'
