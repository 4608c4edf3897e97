"""The variables http_proxy and so on as lines of routes: what is taken, and what is said about mistakes."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy import compat
from geproxy.policy.routes import show
from geproxy.settings import environment_routes, ini, loading

LINE = ini.Line('/etc/geproxy/proxy.ini', 7, 'proxy.ini:7', 'environment', '')


def read(**values):
    """Return what `environment_routes.read` makes of these variables, native texts: [(text, source)], {the log-ins}."""
    environ = dict((compat.to_octets(name), compat.to_octets(value)) for name, value in values.items())
    found, logins = environment_routes.read(environ, LINE)
    assert all(line[:2] == LINE[:2] for line in found)
    return [(line.text, line.source) for line in found], logins


def lines(**values):
    """Return the lines only, without their sources."""
    return [text for text, _source in read(**values)[0]]


def test_plain_requests_go_by_http_proxy_and_tunnels_by_https_proxy():
    assert read(http_proxy='http://a.corp:3128', https_proxy='http://b.corp:3128/', no_proxy='localhost,.corp') == ([
        ('.localhost .corp direct', 'proxy.ini:7 no_proxy'),
        ('http://any http://a.corp:3128', 'proxy.ini:7 http_proxy'),
        ('https://any http://b.corp:3128', 'proxy.ini:7 https_proxy')], {})


def test_without_variables_there_are_no_lines():
    assert read() == read(http_proxy='', PATH='/bin') == ([], {})


def test_all_proxy_is_for_what_the_others_do_not_cover():
    assert lines(all_proxy='socks5h://s:1080', https_proxy='http://b:3128') == [
        'https://any http://b:3128', 'any socks5h://s:1080']


def test_no_proxy_alone_makes_no_line():
    assert read(no_proxy='*', http_proxy='') == ([], {})


@pytest.mark.parametrize('values,found', [
    ({'HTTP_PROXY': 'http://A.corp:3128'}, ['http://any http://a.corp:3128']),
    ({'HTTP_PROXY': 'http://upper:1', 'http_proxy': 'http://lower:1'}, ['http://any http://lower:1']),
    ({'HTTP_PROXY': 'http://upper:1', 'http_proxy': ''}, []),
    ({'HTTP_PROXY': 'http://client:1', 'REQUEST_METHOD': 'GET'}, []),
    ({'HTTPS_PROXY': 'http://upper:1', 'REQUEST_METHOD': 'GET'}, ['https://any http://upper:1']),
    ({'http_proxy': 'http://lower:1', 'REQUEST_METHOD': 'GET'}, ['http://any http://lower:1']),
    ({'HTTP_PROXY': 'http://a:1', 'NO_PROXY': 'b'}, ['.b direct', 'http://any http://a:1']),
])
def test_lower_case_wins_and_a_cgi_program_ignores_http_proxy_in_capitals(values, found):
    assert lines(**values) == found


@pytest.mark.parametrize('value,shown', [
    ('a:3128', 'http://a:3128'), ('HTTP://A.Corp:3128/', 'http://a.corp:3128'), ('https://a', 'https://a:443'),
    ('https://a:8443', 'https://a:8443'), ('socks5://10.0.0.1', 'socks5://10.0.0.1:1080'), ('socks4a://a', 'socks4a://a:1080'),
    ('socks5h://[2001:DB8::1]:1', 'socks5h://[2001:db8::1]:1'), (' http://a:1 ', 'http://a:1'), ('http://a_b:1', 'http://a_b:1'),
])
def test_the_parent_of_a_variable(value, shown):
    assert lines(all_proxy=value) == ['any ' + shown]


@pytest.mark.parametrize('userinfo,login', [
    ('joe:secret', (b'joe', b'secret')), ('joe', (b'joe', b'')), ('joe:', (b'joe', b'')),
    ('CORP%5Cjoe:p%40ss%3aword%25', (b'CORP\\joe', b'p@ss:word%')), ('joe:a:b@c', (b'joe', b'a:b@c')),
    ('jo%C3%AB:%E2%82%AC', (b'jo\xc3\xab', b'\xe2\x82\xac')),
])
def test_a_log_in_is_percent_decoded_and_not_in_the_line(userinfo, login):
    found, logins = read(http_proxy='http://%s@a.corp:3128' % userinfo)
    assert found == [('http://any http://a.corp:3128', 'proxy.ini:7 http_proxy')]
    assert logins == {(b'http', b'a.corp', 3128): login}


def test_two_variables_may_have_the_same_log_in():
    same = 'http://joe:x@a:3128'
    assert read(http_proxy=same, https_proxy=same)[1] == {(b'http', b'a', 3128): (b'joe', b'x')}
    with pytest.raises(ValueError) as raised:
        read(http_proxy=same, https_proxy='http://joe:other@a:3128')
    assert str(raised.value) == ('https_proxy: another variable has another log-in for http://a:3128: '
                                 'geproxy has one for each parent')


@pytest.mark.parametrize('value,patterns', [
    ('corp', '.corp'), ('.corp', '.corp'), ('*.corp', '*.corp'), ('Corp.', '.corp'), ('*', 'any'), ('a, b,,c\td', '.a .b .c .d'),
    ('a.corp:8080', '.a.corp:8080'), ('10.0.0.1', '10.0.0.1'), ('10.0.0.1:80', '10.0.0.1:80'), ('10.0.0.0/8', '10.0.0.0/8'),
    ('::1', '[::1]'), ('[::1]', '[::1]'), ('[::1]:80', '[::1]:80'), ('2001:db8::/32', '[2001:db8::/32]'), ('private', '.private'),
    ('any', '.any'),
])
def test_entries_of_no_proxy_are_direct(value, patterns):
    assert lines(http_proxy='a:1', no_proxy=value)[0] == patterns + ' direct'


@pytest.mark.parametrize('values,message', [
    ({'http_proxy': 'http://a'}, "http_proxy: 'http://a' has no port: add it, as programs disagree about the default (80 or 1080)"),
    ({'HTTPS_PROXY': 'socks://a:1'}, "HTTPS_PROXY: unknown scheme in 'socks://a:1': expected http://, https://, socks5://, "
     'socks5h://, socks4a://'),
    ({'all_proxy': 'http://'}, "all_proxy: invalid parent 'http://': expected a URL such as http://proxy-a.corp:3128"),
    ({'all_proxy': 'http://a:0'}, "all_proxy: invalid parent 'http://a:0': expected a URL such as http://proxy-a.corp:3128"),
    ({'all_proxy': 'http://a:99999'}, "all_proxy: invalid parent 'http://a:99999': expected a URL such as http://proxy-a.corp:3128"),
    ({'all_proxy': 'http://a:1/x'}, "all_proxy: invalid parent 'http://a:1/x': expected a URL such as http://proxy-a.corp:3128"),
    ({'all_proxy': 'http://::1:80'}, "all_proxy: invalid parent 'http://::1:80': expected a URL such as http://proxy-a.corp:3128"),
    ({'all_proxy': 'http://a b:1'}, "all_proxy: 'http://a b:1' has a blank, a control character or another octet that no URL has"),
    ({'all_proxy': 'http://a..b:1'}, "all_proxy: invalid host in 'http://a..b:1': expected a name or an address"),
    ({'http_proxy': 'http://joe:50%@a:1'}, 'http_proxy: two hexadecimal digits must follow each % in the log-in: write '
     '%25 for a %'),
    ({'all_proxy': 'socks5://joe@a:1'}, 'all_proxy: the password is empty or too long for SOCKS 5 (RFC 1929, 2)'),
    ({'http_proxy': 'http://:x@a:1'}, 'http_proxy: the user name in the log-in is empty or has a colon, which no parent can read'),
    ({'http_proxy': 'http://j%3Ao:x@a:1'}, 'http_proxy: the user name in the log-in is empty or has a colon, which no parent '
     'can read'),
    ({'http_proxy': 'a:1', 'no_proxy': '10.*'}, "no_proxy: invalid entry '10.*': expected a name, an address, a network "
     '(10.0.0.0/8), each with or without a port, or *'),
    ({'http_proxy': 'a:1', 'NO_PROXY': '<local>'}, "NO_PROXY: invalid entry '<local>': expected a name, an address, a network "
     '(10.0.0.0/8), each with or without a port, or *'),
])
def test_a_mistake_names_the_variable(values, message):
    with pytest.raises(ValueError) as raised:
        read(**values)
    assert str(raised.value) == message


@pytest.mark.parametrize('value', [
    'socks://joe:geheim@a:1', 'http://joe:geheim@a', 'http://joe:geheim%@a:1', 'http://joe:geheim@a:1/x', 'http://joe:geheim x@a:1',
    'http://joe:geheim@', 'joe:geheim://geheim@a:1', 'joe:geheim@geheim@a:1/', '://joe:geheim@a:1', 'joe:geheim@a:1/', 'joe:geheim@:1'])
def test_no_message_has_a_password(value):
    try:
        text = str(read(http_proxy=value)[0])
    except ValueError as error:
        text = str(error)
    assert 'geheim' not in text


@pytest.mark.parametrize('entry', ['a:', 'a:b', 'a:0', 'a:99999', '[a]', '[::1', '10.0.0.0/33', '/', '.', '*.', 'a/b', '[]', '\x7f', '%'])
def test_an_entry_that_is_not_clear_is_a_mistake(entry):
    with pytest.raises(ValueError) as raised:
        read(http_proxy='a:1', no_proxy=entry)
    assert str(raised.value).startswith('no_proxy: invalid entry')


def test_the_environment_of_this_process_is_octets(monkeypatch):
    monkeypatch.setenv('all_proxy', 'a.corp:3128')
    found = environment_routes.read(environment_routes.current(), LINE)[0]
    assert ('any http://a.corp:3128', 'proxy.ini:7 all_proxy') in [(line.text, line.source) for line in found]


def test_octets_that_are_not_ascii_are_shown_escaped():
    with pytest.raises(ValueError) as raised:
        environment_routes.read({b'http_proxy': b'http://\xff:1'}, LINE)
    assert r"'http://\xff:1'" in str(raised.value)


# --- as an option

def test_the_file_of_parents_wins_over_the_environment(environ, tmpdir):
    environ(http_proxy='http://joe:x@a:1', https_proxy='http://eve:y@b:1')
    logins = tmpdir.join('parents')
    logins.write_binary(b'[http://a:1]\nuser = anna\npassword = z\n')
    logins.chmod(0o600)
    routes = loading.load('proxy.ini', ['[upstream]', 'routes = environment', 'parents = %s' % logins]).routes
    assert [parent.login for parent in routes.parents] == [(b'anna', b'z'), (b'eve', b'y')]
    assert 'z' not in repr(routes.parents) and "b'y'" not in repr(routes.parents)


@pytest.fixture
def environ(monkeypatch):
    """A function that sets the variables of this process; there are no others about proxies."""
    for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


def loaded(*lines):
    """Return the Routes of an ini file with these rows."""
    return loading.load('proxy.ini', ['[upstream]', 'routes ='] + ['  ' + line for line in lines]).routes


def chosen(routes, host, port=80, tunnel=False):
    """Return (the routes as they are shown, the place of the row)."""
    choice = routes.choose(host, port, tunnel)
    return [show(route) for route in choice.routes], choice.where


def test_the_line_environment_stands_for_the_variables(environ):
    environ(http_proxy='http://joe:x@a.corp:3128', https_proxy='http://b.corp:3128', no_proxy='corp,10.0.0.0/8')
    routes = loaded('.lab.example direct', 'environment', 'any socks5h://late:1')
    assert chosen(routes, b'x.lab.example') == (['direct'], 'proxy.ini:3')
    assert chosen(routes, b'x.corp') == chosen(routes, b'10.1.1.1') == (['direct'], 'proxy.ini:4 no_proxy')
    assert chosen(routes, b'x.test') == (['http://a.corp:3128'], 'proxy.ini:4 http_proxy')
    assert chosen(routes, b'x.test', 443, True) == (['http://b.corp:3128'], 'proxy.ini:4 https_proxy')
    assert [parent.login for parent in routes.parents] == [(b'joe', b'x'), None, None]


def test_without_variables_the_way_is_direct(environ):
    environ()
    assert loaded('environment') is None
    assert chosen(loaded('environment', 'any http://p:1'), b'x.test') == (['http://p:1'], 'proxy.ini:4')


def test_mistakes_of_all_lines_are_told_together(environ):
    environ(http_proxy='http://joe:geheim@a')
    with pytest.raises(loading.ConfigError) as raised:
        loaded('any', 'environment', 'any http://')
    lines = str(raised.value).split('\n')
    assert [line.split(' ')[0] for line in lines] == ['proxy.ini:3:', 'proxy.ini:4:', 'proxy.ini:5:']
    assert lines[1].startswith("proxy.ini:4: [upstream] routes: http_proxy: 'http://***@a' has no port")
    assert 'geheim' not in str(raised.value)
