"""The grammar of RFC 9110 and RFC 9112: patterns, field lines, request targets. Knows no messages.

Everything works on octets. All patterns are linear: one character class between fixed octets.
"""
from __future__ import absolute_import, division, print_function

import collections
import re

from geproxy import compat, errors
from geproxy.memo import Memo
from geproxy.net import address

# token = 1*tchar                                                                       (RFC 9110, 5.6.2)
TCHAR = br"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
is_token = re.compile(TCHAR + br'+\Z').match

# protocol = token [ "/" token ]                                                        (RFC 9110, 7.8)
is_protocol = re.compile(TCHAR + br'+(?:/' + TCHAR + br'+)?\Z').match

# request-line = method SP request-target SP HTTP-version                               (RFC 9112, 3)
# The target is any visible ASCII, which `split_target` checks. Octets from 0x80 on are allowed, too: curl, git, Go, PHP
# and busybox send them in paths, and no program takes them for a delimiter. In a host they are refused.
match_request_line = re.compile(br'(' + TCHAR + br'+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])\Z').match

# The same in the form that most clients of a proxy send, with its authority and path: 1.0 instead of 2.5 us (3.13). A
# line that does not match may still be valid.
match_plain_request_line = re.compile(
    br'(?!CONNECT )(' + TCHAR + br'+) '
    br'(http://([0-9A-Za-z.:_~\[\]-]+)(/[\x21\x22\x24-\x7e\x80-\xff]*)) HTTP/1\.([0-9])\Z').match

# The beginning of such a line, whose end has not come yet.
match_request_line_start = re.compile(
    TCHAR + br'+(?: (?:[\x21-\x7e\x80-\xff]+(?: (?:H(?:T(?:T(?:P(?:/[0-9.]{0,3})?)?)?)?)?)?)?)?\r?\Z').match

# status-line = HTTP-version SP status-code SP [ reason-phrase ]                        (RFC 9112, 4)
# The last SP is optional here: too many servers leave it out with the reason phrase.
match_status_line = re.compile(br'HTTP/([0-9])\.([0-9]) ([0-9]{3})(?: ([\t\x20-\x7e\x80-\xff]*))?\Z').match

# Octets that are not allowed in a head: controls, CR without LF, LF without CR        (RFC 9112, 2.2; RFC 9110, 5.5)
_search_doubtful = re.compile(br'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n').search
_HARMLESS = bytes(bytearray([9] + list(range(32, 127)) + list(range(128, 256))))

# Octets that are not allowed in a field value                                         (RFC 9110, 5.5)
find_control = re.compile(br'[\x00-\x08\x0a-\x1f\x7f]').search

# Content-Length = 1*DIGIT                                                              (RFC 9110, 8.6)
# 18 digits: the most that every 64-bit program reads alike.
is_length = re.compile(br'[0-9]{1,18}\Z').match

# chunk-size [ chunk-ext ]                                                              (RFC 9112, 7.1)
match_chunk_size = re.compile(
    br'([0-9A-Fa-f]{1,15})'
    br'(?:[ \t]*;[ \t]*' + TCHAR + br'+(?:[ \t]*=[ \t]*(?:' + TCHAR + br'+'
    br'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*\Z').match

# uri-host with fewer octets than RFC 3986 allows: names as in the DNS and in hosts files. Percent-encoding
# and sub-delims are used only in attacks, to make two programs read two different hosts.
match_authority = re.compile(br'([0-9A-Za-z._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?\Z').match

# Names of fields that carry secrets, and of those that carry URLs, which may have secrets in them
_find_secret = re.compile(br'auth|cookie|token|secret|passw|api-?key|session|signature').search
_WITH_URL = frozenset([b'referer', b'location', b'content-location', b'refresh'])

LONGEST = 1000          # characters of a message for people, in the log, a response and its Proxy-Status

Authority = collections.namedtuple('Authority', 'host port text')
Target = collections.namedtuple('Target', 'form authority path')


def printable(octets, most=80):
    """Return octets from a peer as one line of native text for people.

    `octets`: any; `most`: how many of them are shown. All but printable ASCII is escaped. Text before an @ or after a ?
    is left out, as it may be a secret.
    """
    octets, query, _secret = octets.partition(b'?')
    words = octets.split(b' ', most)        # more words would not be shown
    words = [b'***@' + word.rpartition(b'@')[2] if b'@' in word else word for word in words]
    shown = escape(b' '.join(words)[:most])
    return shown + ('?...' if query else '...' if len(octets) > most else '')


def find_doubtful(octets, start=0):
    """Return the first octet that is not allowed in a head, as a match of `re`; None if there is none.

    `octets`: a head or a part of it; `start`: where to begin.
    """
    # Mostly there is none: then only CRLF is left without the harmless octets. 20 -> 1.7 us for 300 octets (3.13).
    if not start and octets.translate(None, _HARMLESS) == b'\r\n' * octets.count(b'\r\n'):
        return None
    return _search_doubtful(octets, start)


def escape(octets):
    """Return octets as one line of native text, with all but printable ASCII escaped."""
    return ''.join(c if ' ' <= c <= '~' else '\\x%02x' % ord(c) for c in compat.to_native(octets))


def shorten(text):
    """Return `text`, native, cut after LONGEST characters. If it was longer, `...(+N)` says that N are missing."""
    return text if len(text) <= LONGEST else '%s...(+%d)' % (text[:LONGEST], len(text) - LONGEST)


def first_word(octets):
    """Return the first word of a line, `octets`, as native text for people. The rest may be a secret, so it is left
    out."""
    return printable(octets.partition(b'\r')[0].partition(b' ')[0], 20)


