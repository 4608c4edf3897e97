"""Finds how much memory the control group or the host allows this process to use. Reads files of the kernel.

If the kernel does not say it, a default is used.
"""
from __future__ import absolute_import, division, print_function

import os
import re

UNLIMITED = 1 << 50         # octets: control groups (version 1) write "no limit" as a number near 2**63
DEFAULT = 1 << 30           # octets, where the kernel does not say how much there is
PART = 4                    # connections may hold one part of so many: the rest is for the interpreter and the kernel
LEAST = 16 << 20            # octets


def for_connections(root='/'):
    """Return how many octets all connections together may hold by default: a quarter of the memory that there is.

    `root`: the folder in which /proc and /sys are looked for, native text.
    """
    found = [size for size in [_total(root)] + _group_limits(root) if size]
    return max(LEAST, (min(found) if found else DEFAULT) // PART)


def _total(root):
    """Return the memory of the host, in octets, or 0 if the kernel does not say."""
    match = re.search(r'(?m)^MemTotal:\s+([0-9]+) kB', _read(os.path.join(root, 'proc/meminfo')))
    return int(match.group(1)) * 1024 if match else 0


def _group_limits(root):
    """Return the limits of the control group of this process, and of the groups around it, in octets."""
    limits = []
    for line in _read(os.path.join(root, 'proc/self/cgroup')).split('\n'):
        _number, _colon, rest = line.partition(':')
        controllers, _colon, path = rest.partition(':')
        if not controllers:                                     # version 2
            limits += _limits_along(os.path.join(root, 'sys/fs/cgroup'), path, 'memory.max')
        elif 'memory' in controllers.split(','):                # version 1
            limits += _limits_along(os.path.join(root, 'sys/fs/cgroup/memory'), path, 'memory.limit_in_bytes')
    return limits


def _limits_along(top, path, name):
    """Return the limits, in octets, in the file `name` of the group at `path` and of each group around it, up to `top`.

    In a container the path may be that of the host, which does not exist there; then `top` is the group of the
    container.
    """
    limits, folder = [], path.strip('/')
    while True:
        text = _read(os.path.join(top, folder, name)).strip()
        if text.isdigit() and int(text) < UNLIMITED:
            limits.append(int(text))
        if not folder:
            return limits
        folder = os.path.dirname(folder)


def _read(path):
    """Return the text of a file, or '' if it cannot be read."""
    try:
        with open(path) as opened:
            return opened.read()
    except (IOError, OSError):
        return ''
