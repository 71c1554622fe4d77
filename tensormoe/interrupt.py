"""Ctrl-C ends the command line with status 130 and no traceback, even while its packages are imported.

`tensormoe` imports this first. In a program that imports `tensormoe`, nothing is changed.
"""

import os
import signal
import sys

# As a shell counts: 128 and the number of the signal.
STATUS = 128 + signal.SIGINT
_SHOW_CURSOR = b"\x1b[?25h"


def is_command() -> bool:
    """Whether this process is `tensormoe` or `python -m tensormoe`."""
    first = sys.argv[0] if getattr(sys, "argv", None) else ""
    # While Python looks for the module of -m, that is the first word.
    by_module = first == "-m" and "-m tensormoe" in " ".join(sys.orig_argv)
    return by_module or os.path.splitext(os.path.basename(first))[0] == "tensormoe"


def _end(number: int, frame: object) -> None:
    """End the process here: whatever is running might catch an exception, or print it."""
    try:
        sys.stdout.flush()
        if sys.stdout.isatty():  # where the demo's progress bars hide the cursor
            os.write(sys.stdout.fileno(), _SHOW_CURSOR)
    finally:
        os._exit(STATUS)


def raise_it() -> None:
    """From now on, Ctrl-C raises KeyboardInterrupt in the command, too, as in any program."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# A process in the background ignores Ctrl-C, and goes on doing so.
if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
