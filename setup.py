"""How geproxy is installed, with any pip from 8 on and any setuptools from 0.9 on.

There is no setup.cfg, pyproject.toml or MANIFEST.in: old hosts read none of them, new ones need none of them.
Nothing of geproxy is imported here: this runs before gevent is there.
"""
from __future__ import absolute_import, division, print_function

import glob
import io
import os
import re
import sys

import setuptools

try:
    import pip
except ImportError:
    pip = None                  # built apart from it, as only newer ones do


def before(module, release):
    return [int(number) for number in re.findall(r'\d+', module.__version__)[:2]] < release


# CentOS 7 has setuptools 0.9.8, which fails on an environment marker; 36.2 was the first to take them in these lists.
MARKERS = not before(setuptools, [36, 2])
# RHEL 8 has pip 9, Debian 10 has 18.1: they take no wheel newer than manylinux1, and there is no compiler.
OLD_WHEELS = pip is not None and before(pip, [19])
# So requirements are said twice: for every Python with markers, and as a plain list for the one that runs this.
ONLY_HERE = sys.version_info < (3, 8) and (OLD_WHEELS or not MARKERS)

# The floor is the oldest that passed, on a host that has it already: pip takes the newest. (From 3.7 to 3.10 the floors
# only work with a greenlet of their time, which is what distributions pair them with.) .ci/run holds the first two.
# The cap is the last series with a wheel for that Python, since old hosts have no compiler.
GEVENT = (
    ('2.7', '>=1.1.2,<23'),     # EPEL 7 and Debian 9 have 1.1.2
    ('3.6', '>=1.2.2,<23'),     # Ubuntu 18.04; ssl recurses without end below (gevent issue 903)
    ('3.7', '>=1.3.7,<23'),     # Debian 10
    ('3.8', '>=1.5,<24.10'),
    ('3.9', '>=20.9,<26'),      # Debian 11; 26 says that it fits but has no wheel: minutes of compiling, or failure
    ('3.10', '>=21.8'),         # Ubuntu 22.04
    ('3.11', '>=22.10.1'),      # Debian 12 has 22.10.2
    ('3.12', '>=23.9.1'),
    ('3.13', '>=24.10.1'),      # Debian 13 has 24.11.1
    ('3.14', '>=25.8.1'),       # and later Pythons
)

# pip before 9 ignores which Pythons a release is for, and takes the newest: name the last ones for 2.7.
LAST_FOR_2_7 = ('greenlet<3', 'zope.event<5', 'zope.interface<6', 'setuptools<45')
# gevent needs it. From 7 on, a garbage collection during its import ends Python 3.8 by a segfault, about once in a
# thousand starts (zope.interface issue 340, which stays as it is).
FOR_3_8 = 'zope.interface<7; python_version == "3.8"'

# The extra for htpasswd files with bcrypt: for each Python the last series with a wheel. 3.1 was the first to compare
# by itself; for 2.7 it needs a cffi of its time, and that a pycparser.
BCRYPT = (
    ('python_version == "2.7"', 'bcrypt>=3.1,<3.2'),
    ('python_version == "2.7"', 'cffi<1.16'),
    ('python_version == "2.7"', 'pycparser<2.22'),
    ('python_version == "3.6"', 'bcrypt>=3.1,<4.1'),
    ('python_version == "3.7"', 'bcrypt>=3.1,<4.3'),
    ('python_version >= "3.8"', 'bcrypt>=3.1'),
)


def version():
    with io.open('geproxy/__init__.py', encoding='ascii') as source:
        return str(re.search(r"^__version__ = '(.*)'", source.read(), re.MULTILINE).group(1))


def requirements():
    if ONLY_HERE:
        # The last with manylinux1 wheels, and the last whose sources an old setuptools can read. This greenlet,
        # since with later ones this gevent crashes on 3.7.
        bounds = dict(GEVENT)['%d.%d' % sys.version_info[:2]]
        return ['gevent%s,<1.5' % bounds, 'greenlet<0.4.16'] + ['monotonic>=1.0'] * (sys.version_info[0] == 2)
    lines = ['gevent%s; python_version == "%s"' % (bounds, python) for python, bounds in GEVENT[:-1]]
    lines.append('gevent%s; python_version >= "%s"' % (GEVENT[-1][1], GEVENT[-1][0]))
    lines.append('monotonic>=1.0; python_version == "2.7"')     # a clock nobody can set back: time has one from 3.3 on
    return lines + ['%s; python_version == "2.7"' % one for one in LAST_FOR_2_7] + [FOR_3_8]


def bcrypt_requirements():
    if ONLY_HERE:
        return ['bcrypt>=3.1,<3.2', 'cffi<1.14.6', 'pycparser<2.22']         # the last with manylinux1 wheels
    return ['%s; %s' % (line, marker) for marker, line in BCRYPT]


def extras():
    found = {'bcrypt': bcrypt_requirements()}
    if MARKERS:
        found['test'] = test_requirements()
    return found


def test_requirements():
    """What tests/requirements.txt pins; nothing in a source archive, which has no tests either."""
    if not os.path.exists('tests/requirements.txt'):
        return []
    with io.open('tests/requirements.txt', encoding='ascii') as lines:
        return [str(line.strip()) for line in lines if line.strip() and not line.startswith('#')]


setuptools.setup(
    name='geproxy',
    version=version(),
    description='A correct HTTP forward proxy on gevent, for every Python from 2.7 on',
    author='The geproxy authors',
    license='MIT',
    packages=['geproxy'] + ['geproxy.' + name for name in setuptools.find_packages('geproxy')],
    # The manual, for `geproxy help`.
    package_data={'geproxy': ['manual/*.md']},
    # Not package data: these are to be copied and edited, so they go where an administrator looks.
    data_files=[('share/geproxy/conf', sorted(glob.glob('conf/*')))],
    entry_points={'console_scripts': ['geproxy = geproxy.__main__:main']},
    python_requires='>=2.7, !=3.0.*, !=3.1.*, !=3.2.*, !=3.3.*, !=3.4.*, !=3.5.*',
    install_requires=requirements(),
    extras_require=extras(),
    # One wheel for all, unless its requirements are for one. ("universal" says the same, but is on its way out.)
    options={} if ONLY_HERE else {'bdist_wheel': {'python_tag': 'py2.py3'}},
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: No Input/Output (Daemon)',
        'Intended Audience :: Developers',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 2.7',
        'Programming Language :: Python :: 3',
    ] + ['Programming Language :: Python :: ' + python for python, bounds in GEVENT[1:]] + [
        'Programming Language :: Python :: Implementation :: CPython',
        'Topic :: Internet :: Proxy Servers',
    ],
)
