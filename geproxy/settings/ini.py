"""Ini files as lines: sections, names and values, each with its path and line number. Knows no option.

The same on every Python, and it keeps what configparser forgets: where a thing stands, and the comment beside it. All
text here is printable ASCII: what is not comes as ``\\xNN``, a backslash too, and `octets_of` and `path_of` undo that.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import re

from geproxy import compat

# `place`: file:line as refusals have it; `comment`: without its sign.
Line = collections.namedtuple('Line', 'path number source text comment')
# `name`: None for a section's own line; `section`: None before the first; `value`: all lines of it, joined, None for a
# line that is nothing; `lines`: the Lines it came from.
Entry = collections.namedtuple('Entry', 'section name value lines')

_find_comment = re.compile(r'(?:\A|\s)[#;]').search
_find_control = re.compile(br'[\x00-\x08\x0b-\x1f\x7f]').search
_escaped = re.compile(br'\\x([0-9a-f]{2})')


class BadLine(ValueError):
    """A line that cannot be one; `number`: which."""

    def __init__(self, number, message):
        ValueError.__init__(self, message)
        self.number = number


def read(path, lines, shown=''):
    """Lines of octets or text from the file at `path` -> [Entry]. `shown`: the file's name in `place`, if not its last
    part. Raises BadLine."""
    entries, indent = [], 0             # of the last entry: a line further in goes on with its value
    for number, line in enumerate(lines, 1):
        text, comment = _split(number, line)
        if not text:
            continue
        inside = len(text) - len(text.lstrip())
        place = '%s:%d' % (shown or path.rpartition('/')[2], number)
        found = Line(path, number, place, text.strip(), comment)
        last = entries[-1] if entries else None
        if inside > indent and last and last.name is not None and last.value is not None:
            last.lines.append(found)
        else:
            indent = inside
            entries.append(_begin(last, found))
    return [_whole(entry) for entry in entries]


def _split(number, line):
    """-> (what stands before the comment, with its indentation, the comment)"""
    octets = compat.to_octets(line).rstrip(b'\r\n')
    control = _find_control(octets)
    if control:
        raise BadLine(number, 'a control character (0x%02x) at octet %d of the line' % (
            ord(control.group()), control.start() + 1))
    text = compat.to_native(octets.replace(b'\\', br'\x5c')).rstrip()
    found = _find_comment(text)
    if found is None:
        return text, ''
    return text[:found.start()].rstrip(), text[found.end():].strip()


def _begin(last, line):
    """The Entry that `line` begins behind the Entry `last`; its lines are a list as yet."""
    if line.text[:1] == '[' and line.text[-1:] == ']':
        return Entry(line.text[1:-1].strip(), None, '', [line])
    name, equals, value = line.text.partition('=')
    value = value.strip()
    return Entry(last and last.section, name.strip(), value if equals else None, [line._replace(text=value)])


def _whole(entry):
    if entry.value is None or entry.name is None:
        return entry._replace(lines=tuple(entry.lines))
    value = ' '.join(line.text for line in entry.lines).strip()
    return entry._replace(value=value, lines=tuple(entry.lines))


def octets_of(text):
    """Text of an ini file -> the octets that stand there."""
    return _escaped.sub(lambda match: binascii.unhexlify(match.group(1)), compat.to_octets(text))


def path_of(text):
    """Text of an ini file -> the path that stands there, for open()."""
    return compat.to_path(octets_of(text))
