"""The types of options: functions that read the text of an option. They look nothing up.

Each takes the text as native str and returns the value, or raises ValueError: what is wrong, and what is expected.
"""
from __future__ import absolute_import, division, print_function

import collections
import hashlib
import re
import socket

from geproxy import wording
from geproxy.net import address
from geproxy.observe import sinks
from geproxy.settings import ini

# `host`: native text, '' for all addresses; `fd`: the number of a socket, SYSTEMD for all that systemd hands over, or
# None; `tls`: True for a port that takes nothing but TLS.
Listener = collections.namedtuple('Listener', 'host port fd tls')
Listener.__new__.__defaults__ = (False,)
SYSTEMD = 'systemd'
# `path`: native text; {pid} in it stands for the process id.
UnixListener = collections.namedtuple('UnixListener', 'path')

UNIX_PATH = 90          # octets; the system allows 107, and the socket has a longer name while it is being made
LONGEST_DURATION = 3650         # days

_UNITS = {'ms': 0.001, '': 1, 's': 1, 'm': 60, 'min': 60, 'h': 3600, 'd': 86400}
_SIZES = {'': 1, 'k': 1024, 'm': 1024 ** 2, 'g': 1024 ** 3, 't': 1024 ** 4}


def words(text):
    """Return the words of a list as native text: they are separated by blanks, commas or both."""
    return text.replace(',', ' ').split()


# --- numbers

