"""Loads an ini file: lines become entries, entries become Settings. Nothing below this wing reads the file.

The options are declared in `schema`; what may be wrong is in `checking`; `comparing` tells what a reload changes.
"""
from __future__ import absolute_import, division, print_function

import binascii
import codecs
import collections
import fnmatch
import io
import os

from geproxy import compat
from geproxy.settings import ini, rule_lines
from geproxy.settings.checking import (
    ConfigError, Problem, check_together, problem_at, read_certificates, read_routes, read_users)
from geproxy.settings.option_types import automatic_pseudonym
from geproxy.settings.rule_files import LineErrors, beside
from geproxy.settings.schema import READ_ENTRIES, SCHEMA, SECTIONS
from geproxy.wording import did_you_mean

_TYPES = dict((section, collections.namedtuple(
    section.capitalize(), [option.name for option in SCHEMA if option.section == section])) for section in SECTIONS)
# A field for each section; `texts`: {(section, option): a tuple of lines, as the file has them}, for people; `users`: a
# users.Users, or None if [auth] names no file of users or groups; `routes`: the routes.Routes, or None if all requests
# go directly; `certificates`: a certificates.Loaded, or None if there is no TLS.
Settings = collections.namedtuple('Settings', list(SECTIONS) + ['texts', 'users', 'routes', 'certificates'])


def load(path, lines=None, running=None):
    """Return the Settings of an ini file.

    `path`: of the file, native text; None for the defaults; `lines`: a list of lines to read instead of the file;
    `running`: the Settings that hold now, if there are any: if this process may not read the same key again, their
    certificates stay. Raises ConfigError with all that is wrong, or IOError if the file cannot be read.
    """
    values, problems = {}, []
    if path is not None:
        if lines is None:
            lines = _lines_of(path)
        values, problems = _collect(_read(path, lines))
        _include(path, values, problems)
    sections, texts = dict((section, {}) for section in SECTIONS), {}
    for option in SCHEMA:
        entry = values.get((option.section, option.name))
        texts[option.section, option.name] = _text(option, entry)
        try:
            sections[option.section][option.name] = _value(option, entry)
        except LineErrors as error:
            problems.extend(problem_at(line, entry, what) for line, what in error.found)
        except ValueError as error:
            problems.append(problem_at(entry.lines[0], entry, str(error)))
    users = routes = certificates = None
    if not problems:
        users = read_users(path, sections, problems)
        routes = read_routes(path, sections, problems)
        certificates = read_certificates(path, sections['tls'], values, running and running.certificates, problems)
        check_together(sections, values, problems)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.path != path, problem.path, problem.line)))
    if sections['proxy']['name'] == 'auto':
        sections['proxy']['name'] = automatic_pseudonym(sections['proxy']['listen'])
    return Settings(texts=texts, users=users, routes=routes, certificates=certificates, **dict(
        (name, _TYPES[name](**sections[name])) for name in SECTIONS))


def load_option(path, section, name):
    """Return the value of one option in the ini file at `path`, quickly, even if other options are wrong.

    `section`, `name`: of the option, native text. Raises ConfigError if this option is wrong, or IOError.
    """
    option = next(option for option in SCHEMA if (option.section, option.name) == (section, name))
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    try:
        return _value(option, entry)
    except ValueError as error:
        raise ConfigError([problem_at(entry.lines[0], entry, str(error))])


def _value(option, entry):
    if entry is None:
        return option.read(option.default)
    return option.read(entry if option.read in READ_ENTRIES else entry.value)


def _text(option, entry):
    """Return an option as the file has it, as a tuple of lines for people. `entry`: an ini.Entry, or None."""
    if entry is None:
        return (option.default,) if option.default else ()
    # Of a rule with its comment: clients that the rule refuses are told the comment.
    comments = option.read in READ_ENTRIES
    return tuple(rule_lines.mask(line.text) + ('  # ' + line.comment if line.comment and comments else '')
                 for line in entry.lines if line.text)


def where_set(path, section, name):
    """Return path:line of an option in an ini file; the path alone if the file does not have the option.

    `path`: of a file that was loaded before, native text; `section`, `name`: of the option, native text.
    """
    lines = lines_of(path, section, name)
    return '%s:%d' % (path, lines[0].number) if lines else path


def lines_of(path, section, name):
    """Return the ini.Lines of an option in an ini file as a tuple, which is empty if the file does not have it.

    `path`: of a file that was loaded before, native text; `section`, `name`: of the option, native text.
    """
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    return entry.lines if entry else ()


