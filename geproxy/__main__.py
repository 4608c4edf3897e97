"""The entry: patch first, then everything else. Only signals cannot wait for that."""
from __future__ import absolute_import, division, print_function

import os
import sys


def leave_current_folder():
    """Import nothing more from the current folder, unless geproxy itself comes from there.

    `python -m` puts it first: if root starts an installed geproxy in a folder of somebody else, a gevent.py there would
    run as root."""
    if getattr(sys.flags, 'safe_path', False) or not sys.path:
        return                          # Python was told so (-P, -I), and the first is none that it put there
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:                     # the folder is gone
        here = ''
    if here != home and (sys.path[0] == '' or os.path.realpath(sys.path[0]) == here):
        del sys.path[0]


leave_current_folder()

from geproxy.service import early_signals       # noqa: E402

# (from this Python on, the oldest gevent that runs there). Older ones import, and then crash or hang. setup.py asks for
# the same; here it is for hosts where pip had no say.
FLOORS = (((3, 14), (25, 8, 1)), ((3, 13), (24, 10, 1)), ((3, 12), (23, 9, 1)), ((3, 11), (22, 10, 1)),
          ((3, 10), (21, 8)), ((3, 6), (1, 2, 2)), ((2, 7), (1, 1)))
FOLDERS = ('/usr/bin', '/usr/local/bin')        # where the Pythons of distributions are


def complaint(python, gevent):
    """What is wrong with a gevent on a Python, versions as tuples and text, as a sentence; '' if nothing is."""
    floor = next((floor for since, floor in FLOORS if python[:2] >= since), None)
    if floor is None:
        return 'Python %d.%d is not supported: it takes 2.7, or 3.6 and later' % python[:2]
    if tuple(int(number) for number in gevent.split('.')[:2] if number.isdigit()) < floor[:2]:
        return 'gevent %s is too old for Python %d.%d: it takes %s or later' % (
            gevent, python[0], python[1], '.'.join(str(number) for number in floor))
    return ''


def hold_standard_descriptors():
    """Open what is closed of descriptors 0 to 2, so that what is written to them goes nowhere, and not to whatever
    file or client would get that number."""
    try:
        descriptor = os.open(os.devnull, os.O_RDWR)
    except OSError as error:
        sys.exit('geproxy: %s cannot be opened, which every program needs: %s' % (os.devnull, error.strerror))
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def other_python():
    """The path of another Python of this host that has gevent; '' if there is none."""
    import subprocess               # only here, as it is not patched yet
    for folder in FOLDERS:
        for name in ('python3', 'python', 'python2'):
            path = os.path.join(folder, name)
            if os.path.exists(path) and os.path.realpath(path) != os.path.realpath(sys.executable):
                # Not from the current folder, where a gevent.py might be anybody's.
                asked = subprocess.Popen([path, '-E', '-c', 'import gevent.monkey'], cwd='/', stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                asked.communicate()
                if asked.returncode == 0:
                    return path
    return ''


def patch():
    """Patch the standard library; one readable line and exit code 1 if there is no gevent that can."""
    # Greenlets that remember where they were spawned cost twice as much to spawn: 50 instead of 27 us (3.13).
    os.environ.setdefault('GEVENT_TRACK_GREENLET_TREE', '0')
    try:
        import gevent
        from gevent import monkey
        wrong = complaint(sys.version_info, gevent.__version__)     # compat cannot be asked: it needs gevent, too
    except Exception as error:      # a missing one, or any way in which a binary can fail to fit
        wrong = 'this Python (%s) has no gevent that works: %s' % (sys.version.split()[0], error)
    if wrong:
        other = other_python()
        if other:
            sys.exit('geproxy: %s\nTry: %s, which has one, in the place of %s' % (wrong, other, sys.executable))
        sys.exit('geproxy: %s\nTry: %s -m pip install -U --prefer-binary gevent, or the package %s of '
                 'your distribution' % (
                     wrong, sys.executable, 'python-gevent' if sys.version_info < (3,) else 'python3-gevent'))
    monkey.patch_all()


early_signals.hold()
hold_standard_descriptors()
patch()


def main():
    """Run the command line; the exit code."""
    from geproxy import cli         # only now: nothing may be imported before patching
    return cli.main()


if __name__ == '__main__':
    sys.exit(main())
