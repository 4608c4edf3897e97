"""The text of a rule: how it is read, and what is told about mistakes."""
from __future__ import absolute_import, division, print_function

import datetime

import pytest

from geproxy.settings import ini, rule_lines, rule_options


def rule(text, comment='', names=frozenset()):
    """Return the Rule of one line; a list of names holds `names`."""
    return rule_lines.parse(ini.Line('/etc/geproxy/proxy.ini', 7, 'proxy.ini:7', text, comment), lambda path: names)


@pytest.mark.parametrize('text, names, networks, ports, tunnel', [
    ('allow any any', None, '', None, None),
    ('allow any any:443', None, '', '443', None),
    ('allow any a.example', 'a.example', '', None, None),
    ('allow any A.Example.', 'a.example', '', None, None),
    ('allow any .a.example', '.a.example', '', None, None),
    ('allow any *.a.example', '*.a.example', '', None, None),
    ('allow any a.example:8000-8999', 'a.example', '', '8000-8999', None),
    ('allow any a.example:80,443', 'a.example', '', '80 443', None),
    ('allow any a.example:any', 'a.example', '', 'any', None),
    ('allow any http://a.example', 'a.example', '', None, False),
    ('allow any http://a.example/', 'a.example', '', None, False),
    ('allow any https://.a.example:443', '.a.example', '', '443', True),
    ('allow any 10.0.0.0/8', None, '10.0.0.0/8', None, None),
    ('allow any 10.0.0.1:22', None, '10.0.0.1', '22', None),
    ('allow any 2001:db8::/32', None, '2001:db8::/32', None, None),
    ('allow any [2001:db8::/32]:443', None, '2001:db8::/32', '443', None),
    ('allow any [::1]', None, '::1', None, None),
    ('allow any https://[::1]:8443', None, '::1', '8443', True),
    ('allow any loopback', None, 'loopback loopback', None, None),
    ('allow any localhost', 'localhost', '', None, None),
    ('allow any b\\xc3\\xbccher.example', 'xn--bcher-kva.example', '', None, None),
    ('allow any .B\\xc3\\x9cCHER.example', '.xn--bcher-kva.example', '', None, None),
])
def test_where_is_a_host_a_suffix_a_network_or_any(text, names, networks, ports, tunnel):
    where, = rule(text).wheres
    assert where.names == (names and frozenset([names.encode('ascii')]))
    assert [network.text for network in where.networks] == networks.split()
    assert (where.ports and where.ports.text, where.tunnel) == (ports, tunnel)


def test_who_and_where_are_lists():
    found = rule('deny 10.0.0.0/8,user:bob,group:ops,user:* CONNECT,GET a.example:22,80,.b.example,[::1]:1')
    assert [network.text for network in found.who.networks] == ['10.0.0.0/8']
    assert (found.who.users, found.who.groups) == (frozenset([b'bob', b'*']), frozenset([b'ops']))
    assert found.methods == frozenset([b'CONNECT', b'GET']) and not found.allows
    assert [where.ports and where.ports.text for where in found.wheres] == ['22 80', None, '1']


def test_a_list_of_names_is_read_from_its_path():
    asked = []
    names = frozenset([b'a.example', b'.b.example'])
    found = rule_lines.parse(ini.Line('p.ini', 1, 'p.ini:1', 'deny any @bad.txt:443', ''), lambda path: asked.append(path) or names)
    assert (asked, found.wheres[0].names, found.wheres[0].ports.text) == (['bad.txt'], names, '443')


def test_options_come_after_where():
    found = rule('allow any any until 2027-03-31 mon-fri,sun 07:00-19:00 rate 1m strip Referer,X-A set X-B=c=\\xfc set d=')
    assert found.options == rule_options.Options(
        datetime.date(2027, 3, 31), frozenset([0, 1, 2, 3, 4, 6]), (420, 1140), 1048576, frozenset([b'referer', b'x-a']),
        ((b'X-B', b'c=\xfc'), (b'd', b'')))
    assert rule('allow any any sat-mon').options.days == frozenset([5, 6, 0])


def test_a_host_in_capitals_is_not_taken_for_a_method():
    found = rule('deny any EVILHOST sat,sun')
    assert found.methods is None and found.wheres[0].names == {b'evilhost'} and found.options.days == {5, 6}
    assert rule('deny any GET,PROPFIND EVILHOST').methods == {b'GET', b'PROPFIND'}


def test_the_value_that_a_rule_sets_is_not_shown():
    found = rule('allow  any a.example strip X set Authorization=Bearer-s3cret set Y=z')
    assert found.text == 'allow any a.example strip X set Authorization=*** set Y=***'
    assert found.options.fields == ((b'Authorization', b'Bearer-s3cret'), (b'Y', b'z'))


