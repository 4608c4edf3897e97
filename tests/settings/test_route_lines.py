"""Rows of [upstream] routes: what they mean, and what is said about each mistake."""
from __future__ import absolute_import, division, print_function

import pytest

from geproxy.policy.routes import Parent, show
from geproxy.settings import loading, route_lines

LOGIN = 'user and password do not belong here, where others may read them: put them into the file of [upstream] parents'


def load(*rows):
    """The routes.Routes of an ini file with these rows."""
    return loading.load('test.ini', ['[upstream]', 'routes ='] + ['  ' + row for row in rows]).routes


def ways(routes, host, port=80):
    """The names of the routes for a destination."""
    return [show(route) for route in routes.choose(host, port).routes]


def test_the_rows_of_the_manual():
    routes = load('.corp 10.0.0.0/8, localhost      direct      # ours',
                  '.partner.example:80,443   http://Proxy-B.corp:3128/',
                  'any    https://proxy-a.corp:8080,socks5h://[2001:DB8::1], socks4a://b:99, socks5://c, direct')
    assert [ways(routes, host) for host in (b'a.corp', b'corp', b'10.9.9.9', b'localhost')] == [['direct']] * 4
    assert ways(routes, b'a.partner.example', 443) == ['http://proxy-b.corp:3128']
    assert ways(routes, b'a.partner.example', 8080) == ways(routes, b'192.0.2.1') == [
        'https://proxy-a.corp:8080', 'socks5h://[2001:db8::1]:1080', 'socks4a://b:99', 'socks5://c:1080', 'direct']
    assert routes.choose(b'a.corp', 1).where == 'test.ini:3'
    assert routes.rows[0].text == '.corp 10.0.0.0/8, localhost direct'
    assert routes.rows[1].routes[0].parents == (Parent(b'http', b'proxy-b.corp', 3128, None, None),)


def test_options_of_a_row_and_no_routes_at_all():
    routes = load('.a http://p:1 resolve=here source=192.0.2.7,2001:DB8::7', 'any http://p:1')
    first, second = routes.rows
    assert first.resolve and not second.resolve
    assert first.routes[0].sources == ('192.0.2.7', '2001:db8::7') and second.routes[0].sources == ()
    assert routes.choose(b'x.a', 1).resolve
    assert loading.load(None).routes is None and load() is None


def test_names_of_a_file_and_international_names(tmpdir):
    tmpdir.join('names.txt').write('.a.test\nb.test\n')
    ini = tmpdir.join('proxy.ini')
    ini.write_binary(b'[upstream]\nroutes =\n  @names.txt http://m\xc3\xbcller.test:3128\n  @names.txt:1 direct\n')
    routes = loading.load(str(ini)).routes
    assert ways(routes, b'x.a.test') == ['http://xn--mller-kva.test:3128'] and ways(routes, b'x.b.test') == ['direct']
    ini.write('[upstream]\nroutes =\n  http://any:81 @names.txt,@names.txt:9 https://any:1,@names.txt http://a.test:1\n')
    assert ways(loading.load(str(ini)).routes, b'b.test') == ['http://a.test:1']


