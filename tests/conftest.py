"""A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests of Ctrl-C would wait for ever."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
