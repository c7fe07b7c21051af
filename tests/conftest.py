"""Restores the default handling of signals, however the tests were started."""

import signal
import sys

from charrnn.system import STOP_SIGNALS

if sys.platform == "win32":  # these tests send signals that Windows lacks, and kill processes in the manner of POSIX
    collect_ignore_glob = ["survival/*", "cli/test_signals.py", "engines/test_torchrun.py"]

# Under nohup, and in a background job of a shell, these signals are ignored, and child processes inherit that. They do
# not inherit a handler, so the signals get one that does nothing.
for number in STOP_SIGNALS:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