def duration(text):
    """Return the seconds of a duration above 0, as a float. `text`: as 20, 0.5, 500ms, 2m, 1h, 1d."""
    match = re.match(r'([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|min|m|h|d|)\Z', text)
    value = float(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not value:
        raise ValueError("invalid duration '%s': expected seconds above 0, or a number with ms, s, m, h or d (20, 2m)" %
                         text)
    if value > LONGEST_DURATION * 86400:
        raise ValueError("invalid duration '%s': expected at most %dd" % (text, LONGEST_DURATION))
    return value


def size(text, most='1g'):
    """Return a number of octets from 1k to `most` (text of the same form), as an int: 65536, 64k, 1m."""
    value, limit = _octets(text), _octets(most)
    if value is None or not 1024 <= value <= limit:
        raise ValueError("invalid size '%s': expected octets from 1k to %s, or a number with k, m or g (64k)" % (
            text, most))
    return value


def _octets(text):
    match = re.match(r'([0-9]{1,15}) ?([kmgt]?)b?\Z', text.lower())
    return int(match.group(1)) * _SIZES[match.group(2)] if match else None


def large_size(text):
    """Return a number of octets up to 1024t, as an int. `text`: as 500m, 20g."""
    return size(text, '1024t')


def size_or_auto(text):
    """Return a number of octets as an int, or None. `text`: as 64m, or `auto`, which means None."""
    try:
        return None if text == 'auto' else size(text, '1024g')
    except ValueError as error:
        raise ValueError('%s, or auto' % error)


def per_second(text):
    """Return a number per second, above 0, as a float. `text`: as 50, 0.5."""
    if not re.match(r'[0-9]{1,6}(\.[0-9]{1,3})?\Z', text) or not float(text):
        raise ValueError("invalid rate '%s': expected a number per second, above 0 (50, 0.5)" % text)
    return float(text)


def whole_number(text):
    """Return a whole number, 0 or more, as an int. `text`: as 100."""
    if not re.match(r'[0-9]{1,9}\Z', text):
        raise ValueError("invalid number '%s': expected a whole number of at most 9 digits (100)" % text)
    return int(text)


def whole_number_or_auto(text):
    """Return a whole number, 1 or more, as an int, or None. `text`: as 100, or `auto`, which means None."""
    if text == 'auto':
        return None
    try:
        value = whole_number(text)
    except ValueError:
        value = 0
    if not value:
        raise ValueError("invalid number '%s': expected auto, or a whole number from 1" % text)
    return value


def prefix_length(text):
    """Return the length of an IPv6 prefix in bits, as an int. `text`: as 64."""
    bits = whole_number(text)
    if not 1 <= bits <= 128:
        raise ValueError("invalid prefix length '%s': expected 1 to 128 bits" % text)
    return bits


# --- words

def or_off(read):
    """Return a type that takes `off`, which means None, and all that the type `read` takes."""
    def read_or_off(text):
        try:
            return None if text == 'off' else read(text)
        except ValueError as error:
            raise ValueError('%s, or off' % error)
    read_or_off.__doc__ = read.__doc__.rstrip('.') + '; None for `off`.'
    return read_or_off


def choice(*allowed):
    """Return a type that takes one of the words `allowed`, native text, and returns that word."""
    def read_choice(text):
        if text not in allowed:
            raise ValueError("invalid value '%s': expected one of %s%s" % (
                text, ', '.join(allowed), wording.did_you_mean(text, allowed)))
        return text
    read_choice.__doc__ = 'Return one of %s.' % ', '.join(allowed)
    return read_choice


def boolean(true, false):
    """Return a type that takes the word `true` or the word `false`, and returns True or False."""
    read_choice = choice(true, false)

    def read_boolean(text):
        return read_choice(text) == true
    read_boolean.__doc__ = 'Return True for %s, False for %s.' % (true, false)
    return read_boolean


def any_text(text):
    """Return `text` unchanged: words, separated by blanks."""
    return text


def realm(text):
    """Return `text`, which a browser shows in its log-in window: ASCII without quotes and backslashes."""
    if not re.match(r'[ !#-\[\]-~]{1,100}\Z', text):
        raise ValueError(
            "invalid realm '%s': expected 1 to 100 ASCII characters, without quotes and backslashes" % text)
    return text


def pseudonym(text):
    """Return `text`, the name of this proxy in Via (RFC 9110, 7.6.3), or `auto`: see automatic_pseudonym."""
    if not re.match(r"[A-Za-z][A-Za-z0-9._-]{0,62}\Z", text):
        raise ValueError("invalid name '%s': expected a letter, then up to 62 letters, digits, '.', '_' or '-'" % text)
    return text


def automatic_pseudonym(listen):
    """Return the pseudonym for `auto`, made of the name of this host and the tuple of Listeners `listen`.

    All processes of one listener have the same, and another proxy hardly ever has it.
    """
    # Listeners without TLS have the names that they had before there was TLS: old and new processes share them.
    seed = '%s %s' % (socket.gethostname(), repr(listen).replace(', tls=False', ''))
    return 'geproxy-' + hashlib.sha1(seed.encode('utf-8')).hexdigest()[:6]


def protocols(text):
    """Return protocols that Upgrade may name, as a frozenset of octets in lower case; None for any.

    `text`: the protocols, separated by blanks, or `any`.
    """
    found = [word.lower() for word in words(text)]
    for word in found:
        if not re.match(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z", word):
            raise ValueError("invalid protocol '%s': expected names as in an Upgrade field (websocket), or any" % word)
        if word.startswith('h2c'):
            raise ValueError('h2c cannot be allowed: the requests inside it would escape all rules')
    return None if found == ['any'] else frozenset(word.encode('ascii') for word in found)


# --- addresses and ports

def local_addresses(text):
    """Return local addresses to connect from, as a tuple of native texts, at most one of each IP version.

    `text`: the addresses, separated by blanks; :: stands for any address of IPv6, 0.0.0.0 for any of IPv4.
    """
    found = []
    for word in words(text):
        if not address.is_ip(word) or '%' in word:
            raise ValueError("invalid source address '%s': expected an address of this host, and no name" % word)
        ip = address.parse_ip(word)
        if address.unmap(ip) != ip or address.kind(ip) == 'multicast':
            raise ValueError("invalid source address '%s': expected an address that this host can have" % word)
        found.append(address.show_ip(ip))
    if len(set(':' in each for each in found)) < len(found):
        raise ValueError("invalid source '%s': expected one address, or one of IPv4 and one of IPv6" % text)
    return tuple(found)


def networks(text, also=''):
    """Return a tuple of Networks.

    `text`: addresses, networks and names such as loopback, private, any, separated by blanks; `also`: other words that
    the caller accepts, for the end of the error message.
    """
    found = []
    for word in words(text):
        if word in address.PRESETS:
            found.extend(network._replace(text=word) for network in address.PRESETS[word])
            continue
        try:
            found.append(address.parse_network(word))
        except ValueError as error:
            raise ValueError('%s (expected: addresses, networks such as 10.0.0.0/8, %s%s)%s' % (
                error, ', '.join(sorted(address.PRESETS)), also, wording.did_you_mean(word, address.PRESETS)))
    return tuple(found)


def ports(text):
    """Return address.Ports. `text`: ports and ranges such as 1024-65535, separated by blanks; or any."""
    ranges = []
    for word in words(text):
        first, dash, last = ('1', '-', '65535') if word == 'any' else word.partition('-')
        last = last if dash else first
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ValueError(invalid_port(word))
        ranges.append((int(first), int(last)))
    return address.Ports(tuple(ranges), text)


def invalid_port(text):
    """Return the error message about `text`, native text that is not a port."""
    return "invalid port '%s': expected 1 to 65535, a range (8000-8999), or any" % text


def listeners(text):
    """Return a tuple of Listeners.

    `text`: *:9000 or 9000, HOST:PORT, [IPv6]:PORT, fd:N or systemd, separated by blanks. Each may be followed by `tls`.
    """
    found = []
    for word in words(text):
        if word != 'tls':
            found.append(_listener(word))
        elif not found or found[-1].tls:
            raise ValueError('tls has to follow a listener: *:9443 tls')
        else:
            found[-1] = found[-1]._replace(tls=True)
    twice = [each for number, each in enumerate(found) if each[:-1] in [other[:-1] for other in found[:number]]]
    if twice:
        raise ValueError('port %d is listed twice' % twice[0].port)
    if not found:
        raise ValueError('no listener: expected at least one of *:9000, 127.0.0.1:9000, [::1]:9000, fd:0, systemd')
    return tuple(found)


def _listener(word):
    if word == SYSTEMD:
        return Listener('', 0, SYSTEMD)
    host, colon, port = word.rpartition(':')
    if not port.isdigit() or int(port) > 65535 or '/' in host:      # / as in http://127.0.0.1:9000
        raise ValueError("invalid listener '%s': expected *:9000, 127.0.0.1:9000, [::1]:9000, fd:0 or systemd. The "
                         'word tls may follow. A port is a number up to 65535%s' % (
                             word, ' (did you mean tls?)' if word.lower() in ('tls', 'ssl', 'https') else ''))
    if host == 'fd':
        return Listener('', 0, int(port))
    host = '' if host == '*' else host
    if host[:1] == '[' and host[-1:] == ']':
        host = host[1:-1]
    elif ':' in host:
        raise ValueError("invalid listener '%s': expected brackets around an IPv6 address ([::1]:9000)" % word)
    return Listener(host, int(port), None)


def admin_listeners(text):
    """Return a tuple of Listeners and UnixListeners.

    `text`: 127.0.0.1:PORT, [::1]:PORT or unix:/PATH, separated by blanks; or `off` for none.
    """
    found = []
    for word in words(text) if text != 'off' else ():
        if word.startswith('unix:'):
            if word[5:6] != '/' or len(word[5:]) > UNIX_PATH - len('4194304' * word.count('{pid}')):
                raise ValueError("invalid socket '%s': expected unix: and an absolute path of at most %d octets "
                                 '(unix:/run/geproxy/{pid}.sock)' % (word, UNIX_PATH))
            found.append(UnixListener(word[5:]))
            continue
        try:
            found.append(_listener(word))
        except ValueError:
            found.append(Listener('', 0, 0))
        # A bare port would be open on all addresses: the admin listener has no password.
        if found[-1].fd is not None or word.isdigit():
            raise ValueError("invalid admin listener '%s': expected 127.0.0.1:9001, [::1]:9001, "
                             'unix:/run/geproxy/{pid}.sock, or off' % word)
    return tuple(found)


# --- paths

def output_path(text):
    """Return a path to write to, for open(). `text`: the path; `-` (the terminal) and `off` are returned unchanged."""
    if not text or text[:1] == '~' or text in ('stdout', 'stderr'):
        raise ValueError("invalid path '%s': expected a path without ~, - for the terminal, or off" % text)
    return ini.path_of(text)


def log_path(text):
    """Return `text` if it is a syslog address (see sinks.syslog_address), else the path as output_path does."""
    return text if sinks.syslog_address(text) else output_path(text)


def input_path(text):
    """Return the path of a file to read, for open(). `text`: the path, or '' for no file."""
    if text[:1] == '~' or text in ('-', 'off', 'on'):
        raise ValueError("invalid path '%s': expected a path without ~, or nothing" % text)
    return ini.path_of(text)


def input_paths(text):
    """Return the paths of files to read, as a tuple. `text`: the paths, separated by blanks or lines; '' for none."""
    return tuple(input_path(word) for word in words(text))
