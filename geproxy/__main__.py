"""The entry point: prepare the process, patch the standard library, then run the command line.

Importing this module changes nothing; only `main` does. It imports what it needs while it runs, because the order
matters: signals are held before anything slow happens, and nothing of ours that uses sockets is imported unpatched.
"""
from __future__ import absolute_import, division, print_function

import os
import sys

# (from this Python on, the oldest gevent that works there). Older ones can be imported, but crash or hang later.
# setup.py asks for the same; this table is for hosts where geproxy was installed without pip.
FLOORS = (((3, 14), (25, 8, 1)), ((3, 13), (24, 10, 1)), ((3, 12), (23, 9, 1)), ((3, 11), (22, 10, 1)),
          ((3, 10), (21, 8)), ((3, 6), (1, 2, 2)), ((2, 7), (1, 1)))
FOLDERS = ('/usr/bin', '/usr/local/bin')        # where distributions install Python


def main():
    """Run geproxy with the arguments of this process.

    Returns the exit code. Raises SystemExit with a message if there is no gevent that works.
    """
    leave_current_folder()
    from geproxy.service import early_signals
    early_signals.hold()
    hold_standard_descriptors()
    patch()
    from geproxy import cli
    return cli.main()


def leave_current_folder():
    """Remove the current folder from the import path, unless geproxy itself was imported from there.

    `python -m` puts that folder first. If root starts an installed geproxy in a folder that another user can write to,
    a gevent.py in that folder would run as root.
    """
    if getattr(sys.flags, 'safe_path', False) or not sys.path:
        return                          # with -P or -I Python does not put the current folder there
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:                     # the current folder was deleted
        here = ''
    if here != home and (sys.path[0] == '' or os.path.realpath(sys.path[0]) == here):
        del sys.path[0]


def hold_standard_descriptors():
    """Open /dev/null for each of descriptors 0 to 2 that is closed.

    Otherwise the next file or connection would get that number, and output for the terminal would go into it. Raises
    SystemExit if /dev/null cannot be opened.
    """
    try:
        descriptor = os.open(os.devnull, os.O_RDWR)
    except OSError as error:
        sys.exit('geproxy: cannot open %s, which every program needs: %s' % (os.devnull, error.strerror))
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def patch():
    """Patch the standard library. Raises SystemExit with a message of one or two lines if no gevent here can do it."""
    # A greenlet that remembers where it was spawned costs twice as much to spawn: 50 instead of 27 us (3.13).
    os.environ.setdefault('GEVENT_TRACK_GREENLET_TREE', '0')
    try:
        import gevent
        from gevent import monkey
        wrong = complaint(sys.version_info, gevent.__version__)     # not in compat, which imports gevent
    except Exception as error:      # gevent is missing, or its binary does not fit; that can fail in any way
        wrong = 'this Python (%s) has no gevent that works: %s' % (sys.version.split()[0], error)
    if wrong:
        sys.exit('geproxy: %s\nTry: %s' % (wrong, remedy()))
    monkey.patch_all()


def complaint(python, gevent):
    """Return what is wrong with a gevent on a Python, as a sentence; '' if nothing is.

    `python`: a tuple like sys.version_info; `gevent`: its version as native text.
    """
    floor = next((floor for since, floor in FLOORS if python[:2] >= since), None)
    if floor is None:
        return 'Python %d.%d is not supported: geproxy needs 2.7, or 3.6 or later' % python[:2]
    if tuple(int(number) for number in gevent.split('.')[:2] if number.isdigit()) < floor[:2]:
        return 'gevent %s is too old for Python %d.%d: geproxy needs %s or later' % (
            gevent, python[0], python[1], '.'.join(str(number) for number in floor))
    return ''


def remedy():
    """Return what the operator can do about a missing gevent, as native text."""
    other = other_python()
    if other:
        return '%s instead of %s: it has gevent' % (other, sys.executable)
    return '%s -m pip install -U --prefer-binary gevent, or install the package %s of your distribution' % (
        sys.executable, 'python-gevent' if sys.version_info < (3,) else 'python3-gevent')


def other_python():
    """Return the path of another Python on this host that has gevent; '' if there is none."""
    import subprocess               # only here: `patch` has failed, so this is the unpatched one
    for folder in FOLDERS:
        for name in ('python3', 'python', 'python2'):
            path = os.path.join(folder, name)
            if os.path.exists(path) and os.path.realpath(path) != os.path.realpath(sys.executable):
                # Not in the current folder: anybody could have put a gevent.py there.
                asked = subprocess.Popen([path, '-E', '-c', 'import gevent.monkey'], cwd='/', stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                asked.communicate()
                if asked.returncode == 0:
                    return path
    return ''


if __name__ == '__main__':
    sys.exit(main())
