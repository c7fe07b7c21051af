"""Restores the default handling of signals, however the tests were started."""

import signal

# Under nohup, and in a background job of a shell, these signals are ignored, and child processes inherit that. They do
# not inherit a handler, so the signals get one that does nothing.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
