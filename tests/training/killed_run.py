"""`ddpm-course` that dies of SIGKILL at its n-th touch of a file it saves: n, then its arguments.

Not a test: `test_killed.py` runs it in a process of its own.
"""

import os
import signal
import sys

from ddpm_course.cli.main import main


def dying(function, touches):
    def touch(*args, **options):
        next(touches)
        return function(*args, **options)

    return touch


def deadly(n):
    yield from range(n - 1)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    touches = deadly(int(sys.argv.pop(1)))
    os.fsync, os.replace = dying(os.fsync, touches), dying(os.replace, touches)
    main()
