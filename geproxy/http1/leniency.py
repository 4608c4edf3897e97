"""Heads that break the grammar and still have one meaning, rewritten as the grammar wants them. Pure: octets to octets.

Asked only for what the strict parser has refused, so normal heads pay nothing. What it returns is parsed strictly.

Responses: what curl, browsers and squid all deliver is delivered. What one of them refuses, or what two of them could
read in two ways, stays refused (tried with curl 7.88 and squid 5.7). So these stay refused: `ICY 200 OK` (curl takes it
for HTTP/0.9), a field name that is no token and a control octet in the reason phrase (squid answers 502).

Requests: only what is cut off and not forwarded is forgiven: userinfo and fragment of the target.
"""
from __future__ import absolute_import, division, print_function

import binascii
import re

from geproxy import errors
from geproxy.http1 import grammar

# A fold or a control octet in these could mean two lengths (RFC 9112, 6.3).
FRAMING = frozenset([b'content-length', b'transfer-encoding'])

_find_fatal = re.compile(br'\0|\r(?!\n)').search
_find_end = re.compile(br'\n\r?\n').search
_match_tab_for_blank = re.compile(br'(HTTP/1\.[0-9] [0-9]{3})\t').match
# With several @, or a backslash, some read another host.
_match_userinfo = re.compile(br'([Hh][Tt][Tt][Pp]://)([^/?@\\]*@)(?=[^/?@\\]*(?:[/?]|\Z))').match
_userinfo_in_host = re.compile(br'((?:\A|\n)[Hh][Oo][Ss][Tt]:)([^\r\n]*@)').sub
_ENCODED = dict((b'%02x' % number, bytes(bytearray([number]))) for number in range(256))
# To keep control octets is not safe: Python's http.client, for one, ends a line at VT, FF and FS (RFC 9110, 5.5).
_BLANKED = bytes(bytearray(
    32 if (octet < 32 and octet != 9) or octet == 127 else octet for octet in range(256)))


def find_fatal(octets, start=0):
    """Find the first octet, from `start` on, that not even a response may have in its head: NUL, or CR without LF.

    Returns a match, or None if there is none.
    """
    return _find_fatal(octets, start)


def end_of(head):
    """Return where a head ends that may have lines that end with LF alone: behind its first empty line."""
    return _find_end(head).end()


def is_status_line(line):
    """Return True if a line of octets, up to its LF, is a status line, or can be mended to be one."""
    line = line[:-1] if line[-1:] == b'\r' else line
    return grammar.match_status_line(_mend_status_line(line)) is not None


def _mend_status_line(line):
    # All of them read a tab in front of the reason phrase. Nobody reads one in front of the status code.
    match = _match_tab_for_blank(line)
    return match.group(1) + b' ' + line[match.end():] if match else line


def mend_response(head):
    """Rewrite a response head that the strict parser has refused -> (head, octets behind the head).

    `head`: octets up to an empty line. Lines that end with LF alone are read (RFC 9112, 2.2), so the head may end
    earlier than its first CRLF CRLF: the rest is the second value. Raises BadResponse for what has more than one
    reading.
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

    `lines`: octets without line ends; `error`: the class to raise. A fold becomes a blank (RFC 9112, 5.2), blanks
    before a colon go away (5.1), a control octet in a value becomes a blank (RFC 9110, 5.5). What is still wrong is
    left as it is, for the parser to refuse. Raises `error` for a fold where none may be.
    """
    fields, parts = [], None            # of the last field, if it is folded
    for line in lines:
        if line[:1] not in (b' ', b'\t'):
            fields.append(line)
            parts = None
            continue
        if parts is None:
            # Once for each field, not for each fold: a name may have 60 KB.
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
    """Cut fragment and userinfo off the target of a request -> (line, octets, credentials); None if there are none.

    `line`: the request line; `octets`: what follows it. Where Host repeats that userinfo, as urllib has it, it is cut
    there, too. `credentials`: the value of an Authorization field made from the userinfo, or b'' if that is empty.
    Raises BadRequest for a userinfo that Basic cannot carry (RFC 9110, 4.2.4; RFC 7617, 2).
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
    """How Host may repeat the userinfo of a target: urllib undoes the percent-encoding there, and writes Latin-1."""
    decoded = _decode(userinfo)
    spellings = [userinfo, decoded.strip(b' \t')]
    try:
        spellings.append(decoded.decode('utf-8').encode('latin-1').strip(b' \t'))
    except UnicodeError:
        pass                    # it is not UTF-8, or Latin-1 cannot write it: urllib cannot have sent it
    return spellings


def _cut_host(octets, spellings):
    """Cut one of `spellings` off the beginning of each Host field."""
    # Not by a pattern made of the spellings: the module re would remember it, and a password with it.
    return _userinfo_in_host(
        lambda match: match.group(1) if match.group(2).lstrip(b' \t') in spellings else match.group(0), octets)


def _basic(userinfo):
    name, _colon, password = userinfo.partition(b':')
    name, password = _decode(name), _decode(password)
    if not name and not password:
        return b''
    if b':' in name or grammar.find_control(name + password) or b'\t' in name + password:
        raise errors.BadRequest(
            'user or password in the target have a control octet, or the user a colon: Basic has no way to say that')
    return b'Basic ' + binascii.b2a_base64(name + b':' + password).rstrip(b'\n')


def _decode(octets):
    """Percent-encoding undone, once; what is none stays as it is."""
    # 20,000 of them take 4 ms; by a pattern and a function, 8 (3.11).
    parts = octets.split(b'%')
    decoded = [_ENCODED.get(part[:2].lower()) for part in parts[1:]]
    parts[1:] = [b'%' + part if octet is None else octet + part[2:] for octet, part in zip(decoded, parts[1:])]
    return b''.join(parts)
