"""Silence libraries that print while they load or convert, unless they fail."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings

# standard output, warnings and logging belong to the whole process: one thread at a time
# redirects them
_one_thread = threading.RLock()


@contextlib.contextmanager
def quiet():
    """Suppress output inside the block, from Python and from C++, and warnings.

    Only one thread at a time can be inside: a second thread waits, and the same thread can enter
    again. Output of other threads in this time is suppressed as well. An exception gets a note with
    the last suppressed lines.
    """
    with (
        _one_thread,
        tempfile.TemporaryFile("w+", errors="replace") as log,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        sys.stdout.flush()
        sys.stderr.flush()
        output = os.dup(1)
        errors = os.dup(2)
        disabled_level = logging.root.manager.disable
        try:
            logging.disable(logging.WARNING)  # existing handlers keep the old stream
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield
        except Exception as error:
            log.seek(0)
            error.add_note("Last lines of its output:\n" + "".join(log.readlines()[-5:]))
            raise
        finally:
            logging.disable(disabled_level)
            os.dup2(output, 1)
            os.dup2(errors, 2)
            os.close(output)
            os.close(errors)
