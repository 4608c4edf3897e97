"""Rewrites heads that break the grammar but have only one meaning, so that they follow it. No I/O.

It is called only for heads that the strict parser has refused, so normal heads pay nothing. Its result is parsed
strictly.

Responses: a head that curl, browsers and squid all accept is accepted. A head that one of them refuses, or that two of
them could understand in two ways, stays refused (tried with curl 7.88 and squid 5.7). For example: `ICY 200 OK` (curl
takes it for HTTP/0.9), a field name that is no token, a control octet in the reason phrase (squid answers 502).

Requests: only a userinfo or fragment in the target is accepted. It is cut off and does not go on.
"""
from __future__ import absolute_import, division, print_function

import binascii
import re

from geproxy import errors
from geproxy.http1 import grammar

# A fold or a control octet in one of these could mean two lengths (RFC 9112, 6.3).
FRAMING = frozenset([b'content-length', b'transfer-encoding'])

_find_fatal = re.compile(br'\0|\r(?!\n)').search
_find_end = re.compile(br'\n\r?\n').search
_match_tab_for_blank = re.compile(br'(HTTP/1\.[0-9] [0-9]{3})\t').match
# With several @, or a backslash, some programs read another host.
_match_userinfo = re.compile(br'([Hh][Tt][Tt][Pp]://)([^/?@\\]*@)(?=[^/?@\\]*(?:[/?]|\Z))').match
_userinfo_in_host = re.compile(br'((?:\A|\n)[Hh][Oo][Ss][Tt]:)([^\r\n]*@)').sub
_ENCODED = dict((b'%02x' % number, bytes(bytearray([number]))) for number in range(256))
# Control octets must not go on: Python's http.client, for example, ends a line at VT, FF and FS (RFC 9110, 5.5).
_BLANKED = bytes(bytearray(
    32 if (octet < 32 and octet != 9) or octet == 127 else octet for octet in range(256)))


def find_fatal(octets, start=0):
    """Find the first octet that is never allowed in a head, also not in a response: NUL, or CR without LF.

    `octets`: a head or a part of it; `start`: where to begin. Return a match of `re`, or None if there is none.
    """
    return _find_fatal(octets, start)


def end_of(head):
    """Return the length of a head whose lines may end with LF alone, up to its first empty line. `head`: octets."""
    return _find_end(head).end()


def is_status_line(line):
    """Return True if a line, octets without LF, is a status line or can be mended to be one."""
    line = line[:-1] if line[-1:] == b'\r' else line
    return grammar.match_status_line(_mend_status_line(line)) is not None


def _mend_status_line(line):
    # curl, browsers and squid all accept a tab before the reason phrase. None accepts one before the status code.
    match = _match_tab_for_blank(line)
    return match.group(1) + b' ' + line[match.end():] if match else line


def mend_response(head):
    """Rewrite a response head that the strict parser has refused. Return (head, octets after the head).

    `head`: octets up to an empty line. Its lines may end with LF alone (RFC 9112, 2.2), so it may end before its first
    CRLF CRLF: the rest is the second value. Raises BadResponse if the head has more than one meaning.
    """
    end = end_of(head)
    head, behind = head[:end], head[end:]
    fatal = _find_fatal(head)
    if fatal:
        raise errors.BadResponse('%s at octet %d of the head' % (
            'NUL' if fatal.group() == b'\0' else 'a bare CR', fatal.start()))
    lines = head.replace(b'\r\n', b'\n').split(b'\n')[:-2]
    return b'\r\n'.join([_mend_status_line(lines[0])] + mend_fields(lines[1:], errors.BadResponse) + [b'', b'']), behind


