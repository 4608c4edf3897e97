"""Send random, mutated messages to a real geproxy, with an origin that answers at random, too. Loopback only.

    python tests/fuzz/run.py                                    10,000 connections
    python tests/fuzz/run.py --connections 100000 --seed 7      the seed alone decides what is sent
    python tests/fuzz/run.py --only 4711 --seed 7               one connection again: what was sent, and what came

It fails if the error log has a traceback, if an exchange ends with an internal error, if the event loop was blocked, if a
file descriptor or a greenlet is left over, or if geproxy does not serve a normal request afterwards. The message names
the seed.
"""
from __future__ import absolute_import, division, print_function

from gevent import monkey
monkey.patch_all()

import argparse     # noqa: E402
import os           # noqa: E402
import random       # noqa: E402
import sys          # noqa: E402

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.dirname(TESTS)]

from fuzz.driver import Failed, Fuzz        # noqa: E402


def main(arguments=None):
    """Run the command line and return the exit code. `arguments`: native texts; None for those of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--connections', type=int, default=10000, metavar='N',
                        help='how many connections to make (default: 10000)')
    parser.add_argument('--seed', type=int, default=None, metavar='N', help='seed of the random numbers (default: a new one, it is printed)')
    parser.add_argument('--at-once', type=int, default=64, metavar='N', help='connections at the same time (default: 64)')
    parser.add_argument('--only', type=int, metavar='NUMBER', help='make only the connection with this number, and print it')
    options = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 31) if options.seed is None else options.seed
    print('fuzz: seed %d' % seed)
    sys.stdout.flush()
    try:
        fuzz = Fuzz(seed, options.at_once)
        print(fuzz.show(options.only) if options.only is not None else fuzz.run(options.connections))
    except Failed as error:
        sys.exit('fuzz: FAILED with seed %d: %s' % (seed, error))
    return 0


if __name__ == '__main__':
    sys.exit(main())
