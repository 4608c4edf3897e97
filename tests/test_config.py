"""The ini file: what is taken, what is refused, and what is said about it."""
from __future__ import absolute_import, division, print_function

import re

import pytest

from geproxy import address, config

KINDS = [option.kind for option in config.SCHEMA]


def problems(*lines):
    """What is wrong with a file of these lines, as texts of one line each."""
    with pytest.raises(config.ConfigError) as raised:
        config.load('test.ini', lines)
    assert str(raised.value).split('\n') == [config.show_problem(problem) for problem in raised.value.problems]
    return str(raised.value).split('\n')


# --- reading

@pytest.mark.parametrize('lines, found', [
    ([], []),
    (['', '  ', '# c', '; c', '\t# c'], []),
    (['[a]', 'b = c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b=c', 'd =', '=e'], [(1, 'a', None, ''), (2, 'a', 'b', 'c'), (3, 'a', 'd', ''), (4, 'a', '', 'e')]),
    (['[ a ]', '  b = c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b = c = d'], [(1, 'a', None, ''), (2, 'a', 'b', 'c = d')]),
    (['[a]', 'b = c # d', 'e = f ;g'], [(1, 'a', None, ''), (2, 'a', 'b', 'c'), (3, 'a', 'e', 'f')]),
    (['[a]', 'b = c#d;e'], [(1, 'a', None, ''), (2, 'a', 'b', 'c#d;e')]),
    (['[a]', 'b = c', '  d', '', '\te # f', 'g = h'], [(1, 'a', None, ''), (2, 'a', 'b', 'c d e'), (6, 'a', 'g', 'h')]),
    (['[a]', 'b =', '    c'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
    (['[a]', 'b = 100%'], [(1, 'a', None, ''), (2, 'a', 'b', '100%')]),
    (['[a]  # c', '[b] ; d'], [(1, 'a', None, ''), (2, 'b', None, '')]),
    (['a = b', '[c'], [(1, None, 'a', 'b'), (2, None, '[c', None)]),
    (['[a]', 'b', '  c = d'], [(1, 'a', None, ''), (2, 'a', 'b', None), (3, 'a', 'c', 'd')]),
    (['[a]\r', 'b = c\r'], [(1, 'a', None, ''), (2, 'a', 'b', 'c')]),
])
def test_a_file_is_sections_of_names_and_values_with_their_lines(lines, found):
    assert config.read_ini(lines) == found


# --- kinds

@pytest.mark.parametrize('kind, text, value', [
    (config.seconds, '20', 20.0),
    (config.seconds, '0.5', 0.5),
    (config.seconds, '500ms', 0.5),
    (config.seconds, '1 s', 1.0),
    (config.seconds, '2m', 120.0),
    (config.seconds, '2min', 120.0),
    (config.seconds, '1.5h', 5400.0),
    (config.seconds, '3650d', 315360000.0),
    (config.octets, '1k', 1024),
    (config.octets, '65536', 65536),
    (config.octets, '64K', 65536),
    (config.octets, '64 kb', 65536),
    (config.octets, '1m', 1048576),
    (config.octets, '1g', 1 << 30),
    (config.count, '0', 0),
    (config.count, '007', 7),
    (config.count, '999999999', 999999999),
    (config.count_or_auto, 'auto', None),
    (config.count_or_auto, '1', 1),
    (config.ports, '', ()),
    (config.ports, '80', ((80, 80),)),
    (config.ports, '80 443\t1024-65535', ((80, 80), (443, 443), (1024, 65535))),
    (config.ports, 'any', ((1, 65535),)),
    (config.path, '-', '-'),
    (config.path, 'off', 'off'),
    (config.path, '/var/log/geproxy/access log', '/var/log/geproxy/access log'),
    (config.pseudonym, 'auto', 'auto'),
    (config.pseudonym, 'Gate-1.example_org', 'Gate-1.example_org'),
    (config.pseudonym, 'a' * 63, 'a' * 63),
    (config.choice('a', 'b'), 'b', 'b'),
    (config.switch('on', 'off'), 'on', True),
    (config.switch('on', 'off'), 'off', False),
])
def test_a_value_of_its_kind_is_understood(kind, text, value):
    found = kind(text)
    assert (found.ranges if isinstance(found, config.access.Ports) else found) == value
    assert type(found) is type(value) or isinstance(found, config.access.Ports)


@pytest.mark.parametrize('kind, text, what', [
    (config.seconds, '', 'is no duration'),
    (config.seconds, '0', 'is no duration'),
    (config.seconds, '-1', 'is no duration'),
    (config.seconds, '1x', 'is no duration'),
    (config.seconds, '1e3', 'is no duration'),
    (config.seconds, '1_0', 'is no duration'),
    (config.seconds, 'inf', 'is no duration'),
    (config.seconds, '.5', 'is no duration'),
    (config.seconds, '1 m s', 'is no duration'),
    (config.seconds, '3651d', 'is no duration'),
    (config.seconds, '999999999d', 'is no duration'),
    (config.octets, '', 'is no size'),
    (config.octets, '1023', 'is no size from 1k to 1g'),
    (config.octets, '2g', 'is no size from 1k to 1g'),
    (config.octets, '64x', 'is no size'),
    (config.octets, '0x400', 'is no size'),
    (config.octets, '-64k', 'is no size'),
    (config.count, '', 'is no whole number'),
    (config.count, '-1', 'is no whole number'),
    (config.count, '1.0', 'is no whole number'),
    (config.count, '1_0', 'is no whole number'),
    (config.count, 'many', 'is no whole number'),
    (config.count_or_auto, '0', 'neither auto nor a whole number from 1'),
    (config.count_or_auto, 'Auto', 'neither auto nor a whole number from 1'),
    (config.ports, '0', "'0' is no port"),
    (config.ports, '65536', "'65536' is no port"),
    (config.ports, '80,443', "'80,443' is no port"),
    (config.ports, '443-80', "'443-80' is no port"),
    (config.ports, '80-', "'80-' is no port"),
    (config.ports, '-80', "'-80' is no port"),
    (config.ports, 'http', "'http' is no port"),
    (config.networks, '10.0.0.1/8', 'did you mean 10.0.0.0/8?'),
    (config.networks, 'localhost', 'it takes addresses'),
    (config.networks, 'privat', 'did you mean private?'),
    (config.networks, 'public', 'it takes addresses'),
    (config.listeners, '', 'at least one of'),
    (config.listeners, '9000', 'nothing to listen on'),
    (config.listeners, '*', 'nothing to listen on'),
    (config.listeners, '*:', 'nothing to listen on'),
    (config.listeners, '*:65536', 'nothing to listen on'),
    (config.listeners, '*:http', 'nothing to listen on'),
    (config.listeners, '::1:9000', 'in brackets'),
    (config.listeners, 'fd:', 'nothing to listen on'),
    (config.path, '', 'it takes a path'),
    (config.pseudonym, '', 'no name for Via'),
    (config.pseudonym, '1a', 'no name for Via'),
    (config.pseudonym, 'a b', 'no name for Via'),
    (config.pseudonym, 'a' * 64, 'no name for Via'),
    (config.choice('squid', 'json'), 'squit', "none of squid, json (did you mean squid?)"),
    (config.choice('squid', 'json'), '', 'none of squid, json'),
    (config.switch('on', 'off'), 'yes', 'none of on, off'),
    (config.switch('on', 'off'), 'On', 'none of on, off'),
])
def test_a_value_of_another_kind_is_refused_with_what_it_takes(kind, text, what):
    with pytest.raises(ValueError) as raised:
        kind(text)
    assert what in str(raised.value)


@pytest.mark.parametrize('text, inside, outside', [
    ('10.0.0.0/8 192.0.2.1', '10.1.2.3', '192.0.2.2'),
    ('loopback', '::1', '10.0.0.1'),
    ('loopback private', 'fd00::1', '8.8.8.8'),
    ('any', '8.8.8.8', None),
    ('metadata', '169.254.169.254', '169.254.0.1'),
])
def test_networks_are_addresses_prefixes_and_presets(text, inside, outside):
    found = config.networks(text)
    assert address.within(address.parse_ip(inside), found).text in text.split()
    assert outside is None or address.within(address.parse_ip(outside), found) is None
    assert config.networks('') == ()


@pytest.mark.parametrize('text, found', [
    ('*:9000', [('', 9000, None)]),
    ('127.0.0.1:9000', [('127.0.0.1', 9000, None)]),
    ('localhost:0', [('localhost', 0, None)]),
    ('[::1]:9000', [('::1', 9000, None)]),
    ('[::]:9000 0.0.0.0:9000', [('::', 9000, None), ('0.0.0.0', 9000, None)]),
    ('fd:0', [('', 0, 0)]),
    ('fd:3 *:9000', [('', 0, 3), ('', 9000, None)]),
    (':9000', [('', 9000, None)]),
])
def test_listeners_are_hosts_and_ports_or_descriptors(text, found):
    assert [tuple(each) for each in config.listeners(text)] == found


@pytest.mark.parametrize('text', ['', ' ', 'x' * 100000, '\\xff', '%s', '%(a)s', '1' * 100, "'", '-', '0', '\x00'])
def test_no_text_is_too_much_for_any_kind(text):
    for kind in KINDS:
        try:
            kind(text)
        except ValueError as error:
            assert '\n' not in str(error)


# --- loading

def test_without_a_file_all_defaults_hold():
    settings = config.load(None)
    assert settings == config.load('test.ini', [])
    assert settings.proxy.listen == (('', 9000, None),)
    assert settings.access.private is True and settings.access.loopback == 'auto'
    assert settings.timeouts.head == 20 and settings.timeouts.tunnel == 3600 and settings.timeouts.drain == 8
    assert settings.limits == (None, 65536, 200)
    assert settings.log == ('-', 'auto', 'auto', '-')


def test_what_stands_in_a_file_is_taken_and_the_rest_is_default():
    settings = config.load('test.ini', [
        '[limits]', 'fields = 7', '[timeouts]', 'head = 3', '[limits]', 'head_size = 1m', '[access]', 'clients ='])
    assert settings.limits == (None, 1048576, 7)
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
    assert config.load(str(path)).limits.fields == 7
    path.write_binary(b'[limits]\nfields = seven\n')
    with pytest.raises(config.ConfigError) as raised:
        config.load(str(path))
    assert str(raised.value).startswith('%s:2: [limits] fields: ' % path)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmpdir):
    with pytest.raises(IOError):
        config.load(str(tmpdir.join('none.ini')))


def test_a_name_is_made_from_host_and_listener_unless_given():
    name = config.load(None).proxy.name
    assert re.match(r'geproxy-[0-9a-f]{6}\Z', name)
    assert config.load('test.ini', ['[limits]', 'fields = 7']).proxy.name == name
    assert config.load('test.ini', ['[proxy]', 'listen = *:9001']).proxy.name != name
    assert config.load('test.ini', ['[proxy]', 'name = gate']).proxy.name == 'gate'


# --- the schema

@pytest.mark.parametrize('option', config.SCHEMA, ids=lambda option: '%s-%s' % (option.section, option.name))
def test_an_option_has_a_section_a_good_default_and_a_sentence(option):
    assert option.section in config.SECTIONS
    option.kind(option.default)
    assert re.match(r'[A-Za-z][ -~]+\.\Z', option.sentence)
    assert option.kind.__doc__
    assert [each.name for each in config.SCHEMA if each.section == option.section].count(option.name) == 1


def test_only_where_to_listen_needs_a_restart():
    assert [option.name for option in config.SCHEMA if not option.live] == ['listen']