def mend_fields(lines, error):
    """Rewrite field lines of a response, or of its trailer section, as the grammar wants them.

    `lines`: octets without line ends; `error`: the class to raise for a fold where none is allowed. A fold becomes a
    blank (RFC 9112, 5.2), blanks before a colon are removed (5.1), a control octet in a value becomes a blank (RFC
    9110, 5.5). Other errors stay, and the parser refuses them. Return the lines.
    """
    fields, parts = [], None            # `parts`: those of the last field, if it is folded
    for line in lines:
        if line[:1] not in (b' ', b'\t'):
            fields.append(line)
            parts = None
            continue
        if parts is None:
            # Checked once for each field, not for each fold, because a name may have 60 KB.
            if not fields or b':' not in fields[-1] or _name(fields[-1]).lower() in FRAMING:
                raise error('a folded line in front of all fields, in a field name, or in a field that frames the body')
            fields[-1] = parts = [fields[-1]]
        parts.append(line.strip(b' \t'))
    return [_mend_field(b' '.join(filter(None, each)) if isinstance(each, list) else each) for each in fields]


def _name(line):
    return line.partition(b':')[0].rstrip(b' \t')


def _mend_field(line):
    name, colon, value = line.partition(b':')
    bare, blanked = name.rstrip(b' \t'), value.translate(_BLANKED)
    if bare == name and blanked == value or not colon or blanked != value and bare.lower() in FRAMING:
        return line
    return bare + b':' + blanked


def mend_request(line, octets):
    """Cut fragment and userinfo off the target of a request (RFC 9110, 4.2.4; RFC 7617, 2).

    `line`: the request line; `octets`: all that follows it. Return (line, octets, credentials), or None if there is
    nothing to cut off. Where Host repeats the userinfo, as urllib sends it, it is cut off there, too. `credentials` is
    the value of an Authorization field for the userinfo, or b'' if that is empty. Raises BadRequest for a userinfo that
    Basic cannot carry.
    """
    match = grammar.match_request_line(line)
    if match is None or match.group(1) == b'CONNECT':
        return None
    target = match.group(2).partition(b'#')[0]
    userinfo = _match_userinfo(target)
    credentials = b''
    if userinfo:
        target = userinfo.group(1) + target[userinfo.end():]
        credentials = _basic(userinfo.group(2)[:-1])
        octets = _cut_host(octets, _spellings(userinfo.group(2)))
    if target == match.group(2) or target == b'*':
        return None
    line = line[:match.start(2)] + target + line[match.end(2):]
    return line, octets, credentials


def _spellings(userinfo):
    """Return the ways in which Host may repeat a userinfo: urllib removes percent-encoding, and writes Latin-1."""
    decoded = _decode(userinfo)
    spellings = [userinfo, decoded.strip(b' \t')]
    try:
        spellings.append(decoded.decode('utf-8').encode('latin-1').strip(b' \t'))
    except UnicodeError:
        pass                    # it is not UTF-8, or Latin-1 cannot write it, so urllib has not sent it
    return spellings


def _cut_host(octets, spellings):
    """Cut one of `spellings` off the beginning of each Host field."""
    # Not by a pattern of the spellings, because the module re would remember it, and a password in it.
    return _userinfo_in_host(
        lambda match: match.group(1) if match.group(2).lstrip(b' \t') in spellings else match.group(0), octets)


def _basic(userinfo):
    name, _colon, password = userinfo.partition(b':')
    name, password = _decode(name), _decode(password)
    if not name and not password:
        return b''
    if b':' in name or grammar.find_control(name + password) or b'\t' in name + password:
        raise errors.BadRequest(
            'user or password in the target have a control octet, or the user has a colon: Basic cannot carry that')
    return b'Basic ' + binascii.b2a_base64(name + b':' + password).rstrip(b'\n')


def _decode(octets):
    """Return octets with percent-encoding undone, once. All other octets stay as they are."""
    # 20,000 of them take 4 ms; by a pattern and a function, 8 (3.11).
    parts = octets.split(b'%')
    decoded = [_ENCODED.get(part[:2].lower()) for part in parts[1:]]
    parts[1:] = [b'%' + part if octet is None else octet + part[2:] for octet, part in zip(decoded, parts[1:])]
    return b''.join(parts)