def split_list(values):
    """Return the members of a list in field values, without empty ones (RFC 9110, 5.6.1).

    `values`: a sequence of octets, which together are one list.
    """
    members = [member.strip(b' \t') for member in b','.join(values).split(b',')]
    return [member for member in members if member]


def _parse_authority(octets):
    """Return `host[:port]` as an Authority (RFC 9110, 4.2; RFC 3986, 3.2). Raises BadRequest.

    Its `host` is in lower case without brackets, its `port` an int or None, its `text` the octets without an empty
    port.
    """
    match = match_authority(octets)
    if b'@' in octets:
        raise errors.BadRequest('user and password in an authority (RFC 9110, 4.2.4)')
    if match is None:
        raise errors.BadRequest("'%s' is not host[:port]" % printable(octets))
    written, digits = match.groups()
    host = written.lower()
    if host[:1] == b'[':
        host = host[1:-1]
        if b':' not in host or not address.is_ip(compat.to_native(host)):
            raise errors.BadRequest("'%s' is not an IPv6 address" % printable(host))
    elif b'..' in host or host[:1] == b'.':
        raise errors.BadRequest("'%s' has an empty label" % printable(host))
    port = int(digits) if digits else None
    if port is not None and not 0 < port < 65536:
        raise errors.BadRequest('invalid port %d: expected 1 to 65535' % port)
    return Authority(host, port, written if port is None else b'%s:%d' % (written, port))


parse_authority = Memo(_parse_authority).__getitem__


def split_target(method, target):
    """Return a request target as a Target (RFC 9112, 3.2). Raises BadRequest or NotImplementedHere.

    `method`, `target`: octets. The Target has `form`: 'origin', 'absolute', 'authority' or 'asterisk'; `authority`: an
    Authority, or None if the form has none; `path`: the target for the origin, a part of `target` that is not changed.
    """
    if method == b'CONNECT':
        authority = parse_authority(target)
        if authority.port is None:
            raise errors.BadRequest("CONNECT needs a port: '%s' has none" % printable(target))
        return Target('authority', authority, None)
    if target.find(b'#') >= 0:              # `in` takes 0.7 us instead of 0.1 (3.13)
        raise errors.BadRequest('a request target has no fragment (#)')
    if target[:1] == b'/':
        return Target('origin', None, target)
    if target == b'*' and method == b'OPTIONS':
        return Target('asterisk', None, target)
    return _split_absolute(method, target)


def _split_absolute(method, target):
    scheme, separator, rest = target.partition(b'://')
    if scheme != b'http' and not is_token(scheme) or not separator:
        raise errors.BadRequest("invalid request target '%s'" % printable(target))
    if scheme != b'http' and scheme.lower() != b'http':
        raise _other_scheme(scheme.lower())
    authority = rest.partition(b'/')[0].partition(b'?')[0]
    path = rest[len(authority):]
    if path[:1] != b'/':
        # An empty path is the whole server for OPTIONS, the root for others: RFC 9112, 3.2.4 and 3.2.1
        path = b'*' if method == b'OPTIONS' and not path else b'/' + path
    return Target('absolute', parse_authority(authority), path)


def _other_scheme(scheme):
    if scheme in (b'https', b'wss'):
        return errors.NotImplementedHere(
            '%s:// goes through a proxy by CONNECT only, and this client cannot do that (busybox wget, for one): '
            'use another, such as curl or GNU wget' % printable(scheme))
    return errors.NotImplementedHere('an HTTP proxy cannot fetch %s://' % printable(scheme, 20))


def parse_fields(lines, error):
    """Return field lines as (fields, index) (RFC 9112, 5).

    `lines`: octets without line ends, in which `find_doubtful` has found nothing; `error`: the class to raise for an
    invalid line. `fields` has for each line, in order, (name in lower case, a tuple of its value, the line as we write
    it); `index` is {name in lower case: tuple of all values}.
    """
    known, learn = _field_lines.get, _field_lines.learn
    fields = [known(line) or learn(line) for line in lines]
    if not all(fields):
        for number, field in enumerate(fields, 1):
            if not field:       # the line is not shown, as it may be a secret
                raise error('invalid field line %d: expected name: value' % number)
    index = {lower: values for lower, values, _written in fields}
    if len(index) < len(fields):
        # Lists first, because to add to a tuple copies it: for 16,000 lines `a:` that would take 250 ms.
        lists = {}
        for lower, values, _written in fields:
            lists.setdefault(lower, []).extend(values)
        index = {lower: tuple(values) for lower, values in lists.items()}
    return fields, index


def parse_field(line):
    """Return one field of `parse_fields`, or None if `line`, octets, is invalid. Remembers no value."""
    name, colon, value = line.partition(b':')
    lower = _lower_names[name] if colon else b''
    if not lower:
        return None
    value = value.strip(b' \t')
    return lower, (value,), b'%s: %s\r\n' % (name, value)


_lower_names = Memo(lambda name: name.lower() if is_token(name) else b'')


def is_secret(lower, value):
    """Return True if the value of a field may be a secret.

    `lower`: the name of the field in lower case; `value`: octets. The query of a URL counts as a secret.
    """
    return _find_secret(lower) is not None or value.find(b'?') >= 0 and lower in _WITH_URL


def _may_be_kept(_line, field):
    # An invalid line may be anything. Where section.cut_secrets was, there is a mark.
    return field is not None and (field[1][0][:1] == b'\0' or not is_secret(field[0], field[1][0]))


_field_lines = Memo(parse_field, keeps=_may_be_kept)
