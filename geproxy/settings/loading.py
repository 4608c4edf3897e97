"""The ini file: how it is loaded, checked and compared. Imported by nothing below. Its options are in schema."""
from __future__ import absolute_import, division, print_function

import binascii
import codecs
import collections
import fnmatch
import hashlib
import io
import os
import socket

from geproxy import compat
from geproxy.auth import users
from geproxy.settings import ini, rule_lines
from geproxy.settings.rule_files import LineErrors, beside
from geproxy.settings.schema import SCHEMA, SECTIONS, WHOLE
from geproxy.wording import did_you_mean

Problem = collections.namedtuple('Problem', 'path line section name what')


class ConfigError(Exception):
    """What is wrong with a file; `problems`: a list of Problem."""

    def __init__(self, problems):
        Exception.__init__(self, '\n'.join(show_problem(problem) for problem in problems))
        self.problems = problems


def show_problem(problem):
    """A Problem as one line: path:line: [section] name: what"""
    where = ' '.join(filter(None, (problem.section and '[%s]' % problem.section, problem.name)))
    place = problem.path + (':%d' % problem.line if problem.line else '')
    return '%s: %s%s' % (place, where and where + ': ', problem.what)


SHOWN_CHANGES = 50      # rules

_TYPES = dict((section, collections.namedtuple(
    section.capitalize(), [option.name for option in SCHEMA if option.section == section])) for section in SECTIONS)
# A field for each section; `texts`: {(section, name): a tuple of lines, as the file has them}, for people; `users`: a
# users.Users, or None.
Settings = collections.namedtuple('Settings', list(SECTIONS) + ['texts', 'users'])


# --- loading -------------------------------------------------------------------------------------------------------

def load(path, lines=None):
    """Settings from the ini file at `path`, or from `lines` of text; path None: the defaults. Raises ConfigError with
    all that is wrong, or IOError."""
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
            value = option.kind(option.default if entry is None else entry if option.kind in WHOLE else entry.value)
            sections[option.section][option.name] = value
        except LineErrors as error:
            problems.extend(_problem(line, entry, what) for line, what in error.found)
        except ValueError as error:
            problems.append(_problem(entry.lines[0], entry, str(error)))
    found = None if problems else _settle(path, sections, values, problems)
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.path != path, problem.path, problem.line)))
    settings = Settings(texts=texts, users=found, **dict((name, _TYPES[name](**sections[name])) for name in SECTIONS))
    if settings.proxy.name == 'auto':
        settings = settings._replace(proxy=settings.proxy._replace(name=_name_for(settings)))
    return settings


def glance(path, section, name):
    """The value of one option in the ini file at `path`, quickly, and whatever is wrong with the others. Raises
    ConfigError for what is wrong with this one, or IOError."""
    option = next(option for option in SCHEMA if (option.section, option.name) == (section, name))
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    try:
        return option.kind(option.default if entry is None else entry.value)
    except ValueError as error:
        raise ConfigError([_problem(entry.lines[0], entry, str(error))])


def _settle(path, sections, values, problems):
    """Add to `problems` what is wrong with options together -> the users.Users of [auth], or None."""
    if sections['limits']['quota'] and sections['limits']['quota_file'] == 'off':
        entry = values['limits', 'quota']
        problems.append(_problem(entry.lines[0], entry, 'it needs quota_file, or a restart would forgive everybody'))
    found = None
    people, groups = (name and beside(path, name) for name in (sections['auth']['users'], sections['auth']['groups']))
    if people:
        try:
            found = users.read(people, groups)
        except users.FilesError as error:
            problems.extend(Problem(place, number, '', '', what) for place, number, what in error.problems)
    for rule in sections['access']['rules']:
        if rule.who.users and not people or rule.who.groups and not (people and groups):
            entry = values['access', 'rules']
            line = next(line for line in entry.lines if line.place == rule.place)
            problems.append(_problem(line, entry, 'it names users or groups, and [auth] does not say who they are'))
    return found


def _text(option, entry):
    if entry is None:
        return (option.default,) if option.default else ()
    # With the comment of a rule, as clients that it refuses are told that.
    return tuple(rule_lines.mask(line.text) + ('  # ' + line.comment if line.comment and option.kind in WHOLE else '')
                 for line in entry.lines if line.text)


def place_of(path, section, name):
    """path:line of an option in a file that was loaded; the path alone if the option is not there."""
    entry = _collect(_read(path, _lines_of(path)))[0].get((section, name))
    return '%s:%d' % (path, entry.lines[0].number) if entry else path