@pytest.mark.parametrize('text, what', [
    ('alow any any', "expected allow or deny at its beginning, found 'alow' (did you mean allow?)"),
    ('any', "expected allow or deny at its beginning, found 'any'"),
    ('allow', 'expected allow or deny, WHO and WHERE'),
    ('allow any', 'expected allow or deny, WHO and WHERE'),
    ('allow any CONNECT any-thing.example ftp', "unknown rule option 'ftp': expected until DATE, "),
    ('allow nobody any', "'nobody' is not an IP address"),
    ('allow privat any', 'did you mean private?'),
    ('allow user: any', 'user:NAME, group:NAME'),
    ('allow 10.0.0.1/8 any', 'did you mean 10.0.0.0/8?'),
    ('allow any 10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    ('allow any 1.2.3', 'is not an IP address'),
    ('allow any ftp://a', "invalid scheme in 'ftp://a': expected http:// or https://"),
    ('allow any a.example:0', "invalid port '0': expected 1 to 65535"),
    ('allow any a.example:http', "invalid port 'http'"),
    ('allow any a.example:99999', "invalid port '99999'"),
    ('allow any [::1]443', 'expected [IPv6 address] or [IPv6 address]:PORT'),
    ('allow any [::1]:', 'expected [IPv6 address] or [IPv6 address]:PORT'),
    ('allow any [a.example]:80', 'expected [IPv6 address] or [IPv6 address]:PORT'),
    ('deny any LOCALHOST until', "invalid date ''"),
    ('allow any any set X=a\\x0d\\x0aY:b', 'has a control character'),
    ('allow any a..example', 'invalid host '),
    ('allow any a*.example', 'invalid host '),
    ('allow any a/b', 'invalid host '),
    ('allow any user@a', 'invalid host '),
    ('allow any a%41', 'invalid host '),
    ('allow any .', 'is not an IP address'),
    ('allow any \\xff\\xfe', 'invalid host name'),
    # names that browsers and older programs spell differently are refused
    ('deny any stra\\xc3\\x9fe.example', "browsers ask for 'xn--strae-oqa.example', older programs for 'strasse.example'"),
    ('deny any .STRA\\xc3\\x9fE.example', "browsers ask for 'xn--strae-oqa.example', older programs for 'strasse.example'"),
    ('deny any \\xce\\xbb\\xcf\\x8c\\xce\\xb3\\xce\\xbf\\xcf\\x82.b.example',
     "browsers ask for 'xn--oxapnm1c.b.example', older programs for 'xn--oxapnq6b.b.example'"),
    ('deny any \\xe1\\xba\\x9ea.example', "browsers ask for 'xn--a-pfa.example', older programs for 'ssa.example'"),
    ('deny any *.a\\xe2\\x80\\x8db.example', "older programs for 'ab.example'; write the one you mean"),
    ('deny any a\\xe2\\x80\\x8cb.example', "older programs for 'ab.example'; write the one you mean"),
    ('allow any any until', "invalid date ''"),
    ('allow any any until 2027-02-30', "invalid date '2027-02-30': expected until and a day"),
    ('allow any any 07:00-25:00', "unknown rule option '07:00-25:00'"),
    ('allow any any 07:00-07:00', 'invalid hours '),
    ('allow any any 07:00-24:30', 'invalid hours '),
    ('allow any any mon-xyz', "unknown rule option 'mon-xyz'"),
    ('allow any any rate', 'invalid size '),
    ('allow any any rate fast', 'invalid size '),
    ('allow any any set X', 'expected set FIELD=VALUE'),
    ('allow any any set Host=x', 'the proxy itself writes or removes it'),
    ('allow any any strip Content-Length', 'the proxy itself writes or removes it'),
    ('allow any any strip Content_Length', 'the proxy itself writes or removes it'),
    ('allow any any set transfer_Encoding=chunked', 'the proxy itself writes or removes it'),
    ('allow any any strip a:b', "invalid field name 'a:b'"),
    ('deny any any rate 1m', 'a deny rule cannot have '),
    ('deny any any set X=y', 'a deny rule cannot have '),
])
def test_a_wrong_rule_is_refused_with_the_expected_form(text, what):
    with pytest.raises(ValueError) as raised:
        rule(text)
    assert what in str(raised.value)


@pytest.mark.parametrize('text', [
    'allow any b set Authorization=Bearer hunter2', 'allow any b\tset\tAuthorization=Bearer  hunter2',
    'allow any b set X=Bearer rate hunter2', 'allow any b set X=a until hunter2', 'allow any b set X=a http://hunter2/',
    "allow any b set X=it's hunter2", "allow any b set X=it hunter2's", 'allow any set X-Key=hunter2', 'X-Key=hunter2',
    'hunter2', 'allow any b X-Key=hunter2', 'allow any b setX-Key=hunter2', 'allow any X-Key=hunter2',
    'allow X-Key=hunter2 any', 'allow X-Key=hunter2', 'allow any b set X-Key hunter2', 'allow any b set Host=hunter2',
    'deny any b set X-Key=hunter2', 'allow any b strip X-Key=hunter2', 'allow any b rate X=hunter2',
    'allow any http://joe:hunter2@b/', 'allow joe:hunter2@b any',
])
def test_a_message_about_a_rule_has_no_secrets(text):
    with pytest.raises(ValueError) as raised:
        rule_lines.parse(ini.Line('', 1, 'x:1', text, ''), None)
    assert str(raised.value) and 'hunter2' not in str(raised.value)
