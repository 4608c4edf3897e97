"""README.md and the manual say what the code does: generated texts are those of today, links lead somewhere, commands exist."""
from __future__ import absolute_import, division, print_function

import glob
import io
import os
import re

import pytest

from geproxy import cli
from geproxy.commands import chapters, docs
from geproxy.settings import loading

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INI = os.path.join(TOP, 'conf', 'proxy.ini')
EXAMPLES = sorted(glob.glob(os.path.join(TOP, 'conf', '*.ini')))
README = os.path.join(TOP, 'README.md')
DOCUMENTS = docs.documents()
NAMES = [os.path.basename(path) for path in DOCUMENTS]
MOST_LINES_OF_THE_README = 200


def read(path):
    """Return the text of a file, Unicode."""
    with io.open(path, encoding='utf-8', newline='') as opened:
        return opened.read()


def everything():
    """Return the text of README.md and of the whole manual."""
    return '\n'.join(read(path) for path in DOCUMENTS)


def prose(path):
    """Return a document without its fenced code."""
    return re.sub(r'(?ms)^```.*?^```$', '', read(path))


def anchors(path):
    """Return the anchors of the headings of a document, as GitHub makes them."""
    return set(re.sub(r'[^\w\- ]', '', heading.lower()).strip().replace(' ', '-')
               for heading in re.findall(r'(?m)^#+ (.*)$', prose(path)))


def test_the_ini_file_is_what_the_code_prints():
    assert read(INI) == docs.example(), 'run: python -m geproxy --example > conf/proxy.ini'


def test_the_ini_file_changes_nothing():
    assert loading.load(INI) == loading.load(None)


@pytest.mark.parametrize('path', EXAMPLES, ids=os.path.basename)
def test_every_example_loads_and_is_documented(path):
    loading.load(path)
    assert read(path).startswith('# %s: ' % os.path.basename(path)) or path == INI
    assert '`conf/%s`' % os.path.basename(path) in everything()


@pytest.mark.parametrize('path', DOCUMENTS, ids=NAMES)
def test_generated_texts_are_those_of_the_code(path):
    assert read(path) == docs.refreshed(read(path)), 'run: python -m geproxy.commands.docs'


@pytest.mark.parametrize('mark', [mark for mark, _generate in docs.GENERATED])
def test_each_generated_text_is_somewhere_once(mark):
    assert len(re.findall(r'<!-- %s -->\n(?:(?!<!-- ).*\n)*<!-- end -->' % mark, everything())) == 1


def test_the_readme_is_short():
    assert len(read(README).split('\n')) - 1 < MOST_LINES_OF_THE_README


# --- the manual

def test_every_file_of_the_manual_is_a_chapter_or_the_contents():
    assert sorted(os.listdir(chapters.FOLDER)) == sorted(name + '.md' for name in chapters.NAMES + (chapters.CONTENTS,))


@pytest.mark.parametrize('name', chapters.NAMES)
def test_a_chapter_begins_with_its_title_and_one_sentence(name):
    paragraphs = read(chapters.path(name)).split('\n\n')
    assert re.match(r'# [^\n]+\Z', paragraphs[0])
    assert paragraphs[1].endswith('.') and len(paragraphs[1]) <= 120 and not re.search('[\n`*|]', paragraphs[1])


@pytest.mark.parametrize('path', DOCUMENTS, ids=NAMES)
def test_every_link_leads_somewhere(path):
    targets = re.findall(r'\]\(([^)]*)\)', prose(path))
    for target in targets:
        name, _hash, anchor = target.partition('#')
        if not name.startswith('https://'):
            there = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            assert there in DOCUMENTS, target
            assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize('path', DOCUMENTS, ids=NAMES)
def test_every_file_that_is_named_is_there(path):
    for name in re.findall(r'`((?:conf|tests|geproxy|\.ci)/[^`* ]*)`', prose(path)):
        assert os.path.exists(os.path.join(TOP, name)), name


@pytest.mark.parametrize('path', DOCUMENTS, ids=NAMES)
def test_every_setting_that_is_named_is_an_option(path):
    options = set('[%s] %s' % (option.section, option.name) for option in docs.schema.SCHEMA)
    named = re.findall(r'`(\[\w+\] \w+)(?: = [^`]*)?`', prose(path).replace('\n', ' '))
    assert set(named) <= options


