"""Header sections: their meaning, how they are written for the next hop, and how secrets are kept out of memory.

Sections are remembered and shared, but secrets are not. A mark replaces the value of a secret before the head is
remembered. So clients that differ only in their cookies share a section, and no cookie stays in memory.
"""
from __future__ import absolute_import, division, print_function

import re

from geproxy.http1 import grammar

# Fields for one connection only (RFC 9110, 7.6.1), and those that frame the body, which are written anew.
HOP_BY_HOP = frozenset([
    b'connection', b'proxy-connection', b'keep-alive', b'te', b'upgrade', b'transfer-encoding', b'content-length'])
FOR_PROXIES = frozenset([
    b'proxy-authorization', b'proxy-authenticate', b'proxy-authentication-info'])
_DROPPED = HOP_BY_HOP | FOR_PROXIES

# A head with NUL is refused, so no client can write a mark.
MARKS = [b'\0%d\0' % number for number in range(64)]
_numbers = dict((mark, number) for number, mark in enumerate(MARKS))

# The fields that mostly carry secrets, each as a whole line: a value that is folded, or followed by a bare CR, is not
# cut out. Other secrets are too rare to look for in each head: a section that has one is not remembered (is_secret).
_split = re.compile(
    br'(\n(?:[Cc][Oo][Oo][Kk][Ii][Ee]|(?:[Pp][Rr][Oo][Xx][Yy]-)?[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn]'
    br'|[Ss][Ee][Tt]-[Cc][Oo][Oo][Kk][Ii][Ee]):)([\t\x20-\x7e\x80-\xff]*)(?=\r\n[^\t ])').split


def cut_secrets(head):
    """Cut the secrets out of a head.

    `head`: octets. Return (the head with marks in their place, a list of the values), or (head, None) if it has no
    secret or they cannot be cut out.
    """
    parts = _split(head)
    if not 1 < len(parts) <= 3 * len(MARKS) or head.find(b'\0') >= 0:
        return head, None
    values = [value.strip(b' \t') for value in parts[2::3]]
    parts[2::3] = MARKS[:len(values)]
    return b''.join(parts), values


def restore(octets, values):
    """Return octets with secrets in the place of their marks, as far as the marks are there.

    `values`: a list of octets, from `cut_secrets`.
    """
    if len(values) == 1:                # mostly
        return octets.replace(MARKS[0], values[0])
    pieces = octets.split(b'\0')
    pieces[1::2] = [values[int(number)] for number in pieces[1::2]]
    return b''.join(pieces)


def restored(written, values):
    """Return the written octets of a head, with secrets in the place of their marks.

    `written`: a list of (anything, octets); this function adds the pieces around a single mark, for the next time;
    `values`: as for `restore`.
    """
    if len(values) > 1:
        return restore(written[1], values)
    if len(written) == 2:
        before, mark, behind = written[1].partition(MARKS[0])
        written += (before, behind) if mark else (written[1], None)
    return written[2] + values[0] + written[3] if written[3] is not None else written[2]


class Section(object):
    """A header section. It is never changed, because all messages with the same octets share it.

    `fields`, `index`: see grammar.parse_fields; `options`: the connection options, in lower case (RFC 9110, 7.6.1);
    `dropped`: names of fields that do not go on, whether the section has them or not.
    """
    __slots__ = ('fields', 'index', 'options', 'dropped', '_intact')

    def __init__(self, fields, index):
        self.fields, self.index = fields, index
        self.options, self.dropped = frozenset(), _DROPPED
        if b'connection' in index:
            self.options = frozenset(option.lower() for option in grammar.split_list(index[b'connection']))
            self.dropped = _DROPPED | self.options
        self._intact = self.dropped.isdisjoint(index)

    def has_no_secret(self):
        """Return True if this may be remembered, because no field in it may carry a secret."""
        return not any(grammar.is_secret(lower, value) and value not in _numbers
                       for lower, values, _line in self.fields for value in values)

    def fields_with(self, values):
        """Return the fields, with secrets in the place of their marks. `values`: as for `restore`."""
        return [(lower, tuple([restore(value, values) for value in found]), restore(line, values))
                for lower, found, line in self.fields]

    def write(self, replaced, also_dropped):
        """Return the section for the next hop, as octets without the empty line.

        `replaced`: {name in lower case: a whole field line as octets, or b''}: the line takes the place of the first
        field of its name, or comes last; `also_dropped`: a frozenset of further names that do not go on, in lower case.
        """
        if self._intact and not replaced and also_dropped.isdisjoint(self.index):
            return b''.join([field[2] for field in self.fields])
        dropped, left, lines = self.dropped, dict(replaced), []
        for lower, _values, line in self.fields:
            if lower in replaced:
                lines.append(left.pop(lower, b''))
            elif lower not in dropped and lower not in also_dropped:
                lines.append(line)
        lines.extend(left[lower] for lower in sorted(left))
        return b''.join(lines)
