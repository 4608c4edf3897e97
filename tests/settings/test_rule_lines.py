"""The text of a rule: how it is read, and what is wrong with it."""
from __future__ import absolute_import, division, print_function

import datetime

import pytest

from geproxy.policy import rules
from geproxy.settings import ini, rule_lines


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


def test_a_list_of_names_is_read_from_where_the_line_says():
    asked = []
    names = frozenset([b'a.example', b'.b.example'])
    found = rule_lines.parse(ini.Line('p.ini', 1, 'p.ini:1', 'deny any @bad.txt:443', ''), lambda path: asked.append(path) or names)
    assert (asked, found.wheres[0].names, found.wheres[0].ports.text) == (['bad.txt'], names, '443')


def test_options_stand_behind():
    found = rule('allow any any until 2027-03-31 mon-fri,sun 07:00-19:00 rate 1m strip Referer,X-A set X-B=c=\\xfc set d=')
    assert found.options == rules.Options(
        datetime.date(2027, 3, 31), frozenset([0, 1, 2, 3, 4, 6]), (420, 1140), 1048576, frozenset([b'referer', b'x-a']),
        ((b'X-B', b'c=\xfc'), (b'd', b'')))
    assert rule('allow any any sat-mon').options.days == frozenset([5, 6, 0])


def test_a_host_in_capitals_is_no_method():
    found = rule('deny any EVILHOST sat,sun')
    assert found.methods is None and found.wheres[0].names == {b'evilhost'} and found.options.days == {5, 6}
    assert rule('deny any GET,PROPFIND EVILHOST').methods == {b'GET', b'PROPFIND'}


def test_what_a_rule_sets_is_shown_to_nobody():
    found = rule('allow  any a.example strip X set Authorization=Bearer-s3cret set Y=z')
    assert found.text == 'allow any a.example strip X set Authorization=*** set Y=***'
    assert found.options.fields == ((b'Authorization', b'Bearer-s3cret'), (b'Y', b'z'))


@pytest.mark.parametrize('text, what', [
    ('alow any any', "begins with allow or deny, not 'alow' (did you mean allow?)"),
    ('any', "begins with allow or deny, not 'any'"),
    ('allow', 'it takes allow or deny, WHO and WHERE'),
    ('allow any', 'it takes allow or deny, WHO and WHERE'),
    ('allow any CONNECT any-thing.example ftp', "'ftp' is nothing that stands behind WHERE"),
    ('allow nobody any', "'nobody' is not an IP address"),
    ('allow privat any', 'did you mean private?'),
    ('allow user: any', 'user:NAME or group:NAME'),
    ('allow 10.0.0.1/8 any', 'did you mean 10.0.0.0/8?'),
    ('allow any 10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    ('allow any 1.2.3', 'is not an IP address'),
    ('allow any ftp://a', 'begins neither with http:// nor with https://'),
    ('allow any a.example:0', "'0' is no port"),
    ('allow any a.example:http', "'http' is no port"),
    ('allow any a.example:99999', "'99999' is no port"),
    ('allow any [::1]443', 'is no [IPv6 address] with a port behind it'),
    ('allow any [::1]:', 'is no [IPv6 address] with a port behind it'),
    ('allow any [a.example]:80', 'is no [IPv6 address] with a port behind it'),
    ('deny any LOCALHOST until', "'' is no day"),
    ('allow any any set X=a\\x0d\\x0aY:b', 'has a control character'),
    ('allow any a..example', 'is no host'),
    ('allow any a*.example', 'is no host'),
    ('allow any a/b', 'is no host'),
    ('allow any user@a', 'is no host'),
    ('allow any a%41', 'is no host'),
    ('allow any .', 'is not an IP address'),
    ('allow any \\xff\\xfe', 'is no host name'),
    # what browsers and older programs spell differently: neither is taken for the other
    ('deny any stra\\xc3\\x9fe.example', "is 'xn--strae-oqa.example' for browsers, and 'strasse.example' for older"),
    ('deny any .STRA\\xc3\\x9fE.example', "is 'xn--strae-oqa.example' for browsers, and 'strasse.example' for older"),
    ('deny any \\xce\\xbb\\xcf\\x8c\\xce\\xb3\\xce\\xbf\\xcf\\x82.b.example',
     "is 'xn--oxapnm1c.b.example' for browsers, and 'xn--oxapnq6b.b.example' for older"),
    ('deny any \\xe1\\xba\\x9ea.example', "is 'xn--a-pfa.example' for browsers, and 'ssa.example' for older"),
    ('deny any *.a\\xe2\\x80\\x8db.example', "for browsers, and 'ab.example' for older programs: write the one"),
    ('deny any a\\xe2\\x80\\x8cb.example', "for browsers, and 'ab.example' for older programs: write the one"),
    ('allow any any until', "'' is no day"),
    ('allow any any until 2027-02-30', "'2027-02-30' is no day"),
    ('allow any any 07:00-25:00', 'is nothing that stands behind WHERE'),
    ('allow any any 07:00-07:00', 'are no hours'),
    ('allow any any 07:00-24:30', 'are no hours'),
    ('allow any any mon-xyz', "'mon-xyz' is nothing that stands behind WHERE"),
    ('allow any any rate', 'is no size'),
    ('allow any any rate fast', 'is no size'),
    ('allow any any set X', 'set takes FIELD=VALUE'),
    ('allow any any set Host=x', 'settled by the proxy itself'),
    ('allow any any strip Content-Length', 'settled by the proxy itself'),
    ('allow any any strip Content_Length', 'settled by the proxy itself'),
    ('allow any any set transfer_Encoding=chunked', 'settled by the proxy itself'),
    ('allow any any strip a:b', "'a:b' is no field name"),
    ('deny any any rate 1m', 'what is denied has neither'),
    ('deny any any set X=y', 'what is denied has neither'),
])
def test_what_is_no_rule_is_refused_with_what_it_takes(text, what):
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
def test_what_is_wrong_with_a_rule_is_told_without_what_may_be_secret(text):
    with pytest.raises(ValueError) as raised:
        rule_lines.parse(ini.Line('', 1, 'x:1', text, ''), None)
    assert str(raised.value) and 'hunter2' not in str(raised.value)