def commands():
    """Return the command lines of geproxy in README.md and the manual, as (document, its words)."""
    found = []
    for path in DOCUMENTS:
        blocks = re.findall(r'(?ms)^```(?:sh|console)\n(.*?)^```$', read(path))
        lines = '\n'.join(blocks).replace('\\\n', ' ').split('\n') + re.findall(r'`([^`\n]+)`', prose(path).replace('\n', ' '))
        for line in lines:
            for part in re.split(r' && | \|\| |; | [|>] ', line.partition(' # ')[0]):
                match = re.match(r"(?:\$ )?(?:\S*python[\d.]*(?: -\w)? -m )geproxy( .*)?\Z", part.strip())
                if match:
                    found.append((os.path.basename(path), (match.group(1) or '').split()))
    return found


def usage(command, capsys):
    """Return the text of --help of a command; '': of the program."""
    with pytest.raises(SystemExit):
        cli.main([command, '--help'] if command else ['--help'])
    return capsys.readouterr()[0]


def test_every_command_that_is_shown_exists_with_its_options(capsys):
    lines = commands()
    assert len(lines) > 30
    for name, words in lines:
        command = words.pop(0) if words and not words[0].startswith('-') else ''
        assert not command or command in cli.COMMANDS, (name, command)
        known = set(re.findall(r'(?<![\w-])--?[a-z][\w-]*', usage(command, capsys)))
        for word in words:
            assert not re.match(r'--?[a-z]', word) or word in known, (name, command, word)


def test_the_readme_lists_every_command():
    table = re.search(r'(?s)\| command \|.*?\n\n', read(README)).group()
    assert sorted(re.findall(r'(?m)^\| `(\w+)', table)) == sorted(cli.COMMANDS)


def test_help_of_the_program_names_every_command(capsys):
    shown = usage('', capsys)
    for command in cli.COMMANDS:
        assert re.search(r'\b%s\b' % command, shown), command


# --- several machines

def measured(scene):
    """Return what the second table of the chapter "speed" has for geproxy in a scene."""
    return float(re.search(r'(?m)^\| %s \| \w+ \| \**([\d.]+)' % re.escape(scene), read(chapters.path('speed'))).group(1))


def number(pattern):
    """Return a number in the chapter "machines", which may have commas for thousands."""
    return float(re.search(pattern, read(chapters.path('machines'))).group(1).replace(',', ''))


def test_the_sizing_arithmetic_follows_from_what_was_measured():
    requests, tunnels = number(r'handles ([\d,]+) small requests'), number(r'sets up ([\d,]+)\s+tunnels')
    octets, memory = number(r'passes ([\d.]+) GB per second'), number(r'One idle tunnel takes (\d+) KiB')
    # Rounded down, by no more than a fifth.
    for said, true in ((requests, 1e6 / measured('1 KiB GET, 32 kept-alive clients')),
                       (tunnels, 1e6 / measured('CONNECT, one GET, close')),
                       (octets, 1.0737e3 / measured('body of 1 GiB'))):
        assert 0.75 * true < said < true
    assert memory == measured('memory of an idle tunnel')
    example = re.search(r'(?s)An example: .*\* Result', read(chapters.path('machines'))).group()
    cores = float(re.search(r'= ([\d.]+) cores', example).group(1))
    assert cores == round(8000 / requests + 2000 / tunnels, 1) and '%d processes' % -(-2 * cores // 1) in example
    assert '= %d MiB' % round(30000 * memory / 1024, -1) in example
    tunnels_each = 30000 // int(-(-2 * cores // 1))
    assert number(r'Descriptors: ([\d,]+) tunnels') == tunnels_each
    assert number(r'process take ([\d,]+) descriptors') == 2 * tunnels_each < 65536


# --- what the program prints

def test_the_decision_that_the_manual_shows_is_the_one_of_today(capsys):
    command, shown = re.search(r'(?s)\$ python -m geproxy (why [^\n]*)\n(.*?)```', read(chapters.path('rules'))).groups()
    words = command.replace('conf/', os.path.join(TOP, 'conf') + os.sep).split()
    assert cli.main([str(word) for word in words]) == 0
    assert capsys.readouterr()[0] == shown


def test_the_readme_shows_what_a_check_says(capsys):
    command, shown = re.search(r'\$ python -m geproxy (--check .*)\n(.*\n)```', read(README)).groups()
    assert cli.main([str(word) for word in command.replace('conf/', os.path.join(TOP, 'conf') + os.sep).split()]) == 0
    assert capsys.readouterr()[0].replace(os.path.join(TOP, 'conf'), 'conf') == shown
