"""The options of the ini file: what is taken, what is refused, and what is said about it."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from geproxy.settings import loading, schema

KINDS = [option.kind for option in schema.SCHEMA if option.kind not in schema.WHOLE]


def problems(*lines):
    """What is wrong with a file of these lines, as texts of one line each."""
    with pytest.raises(loading.ConfigError) as raised:
        loading.load('test.ini', lines)
    assert str(raised.value).split('\n') == [loading.show_problem(problem) for problem in raised.value.problems]
    return str(raised.value).split('\n')


# --- loading

def test_without_a_file_all_defaults_hold():
    settings = loading.load(None)
    assert settings == loading.load('test.ini', [])
    assert settings.proxy.listen == (('', 9000, None),)
    assert settings.access.private is True and settings.access.loopback == 'auto'
    assert settings.timeouts.head == 20 and settings.timeouts.tunnel == 3600 and settings.timeouts.drain == 8
    assert (settings.limits.connections, settings.limits.head_size, settings.limits.fields) == (None, 65536, 1000)
    assert settings.log == ('-', 'auto', 'auto', '-')


def test_what_stands_in_a_file_is_taken_and_the_rest_is_default():
    settings = loading.load('test.ini', [
        '[limits]', 'fields = 7', '[timeouts]', 'head = 3', '[limits]', 'head_size = 1m', '[access]', 'clients ='])
    assert (settings.limits.head_size, settings.limits.fields) == (1048576, 7)
    assert settings.timeouts.head == 3 and settings.timeouts.idle == 75
    assert settings.access.clients == ()


@pytest.mark.parametrize('lines, said', [
    (['x = 1'], ['test.ini:1: x: this stands before the first [section]']),
    (['[acess]', 'clients = any', 'x'], ['test.ini:1: [acess]: there is no such section (did you mean access?)']),
    (['[nothing]'], ['test.ini:1: [nothing]: there is no such section']),
    (['[access]', 'client = any'],
     ['test.ini:2: [access] client: there is no such option (did you mean clients?)']),
    (['[proxy]', 'head_size = 1m'],
     ['test.ini:2: [proxy] head_size: there is no such option here (did you mean [limits] head_size?)']),
    (['[access]', 'xyzzy = 1'], ['test.ini:2: [access] xyzzy: there is no such option']),
    (['[access]', 'clients'], ['test.ini:2: [access] clients: this line is no name = value']),
    (['[access]', 'clients = any', '', 'clients = any'],
     ['test.ini:4: [access] clients: it stands in line 2 already']),
    (['[access]', '# c', 'private = perhaps'],
     ["test.ini:3: [access] private: 'perhaps' is none of allow, deny"]),
    (['[limits]', 'fields = x', 'head_size = y', '[log]', 'colour = z'],
     ["test.ini:2: [limits] fields: 'x' is no whole number, as in 100",
      "test.ini:3: [limits] head_size: 'y' is no size from 1k to 1g: "
      "it takes octets, or a number with k, m or g, as in 64k",
      'test.ini:5: [log] colour: there is no such option']),
    ([u'[access]', u'clients = \xeb'],
     ["test.ini:2: [access] clients: '\\\\xc3\\\\xab' is not an IP address; it takes addresses, networks as "
      '10.0.0.0/8, or any, link-local, loopback, metadata, multicast, private, reserved, unspecified']),
])
def test_all_that_is_wrong_is_said_with_its_line(lines, said):
    assert problems(*lines) == said


def test_a_file_is_read_from_its_path(tmpdir):
    path = tmpdir.join('proxy.ini')
    path.write_binary(b'\xef\xbb\xbf[limits]\r\nfields = 7\r\n')
    assert loading.load(str(path)).limits.fields == 7
    path.write_binary(b'[limits]\nfields = seven\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert str(raised.value).startswith('%s:2: [limits] fields: ' % path)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmpdir):
    with pytest.raises(IOError):
        loading.load(str(tmpdir.join('none.ini')))


def test_a_name_is_made_from_host_and_listener_unless_given():
    name = loading.load(None).proxy.name
    assert re.match(r'geproxy-[0-9a-f]{6}\Z', name)
    assert loading.load('test.ini', ['[limits]', 'fields = 7']).proxy.name == name
    assert loading.load('test.ini', ['[proxy]', 'listen = *:9001']).proxy.name != name
    assert loading.load('test.ini', ['[proxy]', 'name = gate']).proxy.name == 'gate'


# --- rules

def ruled(path, text):
    """Write an ini file at a py.path -> its rules, as (place, text, comment)."""
    path.write_binary(text)
    return [(rule.place, rule.text, rule.comment) for rule in loading.load(str(path)).access.rules]


def test_rules_keep_their_order_lines_and_tickets(tmpdir):
    assert ruled(tmpdir.join('p.ini'), b'[access]\nrules =\n  deny any a.example  # CHG-1: bad\n\n  # not this\n'
                 b'  allow  any any ; ok\n') == [
        ('p.ini:3', 'deny any a.example', 'CHG-1: bad'), ('p.ini:6', 'allow any any', 'ok')]
    assert ruled(tmpdir.join('q.ini'), b'[access]\nrules = deny any any\n') == [('q.ini:2', 'deny any any', '')]
    assert ruled(tmpdir.join('r.ini'), b'[access]\nrules =\n') == []


def test_all_rules_that_are_wrong_are_told_each_with_its_line():
    assert problems('[access]', 'rules = alow any any', '  allow any any', '  deny nobody any', 'private = x') == [
        "test.ini:2: [access] rules: a rule begins with allow or deny, not 'alow' (did you mean allow?)",
        "test.ini:4: [access] rules: 'nobody' is not an IP address; it takes addresses, networks as 10.0.0.0/8, or any, "
        'link-local, loopback, metadata, multicast, private, reserved, unspecified, user:NAME or group:NAME',
        "test.ini:5: [access] private: 'x' is none of allow, deny"]


def test_included_rules_go_before_those_of_the_file_in_the_order_of_their_names(tmpdir):
    folder = tmpdir.mkdir('rules.d')
    for name, line in (('b.ini', b'deny any b'), ('a.ini', b'deny any a'), ('c.txt', b'deny any c')):
        folder.join(name).write_binary(b'[access]\nrules = %s\n' % line)
    assert ruled(tmpdir.join('p.ini'), b'[access]\ninclude = rules.d/*.ini\nrules = allow any any\n') == [
        ('rules.d/a.ini:2', 'deny any a', ''), ('rules.d/b.ini:2', 'deny any b', ''), ('p.ini:3', 'allow any any', '')]
    assert ruled(tmpdir.join('p.ini'), b'[access]\ninclude = rules.d/b.ini\n') == [('rules.d/b.ini:2', 'deny any b', '')]


def test_what_is_wrong_in_an_included_file_is_told_where_it_stands(tmpdir):
    tmpdir.join('a.ini').write_binary(b'[access]\nrules = deny any\nprivate = deny\n[x]\n')
    tmpdir.join('b.ini').write_binary(b'\xff')
    tmpdir.join('proxy.ini').write_binary(b'[access]\ninclude = none.d/*.ini ?.ini\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('proxy.ini')))
    found = str(raised.value).replace(str(tmpdir) + '/', '').split('\n')
    assert found == [
        'proxy.ini:2: [access] include: none.d: No such file or directory',
        "a.ini:2: [access] rules: 'deny any' is no rule: it takes allow or deny, WHO and WHERE, as in allow any .debian.org",
        'a.ini:3: [access] private: an included file has [access] rules only',
        'a.ini:4: [x]: there is no such section',
        'b.ini:1: not a text file in UTF-8: octet 1 of the line is 0xff']


@pytest.mark.parametrize('include', ['rulse.d/*.ini', 'rules.d/*.txt', 'rules.d/none.ini', 'rules.d/*.ini'])
def test_rules_that_vanish_do_not_open_the_proxy(tmpdir, include):
    tmpdir.mkdir('rules.d').join('empty.ini').write_binary(b'[access]\nrules =\n')
    tmpdir.join('p.ini').write_binary(b'[access]\ninclude = %s\n' % include.encode('ascii'))
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('p.ini')))
    assert ':2: [access] include: no rules came of it, and there are none here' in str(raised.value)


def test_two_files_of_one_name_are_two_places(tmpdir):
    for name in ('a', 'b'):
        tmpdir.mkdir(name).join('r.ini').write_binary(b'[access]\nrules = deny any %s\n' % name.encode('ascii'))
    assert [place for place, _text, _comment in ruled(tmpdir.join('p.ini'), b'[access]\ninclude = a/*.ini b/*.ini\n')] == [
        'a/r.ini:2', 'b/r.ini:2']


@pytest.mark.parametrize('line, what', [
    (b'[log]\naccess = /tmp/a\0b\n', ':2: a control character (0x00) at octet 16 of the line'),
    (b'[access]\nrules = allow any @x\0y\n', ':2: a control character (0x00)'),
    (b'[auth]\nusers = a\rb\n', ':2: a control character (0x0d)'),
])
def test_a_control_character_is_told_with_its_line(tmpdir, line, what):
    tmpdir.join('p.ini').write_binary(line)
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(tmpdir.join('p.ini')))
    assert str(tmpdir.join('p.ini')) + what in str(raised.value)


def test_paths_are_what_was_typed(tmpdir):
    tmpdir.join(u'b\xe9\\.txt'.encode('utf-8').decode('utf-8')).write_binary(b'\xef\xbb\xbf# c\na.example\n')
    tmpdir.join('p.ini').write_binary(u'[access]\nrules = deny any @b\xe9\\.txt\n[log]\naccess = \xfc\n'.encode('utf-8'))
    settings = loading.load(str(tmpdir.join('p.ini')))
    assert settings.access.rules[0].wheres[0].names == {b'a.example'}
    assert settings.log.access == (u'\xfc'.encode('utf-8') if bytes is str else u'\xfc')


def test_a_list_of_names_stands_beside_the_file_that_names_it(tmpdir):
    tmpdir.mkdir('rules.d').join('bad.txt').write_binary(
        b'# c\nA.example # d\n\n.b.example\r\n0.0.0.0 c.example\nb\xc3\xbccher.example\n::1 d.example\te.example\n'
        b'fe80::1%lo0 f.example\n0.0.0.0 0.0.0.0\n')
    tmpdir.join('rules.d', 'a.ini').write_binary(b'[access]\nrules = deny any @bad.txt\n')
    tmpdir.join('p.ini').write_binary(b'[access]\ninclude = rules.d/a.ini\n')
    where, = loading.load(str(tmpdir.join('p.ini'))).access.rules[0].wheres
    assert where.names == set([b'a.example', b'.b.example', b'c.example', b'xn--bcher-kva.example', b'd.example',
                               b'e.example', b'f.example'])


@pytest.mark.parametrize('line, what', [
    ('8.8.8.8', "'8.8.8.8' is an address, and this a list of names: addresses stand in the rule itself"),
    ('::1', "'::1' is an address, and this a list of names"),
    ('a.example 8.8.8.8', "'8.8.8.8' is an address, and this a list of names"),
])
def test_a_list_takes_no_addresses_for_names_have_other_ways_to_these(tmpdir, line, what):
    tmpdir.join('bad.txt').write_binary(line.encode('ascii'))
    path = tmpdir.join('p.ini')
    path.write_binary(b'[access]\nrules = deny any @bad.txt\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    assert 'bad.txt:1: ' + what in str(raised.value)


def test_a_list_that_is_missing_or_wrong_is_told_with_its_line(tmpdir):
    path = tmpdir.join('p.ini')
    path.write_binary(b'[access]\nrules = deny any @none.txt\n deny any @bad.txt\n')
    tmpdir.join('bad.txt').write_binary(b'a\nb/c\n')
    with pytest.raises(loading.ConfigError) as raised:
        loading.load(str(path))
    found = str(raised.value).replace(str(tmpdir) + '/', '').split('\n')
    assert found[0] == 'p.ini:2: [access] rules: none.txt: No such file or directory'
    assert found[1].startswith("p.ini:3: [access] rules: bad.txt:2: 'b/c' is no host: ")


# --- the schema

@pytest.mark.parametrize('text', ['', ' ', 'x' * 100000, '\\xff', '%s', '%(a)s', '1' * 100, "'", '-', '0', '\x00'])
def test_no_text_is_too_much_for_any_kind(text):
    for kind in KINDS:
        try:
            kind(text)
        except ValueError as error:
            assert '\n' not in str(error)


@pytest.mark.parametrize('option', schema.SCHEMA, ids=lambda option: '%s-%s' % (option.section, option.name))
def test_an_option_has_a_section_a_good_default_and_a_sentence(option):
    assert option.section in schema.SECTIONS
    option.kind(option.default)
    assert re.match(r'[A-Za-z][ -~]+\.\Z', option.sentence)
    assert option.kind.__doc__
    assert [each.name for each in schema.SCHEMA if each.section == option.section].count(option.name) == 1


def test_only_where_to_listen_as_whom_to_run_and_the_file_of_quotas_need_a_restart():
    assert [option.name for option in schema.SCHEMA if not option.live] == [
        'listen', 'user', 'group', 'quota_file', 'listen']


def test_changes_are_told_option_by_option_and_rule_by_rule():
    old = loading.load('test.ini', ['[limits]', 'connections = 200', '[access]', 'rules = deny any a', '  allow  any b', '  deny any c'])
    new = loading.load('test.ini', ['[proxy]', 'listen = *:1', '[access]', 'clients =', 'rules = deny any a',
                                    '  allow any b # c', '  deny any d', '  allow any any'])
    assert loading.changes(old, new) == [
        '[proxy] listen: *:9000 -> *:1 (needs a restart)',
        '[access] clients: loopback private -> nothing',
        '[access] rules: -allow any b', '[access] rules: -deny any c', '[access] rules: +allow any b  # c',
        '[access] rules: +deny any d', '[access] rules: +allow any any',
        '[limits] connections: 200 -> auto']
    assert loading.changes(new, new) == []
    turned = loading.load('test.ini', ['[access]', 'rules = deny any c', '  deny any a', '  allow any b'])
    first = loading.load('test.ini', ['[access]', 'rules = deny any a', '  allow any b', '  deny any c'])
    assert loading.changes(first, turned) == ['[access] rules: in another order']
    many = loading.load('test.ini', ['[access]', 'rules = allow any any set X=secret'] + [' deny any a%d' % number for number in range(99)])
    assert loading.changes(loading.load(None), many)[::50] == ['[access] rules: +allow any any set X=***', '[access] rules: and 50 more']


def test_users_and_groups_are_read_from_files_beside_it(tmpdir):
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
    assert found[0] == 'groups: cannot be read: No such file or directory'
    assert found[1].startswith("users:1: user 'bob' has ") and 'plain\n' not in str(raised.value)
    assert found[2] == 'users:3: this line is no name:value'


def test_a_rule_that_names_users_needs_to_know_who_they_are():
    assert problems('[access]', 'rules = allow any a', '  allow user:bob any') == [
        'test.ini:3: [access] rules: it names users or groups, and [auth] does not say who they are']


def test_a_quota_needs_a_file():
    assert problems('[limits]', 'quota = 1g') == [
        'test.ini:2: [limits] quota: it needs quota_file, or a restart would forgive everybody']
    assert loading.load('test.ini', ['[limits]', 'quota = 1g', 'quota_file = /x']).limits.quota == 1 << 30
