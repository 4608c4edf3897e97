"""Patch first, as the program does; then make the package of this checkout importable."""
from gevent import monkey
monkey.patch_all()

import os       # noqa: E402
import sys      # noqa: E402

TESTS = os.path.dirname(os.path.abspath(__file__))
for folder in (TESTS, os.path.dirname(TESTS)):
    if folder not in sys.path:
        sys.path.insert(0, folder)
