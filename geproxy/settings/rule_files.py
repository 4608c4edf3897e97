"""Reads the rules of an ini file, one in each line, and the lists of names (@FILE) that they use. Decides nothing."""
from __future__ import absolute_import, division, print_function

import codecs
import io
import os

from geproxy import compat
from geproxy.net import address
from geproxy.settings import ini, rule_lines


class LineErrors(ValueError):
    """Some lines of an option are wrong. `found`: a list of (ini.Line, what is wrong with it)."""

    def __init__(self, found):
        ValueError.__init__(self, '; '.join(what for _line, what in found))
        self.found = found


class NameLists(object):
    """The lists of names (@FILE) of one option. Each file is read once, although several lines may name it."""

    def __init__(self):
        self._read = {}

    def of(self, line):
        """Return the function of a path, as `line` has it, that returns the names in that file; see `read_names`.

        `line`: an ini.Line.
        """
        return lambda name: self._names(beside(line.path, ini.path_of(name)))

    def _names(self, path):
        if path not in self._read:
            self._read[path] = read_names(path)
        return self._read[path]


def beside(path, name):
    """Return the path `name`, which the file at `path` has: a relative one is relative to the folder of that file."""
    return os.path.join(os.path.dirname(path), name)


def rule_list(entry):
    """Return the Rules of an ini.Entry as a tuple: one in each line, such as: allow any .debian.org.

    `entry`: it may also be native text, the default, which has no rules. Raises LineErrors.
    """
    found, wrong, lists = [], [], NameLists()
    for line in () if isinstance(entry, str) else entry.lines:
        if line.text:
            try:
                found.append(rule_lines.parse(line, lists.of(line)))
            except ValueError as error:
                wrong.append((line, str(error)))
    if wrong:
        raise LineErrors(wrong)
    return tuple(found)


def read_names(path):
    """Return the names in the file at `path`, a frozenset of rules.host_keys. Raises ValueError with path and line."""
    names, number = set(), 0
    try:
        with io.open(path, 'rb') as lines:
            for number, line in enumerate(lines, 1):
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    line = line[len(codecs.BOM_UTF8):]
                names.update(_names_in(compat.to_native(line.partition(b'#')[0]).split()))
    except (IOError, OSError) as error:
        raise ValueError('%s: %s' % (path, error.strerror))
    except (ValueError, TypeError) as error:        # open() raises these for some paths, too
        raise ValueError('%s:%d: %s' % (path, number, error))
    return frozenset(names)


def _names_in(words):
    """Return the names of one line: it has names only, or an address and then names, as a hosts file does."""
    if len(words) > 1 and _is_address(words[0]):
        words = [word for word in words[1:] if not _is_address(word)]       # some files have 0.0.0.0 0.0.0.0
    for word in words:
        # As a name it would match only requests that spell the address so, and no request by a name that leads there.
        if _is_address(word):
            raise ValueError(
                "invalid name '%s': this is an address, and the list is for names; write it into the rule" % word)
    return [rule_lines.parse_name(word) for word in words]


def _is_address(word):
    # Looking at the last character first saves 1.9 s of 2.3 s for 100,000 names: meanwhile no client is served (3.13,
    # 2026-11-24).
    return (word[-1:].isdigit() or ':' in word) and address.is_ip(word)
