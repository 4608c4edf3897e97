"""Splits an ini file into entries: sections, names and values, each with path, line and comment. Knows no option.

It works the same on every Python, and keeps what configparser forgets: line numbers and comments. All text here is
printable ASCII: other octets, and backslashes, are escaped as ``\\xNN``; `octets_of` and `path_of` undo that.
"""
from __future__ import absolute_import, division, print_function

import binascii
import collections
import re

from geproxy import compat

# One line of a file. `path`: as it was given; `number`: from 1; `source`: FILE:LINE, as refusals name it; `text`:
# without the comment; `comment`: without # or ;.
Line = collections.namedtuple('Line', 'path number source text comment')
# An option, or the line that begins a section. `section`: None before the first section; `name`: None for the line of a
# section; `value`: all lines of the value, joined by blanks, or None if the line has no =; `lines`: a tuple of Lines.
Entry = collections.namedtuple('Entry', 'section name value lines')

_find_comment = re.compile(r'(?:\A|\s)[#;]').search
_find_control = re.compile(br'[\x00-\x08\x0b-\x1f\x7f]').search
_escaped = re.compile(br'\\x([0-9a-f]{2})')


class BadLine(ValueError):
    """A line is not text. `number`: of the line, from 1; `message`: native text."""

    def __init__(self, number, message):
        ValueError.__init__(self, message)
        self.number = number


def read(path, lines, shown=''):
    """Return the Entries of a file as a list.

    `path`: of the file, native text; `lines`: an iterable of octets or text; `shown`: the name of the file in `source`,
    by default the last part of the path. Raises BadLine.
    """
    entries, indent = [], 0             # `indent`: of the last entry. A line with a larger one continues its value
    for number, line in enumerate(lines, 1):
        text, comment = _split(number, line)
        if not text:
            continue
        indented = len(text) - len(text.lstrip())
        source = '%s:%d' % (shown or path.rpartition('/')[2], number)
        found = Line(path, number, source, text.strip(), comment)
        last = entries[-1] if entries else None
        if indented > indent and last and last.name is not None and last.value is not None:
            last.lines.append(found)
        else:
            indent = indented
            entries.append(_begin(last, found))
    return [_whole(entry) for entry in entries]


def _split(number, line):
    """Return (the text before the comment, with its indentation; the comment)."""
    octets = compat.to_octets(line).rstrip(b'\r\n')
    control = _find_control(octets)
    if control:
        raise BadLine(number, 'control character (0x%02x) at octet %d of the line: remove it' % (
            ord(control.group()), control.start() + 1))
    text = compat.to_native(octets.replace(b'\\', br'\x5c')).rstrip()
    found = _find_comment(text)
    if found is None:
        return text, ''
    return text[:found.start()].rstrip(), text[found.end():].strip()


def _begin(last, line):
    """Return the Entry that a Line begins. Its `lines` are still a list. `last`: the Entry before it, or None."""
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
    """Return the octets that the file has where `text` was read."""
    return _escaped.sub(lambda match: binascii.unhexlify(match.group(1)), compat.to_octets(text))


def path_of(text):
    """Return the path that the file has where `text` was read, for open()."""
    return compat.to_path(octets_of(text))