@pytest.mark.parametrize('row, what', [
    ('any dirct', "no route in 'any dirct': expected destinations, and then direct or the URL of a parent (any "
                  'http://proxy.corp:3128) (did you mean direct?)'),
    ('any DIRECT', "no route in 'any DIRECT': expected destinations, and then direct or the URL of a parent (any "
                   'http://proxy.corp:3128) (did you mean direct?)'),
    ('enviroment', "no route in 'enviroment': expected destinations, and then direct or the URL of a parent (any "
                   'http://proxy.corp:3128) (did you mean environment?)'),
    ('any environment', "'any environment': the word environment stands alone in its row"),
    ('all http://a:1', "'all' would be the name of a host: for all hosts, write any"),
    ('.corp,Default:80 direct', "'Default' would be the name of a host: for all hosts, write any"),
    ('* direct', "'*' would be the name of a host: for all hosts, write any"),
    ('all DIRECT', "'all' would be the name of a host: for all hosts, write any"),
    ('any direct source = 127.0.0.5', 'a blank beside the = of source: write source=VALUE without blanks'),
    ('any direct resolve= here', 'a blank beside the = of resolve: write resolve=VALUE without blanks'),
    ('any http://a:1, DIRECT', "invalid route 'DIRECT': expected direct, or the URL of a parent (http://proxy.corp:3128) "
                               '(did you mean direct?)'),
    ('any proxy.corp:3128', "no route in 'any proxy.corp:3128': expected destinations, and then direct or the URL of a "
                            'parent (any http://proxy.corp:3128)'),
    ('direct', "no destination before 'direct': expected names, networks or any (any direct)"),
    ('any http://a', "'http://a' names no port: write it, such as http://a:3128"),
    ('any https://a/', "'https://a/' names no port: write it, such as https://a:3128"),
    ('any htp://a:1', "unknown scheme 'htp' of a parent: expected http, https, socks4a, socks5, socks5h (did you mean "
                      'http?)'),
    ('any socks4://a', "unknown scheme 'socks4' of a parent: expected http, https, socks4a, socks5, socks5h: SOCKS 4 "
                       'cannot ask for names, write socks4a://'),
    ('any socks://a', "unknown scheme 'socks' of a parent: expected http, https, socks4a, socks5, socks5h: write "
                      'socks5:// (names are looked up here) or socks5h:// (the parent looks them up)'),
    ('any http://a:1/x', "'http://a:1/x' has a path: expected no more than SCHEME://HOST:PORT for a parent"),
    ('any http://a:1?x', "'http://a:1?x' has a path: expected no more than SCHEME://HOST:PORT for a parent"),
    ('any http://::1:3128', "invalid host or port in 'http://::1:3128': '::1:3128' is not host[:port]: write an IPv6 "
                            'address in brackets'),
    ('any http://a:99999', "invalid host or port in 'http://a:99999': invalid port 99999: expected 1 to 65535"),
    ('any http://:1', "invalid host or port in 'http://:1': ':1' is not host[:port]"),
    ('any http://a:1 http://b:1', "'http://a:1 http://b:1': expected a comma between two routes"),
    ('any http://a:1, , direct', "a comma too many in 'http://a:1, , direct': expected one comma between two routes"),
    ('any http://a:1, HTTP://A:1', "'HTTP://A:1' is listed twice in one row"),
    ('any http://a:1, drect', "invalid route 'drect': expected direct, or the URL of a parent (http://proxy.corp:3128) "
                              '(did you mean direct?)'),
    ('any ' + ', '.join('http://a:%d' % port for port in range(1, 11)),
     '10 routes: expected at most 8 in a row, because each of them may take its whole time'),
    ('any direct resolve=her', "invalid value 'resolve=her': expected resolve=here (did you mean here?)"),
    ('any direct sorce=1', "unknown option 'sorce' of a route: expected resolve=here or source=ADDRESS (did you mean "
                           'source?)'),
    ('any direct resolve=here resolve=here', 'resolve= is set twice in one row'),
    ('any direct source=localhost', "invalid source address 'localhost': expected an address of this host, and no name"),
    ('any direct source=', "invalid source '': expected one address, or one of IPv4 and one of IPv6"),
    ('any direct source=127.0.0.1,127.0.0.2',
     "invalid source '127.0.0.1,127.0.0.2': expected one address, or one of IPv4 and one of IPv6"),
    ('a!b direct', "invalid host 'a!b': expected a name, .name (and all names below it), *.name (only the names below "
                   'it), an address, a network, @FILE, or any'),
])
def test_each_mistake_is_said_with_its_line(row, what):
    with pytest.raises(loading.ConfigError) as raised:
        load('any direct', row)
    assert str(raised.value) == 'test.ini:4: [upstream] routes: ' + what


@pytest.mark.parametrize('row', [
    'any http://joe:secret@a:1', 'any socks5://joe:secret@a', 'any htp://joe:secret@a:1', 'any joe:secret@a:1',
    'any http://a:1, joe:secret@a:1', 'any http://joe:secret@a', 'joe:secret@a:1 direct',
    'any http://joe:secret word@a:1', 'http://joe:secret x@a:1', 'any http://joe:secret,b@a:1 direct', 'any joe:x secret@a:1',
    'any http://joe:secret @a:1 x@b', 'any joe:secret @x@a:1', 'any direct, http://joe:x, secret@a:1 source=::1', 'any joe:x,secret@a:1'])
def test_a_password_is_refused_and_not_repeated(row):
    with pytest.raises(loading.ConfigError) as raised:
        load(row)
    assert 'secret' not in str(raised.value)
    assert str(raised.value) == 'test.ini:3: [upstream] routes: ' + LOGIN


def test_a_password_that_looks_like_a_comment_is_not_repeated():
    with pytest.raises(loading.ConfigError) as raised:
        load('any http://joe:secret #x@a:1')
    assert str(raised.value) == (
        'test.ini:3: [upstream] routes: this is no valid row, and the @ in its comment may be that of a log-in: ' + LOGIN)
    assert load('any http://a:1  # ask joe@corp.example').parents


@pytest.mark.parametrize('row', ['any http://joe:secret word@a:1', 'any http://joe:x=secret@a:1', 'any http://joe:secret=x@a:1',
                                 'any http:secret x@a:1'])
def test_a_password_in_a_row_that_is_not_indented_is_not_repeated(row):
    with pytest.raises(loading.ConfigError) as raised:
        loading.load('test.ini', ['[upstream]', 'routes =', row])
    assert 'secret' not in str(raised.value) and str(raised.value).startswith('test.ini:3: [upstream] any http:***: ')


@pytest.mark.parametrize('row', ['any direct', 'any direct source=::1', 'environment'])
def test_a_row_that_is_not_indented_is_told_so(row):
    with pytest.raises(loading.ConfigError) as raised:
        loading.load('test.ini', ['[upstream]', 'routes =', row])
    assert str(raised.value).endswith(' (if this is a row of routes: rows are indented)')


def test_user_and_password_in_a_url_are_for_the_file_of_parents():
    with pytest.raises(ValueError) as raised:
        route_lines.parse_parent('http://joe:secret@a:1')
    assert str(raised.value) == LOGIN