def changes(old, new):
    """What differs between two Settings, as lines for people."""
    lines = []
    for option in SCHEMA:
        before, after = (settings.texts[option.section, option.name] for settings in (old, new))
        name = '[%s] %s' % (option.section, option.name)
        if option.kind in WHOLE:
            lines.extend('%s: %s' % (name, line) for line in _moved(before, after))
        elif before != after:
            restart = '' if option.live else ' (needs a restart)'
            lines.append('%s: %s -> %s%s' % (
                name, ' '.join(before) or 'nothing', ' '.join(after) or 'nothing', restart))
    return lines


def held(running, settings):
    """`settings`, but what takes a restart is as in `running`: as long as there was none, that is what holds."""
    automatic = settings.proxy.name == _name_for(settings)
    texts = dict(settings.texts)
    for option in SCHEMA:
        if not option.live:
            texts[option.section, option.name] = running.texts[option.section, option.name]
            section = getattr(settings, option.section)._replace(
                **{option.name: getattr(getattr(running, option.section), option.name)})
            settings = settings._replace(**{option.section: section})
    if automatic:
        settings = settings._replace(proxy=settings.proxy._replace(name=_name_for(settings)))
    return settings._replace(texts=texts)


def _moved(before, after):
    """What has come and gone among many lines; their order is compared only as a whole, for there may be 10,000."""
    kept, known = set(before), set(after)
    lines = ['-' + text for text in before if text not in known] + ['+' + text for text in after if text not in kept]
    if len(lines) > SHOWN_CHANGES:
        lines[SHOWN_CHANGES:] = ['and %d more' % (len(lines) - SHOWN_CHANGES)]
    if [text for text in before if text in known] != [text for text in after if text in kept]:
        lines.append('in another order')
    return lines


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


def _problem(line, entry, what):
    return Problem(line.path, line.number, entry.section or '', entry.name or '', what)


def _collect(entries):
    """-> ({(section, name): ini.Entry}, problems)"""
    known = dict(((option.section, option.name), option) for option in SCHEMA)
    values, problems = {}, []
    for entry in entries:
        section, name, what = entry.section, entry.name, None
        if section is None:
            what = 'this stands before the first [section]'
        elif section not in SECTIONS:
            # Said once, not for each line in it.
            what = name is None and 'there is no such section%s' % did_you_mean(section, SECTIONS)
        elif name is None:
            pass
        elif entry.value is None:
            what = 'this line is no name = value'
        elif (section, name) not in known:
            what = 'there is no such option%s' % _meant(section, name)
        elif (section, name) in values:
            what = 'it stands in line %d already' % values[section, name].lines[0].number
        else:
            values[section, name] = entry
        if what:
            problems.append(_problem(entry.lines[0], entry, what))
    return values, problems


def _include(path, values, problems):
    """Add to `values` what stands in the files of [access] include: their rules go before those of the file itself, so
    that what this ends with, say `deny any any`, stays the last."""
    entry = values.get(('access', 'include'))
    if not entry or not entry.value:
        return
    included = ()
    for pattern in ini.path_of(entry.value).split():
        folder = os.path.dirname(beside(path, pattern))
        try:
            names = fnmatch.filter(os.listdir(folder or '.'), os.path.basename(pattern))
        except (IOError, OSError) as error:
            problems.append(_problem(entry.lines[0], entry, '%s: %s' % (folder, error.strerror)))
            continue
        for name in sorted(names):
            shown = os.path.join(os.path.dirname(pattern), name)
            included += _included_rules(os.path.join(folder, name), shown, entry, problems)
    own = values.get(('access', 'rules')) or ini.Entry('access', 'rules', '', ())
    values['access', 'rules'] = own._replace(lines=included + own.lines)
    if not any(line.text for line in included + own.lines):
        # Without rules all is allowed: a misspelt pattern must not open the proxy.
        problems.append(_problem(entry.lines[0], entry, 'no rules came of it, and there are none here'))


def _included_rules(path, shown, entry, problems):
    try:
        values, found = _collect(_read(path, _lines_of(path), shown))
    except ConfigError as error:
        problems.extend(error.problems)
        return ()
    except (IOError, OSError) as error:
        problems.append(_problem(entry.lines[0], entry, '%s: %s' % (path, error.strerror)))
        return ()
    problems.extend(found)
    rows = values.pop(('access', 'rules'), None)
    problems.extend(_problem(each.lines[0], each, 'an included file has [access] rules only')
                    for each in values.values())
    return rows.lines if rows else ()


def _meant(section, name):
    elsewhere = [option.section for option in SCHEMA if option.name == name]
    if elsewhere:
        return ' here (did you mean [%s] %s?)' % (elsewhere[0], name)
    return did_you_mean(name, [option.name for option in SCHEMA if option.section == section])


def _name_for(settings):
    """The same for all processes of one listener on one host, and hardly ever that of another."""
    seed = '%s %r' % (socket.gethostname(), settings.proxy.listen)
    return 'geproxy-' + hashlib.sha1(seed.encode('utf-8')).hexdigest()[:6]
