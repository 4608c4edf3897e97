"""Loading an ini file: what is taken, what is refused, and what is told about it."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from geproxy.net import address
from geproxy.settings import checking, loading


def problems(*lines):
    """Return what is wrong with a file of these lines, as texts of one line each."""
    with pytest.raises(loading.ConfigError) as raised:
        loading.load('test.ini', lines)
    assert str(raised.value).split('\n') == [checking.show_problem(problem) for problem in raised.value.problems]
    return str(raised.value).split('\n')


def refusal(text):
    """Return what is told about a text that is no address and no network."""
    with pytest.raises(ValueError) as raised:
        address.parse_network(text)
    return str(raised.value)


# --- loading

def test_without_a_file_all_defaults_hold():
    settings = loading.load(None)
    assert settings == loading.load('test.ini', [])
    assert settings.proxy.listen == (('', 9000, None, False),)
    assert settings.access.private is True and settings.access.loopback == 'auto'
    assert settings.timeouts.head == 20 and settings.timeouts.tunnel == 3600 and settings.timeouts.drain == 8
    assert (settings.limits.connections, settings.limits.head_size, settings.limits.fields) == (None, 65536, 1000)
    assert settings.log == ('-', 'auto', 'auto', '-')


def test_options_of_the_file_are_taken_and_all_others_have_their_default():
    settings = loading.load('test.ini', [
        '[limits]', 'fields = 7', '[timeouts]', 'head = 3', '[limits]', 'head_size = 1m', '[access]', 'clients ='])
    assert (settings.limits.head_size, settings.limits.fields) == (1048576, 7)
    assert settings.timeouts.head == 3 and settings.timeouts.idle == 75
    assert settings.access.clients == ()


@pytest.mark.parametrize('lines, said', [
    (['x = 1'], ['test.ini:1: x: this line is before the first [section]: move it into one']),
    (['[acess]', 'clients = any', 'x'], ['test.ini:1: [acess]: unknown section (did you mean access?)']),
    (['[nothing]'], ['test.ini:1: [nothing]: unknown section']),
    (['[access]', 'client = any'],
     ['test.ini:2: [access] client: unknown option (did you mean clients?)']),
    (['[proxy]', 'head_size = 1m'],
     ['test.ini:2: [proxy] head_size: unknown option in this section (did you mean [limits] head_size?)']),
    (['[access]', 'xyzzy = 1'], ['test.ini:2: [access] xyzzy: unknown option']),
    (['[access]', 'clients'], ['test.ini:2: [access] clients: invalid line: expected name = value']),
    (['[access]', 'clients = any', '', 'clients = any'],
     ['test.ini:4: [access] clients: duplicate option: line 2 has it already']),
    (['[access]', '# c', 'private = perhaps'],
     ["test.ini:3: [access] private: invalid value 'perhaps': expected one of allow, deny"]),
    (['[limits]', 'fields = x', 'head_size = y', '[log]', 'colour = z'],
     ["test.ini:2: [limits] fields: invalid number 'x': expected a whole number of at most 9 digits (100)",
      "test.ini:3: [limits] head_size: invalid size 'y': expected octets from 1k to 1g, "
      "or a number with k, m or g (64k)",
      'test.ini:5: [log] colour: unknown option']),
    ([u'[access]', u'clients = \xeb'],
     ['test.ini:2: [access] clients: %s (expected: addresses, networks such as 10.0.0.0/8, any, link-local, loopback, '
      'metadata, multicast, private, reserved, unspecified)' % refusal('\\xc3\\xab')]),
])
def test_all_mistakes_are_reported_each_with_its_line(lines, said):
    assert problems(*lines) == said


def test_a_file_is_read_from_its_path(tmpdir):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'\xef\xbb\xbf[limits]\r\nfields = 7\r\n')
    assert loading.load(str(path)).limits.fields == 7
    path.write_binary(b'[limits]\nfields = seven\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert str(raised.value).startswith('%s:2: [limits] fields: ' % path)


def test_a_missing_file_is_an_error_of_the_system(tmpdir):
    with pytest.raises(IOError):
        loading.load(str(tmpdir.join('none.ini')))


def test_the_automatic_name_is_made_of_host_and_listener():
    name = loading.load(None).proxy.name
    assert re.match(r'geproxy-[0-9a-f]{6}\Z', name)
    assert loading.load('test.ini', ['[limits]', 'fields = 7']).proxy.name == name
    assert loading.load('test.ini', ['[proxy]', 'listen = *:9001']).proxy.name != name
    assert loading.load('test.ini', ['[proxy]', 'name = gate']).proxy.name == 'gate'


# --- rules

def ruled(path, text):
    """Write an ini file at a py.path. Return its rules as (source, text, comment)."""
    path.write_binary(text)
    return [(rule.source, rule.text, rule.comment) for rule in loading.load(str(path)).access.rules]


def test_rules_keep_their_order_sources_and_comments(tmpdir):
    assert ruled(tmpdir.join('p.ini'), b'[access]\nrules =\n  deny any a.example  # CHG-1: bad\n\n  # not this\n'
                 b'  allow  any any ; ok\n') == [
        ('p.ini:3', 'deny any a.example', 'CHG-1: bad'), ('p.ini:6', 'allow any any', 'ok')]
    assert ruled(tmpdir.join('q.ini'), b'[access]\nrules = deny any any\n') == [('q.ini:2', 'deny any any', '')]
    assert ruled(tmpdir.join('r.ini'), b'[access]\nrules =\n') == []


def test_all_wrong_rules_are_reported_each_with_its_line():
    assert problems('[access]', 'rules = alow any any', '  allow any any', '  deny nobody any', 'private = x') == [
        "test.ini:2: [access] rules: invalid rule: expected allow or deny at its beginning, found 'alow' (did you mean allow?)",
        'test.ini:4: [access] rules: %s (expected: addresses, networks such as 10.0.0.0/8, any, link-local, loopback, '
        'metadata, multicast, private, reserved, unspecified, user:NAME, group:NAME)' % refusal('nobody'),
        "test.ini:5: [access] private: invalid value 'x': expected one of allow, deny"]


def test_included_rules_come_before_those_of_the_file_in_the_order_of_file_names(tmpdir):
    folder = tmpdir.mkdir('rules.d')
    for name, line in (('b.ini', b'deny any b'), ('a.ini', b'deny any a'), ('c.txt', b'deny any c')):
        folder.join(name).write_binary(b'[access]\nrules = %s\n' % line)
    assert ruled(tmpdir.join('p.ini'), b'[access]\ninclude = rules.d/*.ini\nrules = allow any any\n') == [
        ('rules.d/a.ini:2', 'deny any a', ''), ('rules.d/b.ini:2', 'deny any b', ''), ('p.ini:3', 'allow any any', '')]
    assert ruled(tmpdir.join('p.ini'), b'[access]\ninclude = rules.d/b.ini\n') == [('rules.d/b.ini:2', 'deny any b', '')]


def test_mistakes_in_an_included_file_are_reported_with_its_path_and_line(tmpdir):
    tmpdir.join('a.ini').write_binary(b'[access]\nrules = deny any\nprivate = deny\n[x]\n')
    tmpdir.join('b.ini').write_binary(b'\xff')
    tmpdir.join('proxy.ini').write_binary(b'[access]\ninclude = none.d/*.ini ?.ini\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('proxy.ini')))
    found = str(raised.value).replace(str(tmpdir) + '/', '').split('\n')
    assert found == [
        'proxy.ini:2: [access] include: none.d: No such file or directory',
        "a.ini:2: [access] rules: invalid rule 'deny any': expected allow or deny, WHO and WHERE (allow any .debian.org)",
        'a.ini:3: [access] private: not allowed in an included file: it can have [access] rules only',
        'a.ini:4: [x]: unknown section',
        'b.ini:1: not a text file in UTF-8: octet 1 of the line is 0xff']


@pytest.mark.parametrize('include', ['rulse.d/*.ini', 'rules.d/*.txt', 'rules.d/none.ini', 'rules.d/*.ini'])
def test_an_include_without_rules_does_not_open_the_proxy(tmpdir, include):
    tmpdir.mkdir('rules.d').join('empty.ini').write_binary(b'[access]\nrules =\n')
    tmpdir.join('p.ini').write_binary(b'[access]\ninclude = %s\n' % include.encode('ascii'))
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('p.ini')))
    assert ':2: [access] include: no rules found, neither in these files nor in this one' in str(raised.value)


def test_two_files_of_one_name_are_two_sources(tmpdir):
    for name in ('a', 'b'):
        tmpdir.mkdir(name).join('r.ini').write_binary(b'[access]\nrules = deny any %s\n' % name.encode('ascii'))
    assert [source for source, _text, _comment in ruled(tmpdir.join('p.ini'), b'[access]\ninclude = a/*.ini b/*.ini\n')] == [
        'a/r.ini:2', 'b/r.ini:2']


@pytest.mark.parametrize('line, what', [
    (b'[log]\naccess = /tmp/a\0b\n', ':2: control character (0x00) at octet 16 of the line'),
    (b'[access]\nrules = allow any @x\0y\n', ':2: control character (0x00)'),
    (b'[auth]\nusers = a\rb\n', ':2: control character (0x0d)'),
])
def test_a_control_character_is_reported_with_its_line(tmpdir, line, what):
    tmpdir.join('p.ini').write_binary(line)
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('p.ini')))
    assert str(tmpdir.join('p.ini')) + what in str(raised.value)


def test_paths_are_the_octets_of_the_file(tmpdir):
    tmpdir.join(u'b\xe9\\.txt'.encode('utf-8').decode('utf-8')).write_binary(b'\xef\xbb\xbf# c\na.example\n')
    tmpdir.join('p.ini').write_binary(u'[access]\nrules = deny any @b\xe9\\.txt\n[log]\naccess = \xfc\n'.encode('utf-8'))
    settings = loading.load(str(tmpdir.join('p.ini')))
    assert settings.access.rules[0].wheres[0].names == {b'a.example'}
    assert settings.log.access == (u'\xfc'.encode('utf-8') if bytes is str else u'\xfc')


def test_the_path_of_a_list_is_relative_to_the_file_that_names_it(tmpdir):
    tmpdir.mkdir('rules.d').join('bad.txt').write_binary(
        b'# c\nA.example # d\n\n.b.example\r\n0.0.0.0 c.example\nb\xc3\xbccher.example\n::1 d.example\te.example\n'
        b'fe80::1%lo0 f.example\n0.0.0.0 0.0.0.0\n')
    tmpdir.join('rules.d', 'a.ini').write_binary(b'[access]\nrules = deny any @bad.txt\n')
    tmpdir.join('p.ini').write_binary(b'[access]\ninclude = rules.d/a.ini\n')
    where, = loading.load(str(tmpdir.join('p.ini'))).access.rules[0].wheres
    assert where.names == set([b'a.example', b'.b.example', b'c.example', b'xn--bcher-kva.example', b'd.example',
                               b'e.example', b'f.example'])


@pytest.mark.parametrize('line, what', [
    ('8.8.8.8', "invalid name '8.8.8.8': this is an address, and the list is for names; write it into the rule"),
    ('::1', "invalid name '::1': this is an address"),
    ('a.example 8.8.8.8', "invalid name '8.8.8.8': this is an address"),
])
def test_a_list_of_names_takes_no_addresses(tmpdir, line, what):
    tmpdir.join('bad.txt').write_binary(line.encode('ascii'))
    path = tmpdir.join('p.ini')
    path.write_binary(b'[access]\nrules = deny any @bad.txt\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert 'bad.txt:1: ' + what in str(raised.value)


def test_a_list_that_is_missing_or_wrong_is_reported_with_its_line(tmpdir):
    path = tmpdir.join('p.ini')
    path.write_binary(b'[access]\nrules = deny any @none.txt\n deny any @bad.txt\n')
    tmpdir.join('bad.txt').write_binary(b'a\nb/c\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    found = str(raised.value).replace(str(tmpdir) + '/', '').split('\n')
    assert found[0] == 'p.ini:2: [access] rules: none.txt: No such file or directory'
    assert found[1].startswith("p.ini:3: [access] rules: bad.txt:2: invalid host 'b/c': ")


def test_users_and_groups_are_read_from_files_beside_the_ini_file(tmpdir):
    path = tmpdir.join('proxy.ini')
    tmpdir.join('users').write_binary(b'bob:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n')
    tmpdir.join('groups').write_binary(b'ops: bob\n')
    path.write_binary(b'[auth]\nusers = users\ngroups = groups\n[access]\nrules = allow group:ops,user:bob any\n')
    users = loading.load(str(path)).users
    assert list(users.by_name) == [b'bob'] and users.groups == {b'bob': frozenset([b'ops'])}
    tmpdir.join('users').write_binary(b'bob:plain\n\nx\n')
    tmpdir.join('groups').remove()
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    found = str(raised.value).replace(str(tmpdir) + '/', '').split('\n')
    assert found[0] == 'groups: cannot be read: No such file or directory (this file is set in [auth] groups)'
    assert found[1].startswith("users:1: user 'bob' has ") and 'plain\n' not in str(raised.value)
    assert found[2] == 'users:3: invalid line: expected a name and a colon at its beginning'


def test_logins_for_parents_are_read_from_a_file_beside_the_ini_file(tmpdir):
    path, parents = tmpdir.join('proxy.ini'), tmpdir.join('parents')
    parents.write_binary(b'[http://a.corp:3128]\nuser = joe\npassword = s3cret\n')
    parents.chmod(0o600)
    path.write_binary(b'[upstream]\nparents = parents\nroutes =\n  .x direct\n  any https://b.corp:1, http://a.corp:3128\n')
    settings = loading.load(str(path))
    plain, secure, joe = list(settings.routes.choose(b'a.x', 80).routes) + list(settings.routes.choose(b'b.y', 80).routes)
    assert plain.parents == () and joe.parents[0].login == (b'joe', b's3cret')
    assert secure.parents[0].login is None and secure.parents[0].context is not None
    assert 's3cret' not in repr(settings)
    parents.write_binary(b'user = joe\n[http://a.corp:3128]\npassword = s3cret\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert str(raised.value).replace(str(tmpdir) + '/', '').split('\n') == [
        'parents:1: this line is before the first section: expected the URL of a parent, such as [http://proxy.corp:3128]',
        'parents:3: a password without a user: write user = NAME']
    parents.chmod(0o644)
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert str(raised.value) == '%s: others than its owner can read or change this file with passwords (mode 644): chmod 600 %s' % (
        parents, parents)
