"""How much memory there is, by files as the kernel has them."""
from __future__ import absolute_import, division, print_function

import os

import pytest
from processes import folder, write

from geproxy.limits import host_memory

MEMINFO = 'MemTotal:        8388608 kB\nMemFree:         1000 kB\n'
V2, V1 = '0::/system.slice/geproxy.service\n', '12:cpu,cpuacct:/x\n7:memory:/docker/0123\n'
GIB = 1 << 30


def found(files):
    """What for_connections makes of files {path: text}."""
    with folder() as root:
        for path, text in files.items():
            whole = os.path.join(root, path)
            if not os.path.isdir(os.path.dirname(whole)):
                os.makedirs(os.path.dirname(whole))
            write(whole, text)
        return host_memory.for_connections(root)


@pytest.mark.parametrize('files, octets', [
    ({}, GIB // 4),
    ({'proc/meminfo': 'nonsense'}, GIB // 4),
    ({'proc/meminfo': MEMINFO}, 2 * GIB),
    ({'proc/meminfo': MEMINFO, 'proc/self/cgroup': V2,
      'sys/fs/cgroup/system.slice/geproxy.service/memory.max': '536870912\n'}, GIB // 8),
    # a group around it has less
    ({'proc/meminfo': MEMINFO, 'proc/self/cgroup': V2,
      'sys/fs/cgroup/system.slice/geproxy.service/memory.max': 'max\n',
      'sys/fs/cgroup/system.slice/memory.max': '1073741824\n'}, GIB // 4),
    ({'proc/meminfo': MEMINFO, 'proc/self/cgroup': V1,
      'sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes': '536870912\n'}, GIB // 8),
    # within a container the path is the one on the host, which is not there
    ({'proc/meminfo': MEMINFO, 'proc/self/cgroup': V1, 'sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912\n'}, GIB // 8),
    # version 1 writes no limit as a large number
    ({'proc/meminfo': MEMINFO, 'proc/self/cgroup': V1,
      'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n'}, 2 * GIB),
    ({'proc/meminfo': 'MemTotal: 1024 kB\n'}, host_memory.LEAST),
])
def test_a_quarter_of_the_least_that_the_kernel_allows(files, octets):
    assert found(files) == octets


def test_something_is_known_of_this_host():
    assert host_memory.for_connections() >= host_memory.LEAST
