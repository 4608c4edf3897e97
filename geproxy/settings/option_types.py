"""What the value of an option may be: its kinds, each a function of native text. Looks nothing up.

A kind returns the value, or raises ValueError with what is wrong and what it takes.
"""
from __future__ import absolute_import, division, print_function

import collections
import re

from geproxy import wording
from geproxy.net import address
from geproxy.observe import sinks
from geproxy.settings import ini

# host: native text, '' for all; fd: a number, SYSTEMD for all that systemd hands over, or None.
Listener = collections.namedtuple('Listener', 'host port fd')
SYSTEMD = 'systemd'
UnixListener = collections.namedtuple('UnixListener', 'path')           # {pid} in it stands for the process id


def words(text):
    """The members of a list, separated by blanks, commas or both."""
    return text.replace(',', ' ').split()


UNIX_PATH = 90          # octets; the system allows 107, and while a socket is made its name is longer

_UNITS = {'ms': 0.001, '': 1, 's': 1, 'm': 60, 'min': 60, 'h': 3600, 'd': 86400}
_SIZES = {'': 1, 'k': 1024, 'm': 1024 ** 2, 'g': 1024 ** 3, 't': 1024 ** 4}


def seconds(text):
    """Seconds, as a float: 20, 0.5, 500ms, 2m, 1h, 1d; more than none."""
    match = re.match(r'([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|s|min|m|h|d|)\Z', text)
    value = float(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not 0 < value <= 10 * 365 * 86400:
        raise ValueError(
            "'%s' is no duration: it takes seconds above 0, or a number with ms, s, m, h or d, as in 20 or 2m" % text)
    return value


def octets(text, most='1g'):
    """A number of octets: 65536, 64k, 1m."""
    value, limit = _octets(text), _octets(most)
    if value is None or not 1024 <= value <= limit:
        raise ValueError("'%s' is no size from 1k to %s: it takes octets, or a number with k, m or g, as in 64k" % (
            text, most))
    return value


def _octets(text):
    match = re.match(r'([0-9]{1,15}) ?([kmgt]?)b?\Z', text.lower())
    return int(match.group(1)) * _SIZES[match.group(2)] if match else None


def many_octets(text):
    """A number of octets, up to what goes through in a day: 500m, 20g."""
    return octets(text, '1024t')


def per_second(text):
    """How many in a second: 50, 0.5."""
    if not re.match(r'[0-9]{1,6}(\.[0-9]{1,3})?\Z', text) or not float(text):
        raise ValueError("'%s' is no number per second, as in 50 or 0.5" % text)
    return float(text)


def or_off(kind):
    """A kind that also takes `off`: None."""
    def either(text):
        try:
            return None if text == 'off' else kind(text)
        except ValueError as error:
            raise ValueError('%s, or off' % error)
    either.__doc__ = kind.__doc__.rstrip('.') + ', or off.'
    return either


def count(text):
    """A whole number, 0 or more."""
    if not re.match(r'[0-9]{1,9}\Z', text):
        raise ValueError("'%s' is no whole number, as in 100" % text)
    return int(text)


def ipv6_prefix(text):
    """The length of an IPv6 prefix, in bits: 64"""
    bits = count(text)
    if not 1 <= bits <= 128:
        raise ValueError('%r is no length of an IPv6 prefix: 1 to 128' % text)
    return bits


def count_or_auto(text):
    """A whole number, 1 or more; None for `auto`."""
    if text == 'auto':
        return None
    try:
        value = count(text)
    except ValueError:
        value = 0
    if not value:
        raise ValueError("'%s' is neither auto nor a whole number from 1" % text)
    return value


def octets_or_auto(text):
    """A number of octets: 65536, 64m, 1g; None for `auto`."""
    try:
        return None if text == 'auto' else octets(text, '1024g')
    except ValueError as error:
        raise ValueError('%s, or auto' % error)


def choice(*options):
    """A kind that takes one of `options`."""
    def kind(text):
        if text not in options:
            raise ValueError("'%s' is none of %s%s" % (text, ', '.join(options), wording.did_you_mean(text, options)))
        return text
    kind.__doc__ = 'One of %s.' % ', '.join(options)
    return kind


def switch(*options):
    """A kind for yes or no, written as one of two words: the first means yes."""
    check = choice(*options)

    def kind(text):
        return check(text) == options[0]
    kind.__doc__ = 'One of %s.' % ', '.join(options)
    return kind


def networks(text):
    """Addresses, networks and presets (loopback, private, any ...), separated by blanks."""
    found = []
    for word in words(text):
        if word in address.PRESETS:
            found.extend(network._replace(text=word) for network in address.PRESETS[word])
            continue
        try:
            found.append(address.parse_network(word))
        except ValueError as error:
            raise ValueError('%s; it takes addresses, networks as 10.0.0.0/8, or %s%s' % (
                error, ', '.join(sorted(address.PRESETS)), wording.did_you_mean(word, address.PRESETS)))
    return tuple(found)


def ports(text):
    """Ports and ranges, as in 443 1024-65535, separated by blanks; or any."""
    ranges = []
    for word in words(text):
        first, dash, last = ('1', '-', '65535') if word == 'any' else word.partition('-')
        last = last if dash else first
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
            raise ValueError("'%s' is no port: it takes 1 to 65535, ranges as 8000-8999, or any" % word)
        ranges.append((int(first), int(last)))
    return address.Ports(tuple(ranges), text)


def protocols(text):
    """Protocols that Upgrade names, as in websocket, separated by blanks; or any."""
    found = [word.lower() for word in words(text)]
    for word in found:
        if not re.match(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z", word):
            raise ValueError("'%s' is no protocol that Upgrade may name, as in websocket, or any" % word)
        if word.startswith('h2c'):
            raise ValueError('h2c is never passed on: what goes inside of it would escape every rule')
    return None if found == ['any'] else frozenset(word.encode('ascii') for word in found)


def listeners(text):
    """Where to listen: *:9000 or 9000, HOST:PORT, [v6]:PORT, fd:N or systemd, separated by blanks."""
    found = [_listener(word) for word in words(text)]
    twice = [word for number, word in enumerate(found) if word in found[:number]]
    if twice:
        raise ValueError('port %d is there twice' % twice[0].port)
    if not found:
        raise ValueError('it takes at least one of *:9000, 127.0.0.1:9000, [::1]:9000, fd:0, systemd')
    return tuple(found)


def _listener(word):
    if word == SYSTEMD:
        return Listener('', 0, SYSTEMD)
    host, colon, port = word.rpartition(':')
    if not port.isdigit() or int(port) > 65535 or '/' in host:      # a URL, for one
        raise ValueError(
            "'%s' is nothing to listen on: it takes *:9000, 127.0.0.1:9000, [::1]:9000, fd:0 or systemd" % word)
    if host == 'fd':
        return Listener('', 0, int(port))
    host = '' if host == '*' else host
    if host[:1] == '[' and host[-1:] == ']':
        host = host[1:-1]
    elif ':' in host:
        raise ValueError("'%s': an IPv6 address goes in brackets, as in [::1]:9000" % word)
    return Listener(host, int(port), None)


def admin_listeners(text):
    """127.0.0.1:PORT, [::1]:PORT, unix:/PATH (with {pid} for the process id), separated by blanks; or off."""
    found = []
    for word in words(text) if text != 'off' else ():
        if word.startswith('unix:'):
            if word[5:6] != '/' or len(word[5:]) > UNIX_PATH - len('4194304' * word.count('{pid}')):
                raise ValueError("'%s' is no absolute path of at most %d octets, as in unix:/run/geproxy/{pid}.sock" % (
                    word, UNIX_PATH))
            found.append(UnixListener(word[5:]))
            continue
        try:
            found.append(_listener(word))
        except ValueError:
            found.append(Listener('', 0, 0))
        if found[-1].fd is not None or word.isdigit():      # not on all addresses by a slip
            raise ValueError("'%s' is nothing to listen on here: it takes 127.0.0.1:9001, [::1]:9001, "
                             "unix:/run/geproxy/{pid}.sock, or off" % word)
    return tuple(found)


def path(text):
    """A path, - for the terminal, or off."""
    if not text or text[:1] == '~' or text in ('stdout', 'stderr'):
        raise ValueError("'%s' is none: it takes a path (without ~), - for the terminal, or off" % text)
    return ini.path_of(text)


def log_path(text):
    """A path, - for the terminal, syslog, or off."""
    return text if sinks.syslog_address(text) else path(text)


def pseudonym(text):
    """A token to name this proxy by; `auto`: made from host and listener."""
    if not re.match(r"[A-Za-z][A-Za-z0-9._-]{0,62}\Z", text):
        raise ValueError(
            "'%s' is no name for Via: it takes a letter and up to 62 letters, digits, '.', '_', '-'" % text)
    return text


def text_line(text):
    """Words, separated by blanks."""
    return text


def file_path(text):
    """A path; nothing for none."""
    if text[:1] == '~' or text in ('-', 'off', 'on'):
        raise ValueError("'%s' is no path (without ~)" % text)
    return ini.path_of(text)


def realm(text):
    """Words for people, without quotes and backslashes."""
    if not re.match(r'[ !#-\[\]-~]{1,100}\Z', text):
        raise ValueError("'%s' is no realm: it takes up to 100 characters of ASCII, without quotes" % text)
    return text
