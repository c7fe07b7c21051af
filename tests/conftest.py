"""Signals as a terminal would have them, however the tests were started."""

import signal

# Under nohup, or in a shell's background job, the commands under test would inherit that these are ignored; a handler,
# even one that does nothing, is not inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)
