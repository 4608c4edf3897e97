"""The entry: patch first, then everything else."""
from __future__ import absolute_import, division, print_function

import sys

try:
    from gevent import monkey
except ImportError as error:
    sys.exit('geproxy: needs gevent, which this Python (%s) does not have: %s\n'
             'Try: %s -m pip install --prefer-binary gevent   or the package python3-gevent of your distribution' % (
                 sys.version.split()[0], error, sys.executable))
monkey.patch_all()


def main():
    """Run the command line; the exit code."""
    from geproxy import cli         # only now: nothing may be imported before patching
    return cli.main()


if __name__ == '__main__':
    sys.exit(main())