def _read(path, lines, shown=''):
    try:
        return ini.read(path, lines, shown)
    except ini.BadLine as error:
        raise ConfigError([Problem(path, error.number, '', '', str(error))])


def _lines_of(path):
    with io.open(path, 'rb') as opened:
        octets = opened.read()
    lines = (octets[len(codecs.BOM_UTF8):] if octets.startswith(codecs.BOM_UTF8) else octets).split(b'\n')
    for number, line in enumerate(lines, 1):
        try:
            line.decode('utf-8')
        except UnicodeDecodeError as error:
            what = 'not a text file in UTF-8: octet %d of the line is 0x%s' % (
                error.start + 1, compat.to_native(binascii.hexlify(line[error.start:error.start + 1])))
            raise ConfigError([Problem(path, number, '', '', what)])
    return lines


def _collect(entries):
    """Return ({(section, name): ini.Entry}, [Problem]) of ini.Entries."""
    known = dict(((option.section, option.name), option) for option in SCHEMA)
    values, problems = {}, []
    for entry in entries:
        section, name, what = entry.section, entry.name, None
        if section is None:
            what = 'this line is before the first [section]: move it into one'
        elif section not in SECTIONS:
            # Told once, and not for each line of the section.
            what = name is None and 'unknown section%s' % did_you_mean(section, SECTIONS)
        elif name is None:
            pass
        elif entry.value is None:
            what = 'invalid line: expected name = value' + _row_of(section, name)
        elif (section, name) not in known:
            what = 'unknown option%s' % (_row_of(section, name) or _meant(section, name))
        elif (section, name) in values:
            what = 'duplicate option: line %d has it already' % values[section, name].lines[0].number
        else:
            values[section, name] = entry
        if what:
            if name and ('://' in name or section == 'upstream' and '@' in name):   # a row of routes with a password?
                entry = entry._replace(name=name.partition(':')[0] + ':***')
            problems.append(problem_at(entry.lines[0], entry, what))
    return values, problems


def _include(path, values, problems):
    """Add to `values` the rules of the files of [access] include, and to `problems` what is wrong with these files.

    They come before the rules of the file itself, so that its last rule, for instance `deny any any`, stays the last.
    """
    entry = values.get(('access', 'include'))
    if not entry or not entry.value:
        return
    included = ()
    for pattern in ini.path_of(entry.value).split():
        folder = os.path.dirname(beside(path, pattern))
        try:
            names = fnmatch.filter(os.listdir(folder or '.'), os.path.basename(pattern))
        except (IOError, OSError) as error:
            problems.append(problem_at(entry.lines[0], entry, '%s: %s' % (folder, error.strerror)))
            continue
        for name in sorted(names):
            shown = os.path.join(os.path.dirname(pattern), name)
            included += _included_rules(os.path.join(folder, name), shown, entry, problems)
    own = values.get(('access', 'rules')) or ini.Entry('access', 'rules', '', ())
    values['access', 'rules'] = own._replace(lines=included + own.lines)
    if not any(line.text for line in included + own.lines):
        # Without rules everything is allowed: a misspelt pattern must not open the proxy.
        problems.append(problem_at(
            entry.lines[0], entry, 'no rules found, neither in these files nor in this one: check the pattern'))


def _included_rules(path, shown, entry, problems):
    try:
        values, found = _collect(_read(path, _lines_of(path), shown))
    except ConfigError as error:
        problems.extend(error.problems)
        return ()
    except (IOError, OSError) as error:
        problems.append(problem_at(entry.lines[0], entry, '%s: %s' % (path, error.strerror)))
        return ()
    problems.extend(found)
    rows = values.pop(('access', 'rules'), None)
    what = 'not allowed in an included file: it can have [access] rules only'
    problems.extend(problem_at(each.lines[0], each, what) for each in values.values())
    return rows.lines if rows else ()


def _row_of(section, name):
    """Return what to do if the name of an option is rather the beginning of a row, which has blanks; else ''."""
    rows = {'access': 'rules', 'upstream': 'routes'}.get(section)
    return ' (if this is a row of %s: rows are indented)' % rows if rows and (
        ' ' in name or name == 'environment') else ''


def _meant(section, name):
    elsewhere = [option.section for option in SCHEMA if option.name == name]
    here = [option.name for option in SCHEMA if option.section == section]
    if elsewhere:
        other = '[%s] %s' % (elsewhere[0], name)
        near = [each for each in here if name in (each + 's', each[:-1])]       # singular or plural: rather that one
        return ' in this section (did you mean %s?)' % ', or '.join(near + [other])
    return did_you_mean(name, here)
