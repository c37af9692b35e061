"""Ctrl-C held back until no step can be torn apart. Read next: `chainrule/train/loop.py`."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from chainrule.compile import threads

STDERR = 2
END = 0  # the byte that ends the listener; signals count from 1


class Interrupt:
    """While it is entered, the first Ctrl-C only makes `check` raise; the second raises at once.

    A step that is torn apart would lose the memory it was given, so a stop lies between steps; a
    long step is left where it has written nothing yet. A program's own handler of the signal is
    left in place, and so are threads other than the main one, which no signal reaches. `again`
    says that the second came.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.again = False
        self.installed = False
        self.listener: Listener | None = None

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self.listener = Listener()
            self.installed = True
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.installed:
            assert self.listener is not None
            self.listener.close()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.installed = False
        threads.halt[0] = 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            self.again = True
            raise KeyboardInterrupt
        self.pressed = True
        # Not print: the signal may have come in the middle of one, whose lock is held then.
        with suppress(OSError):
            os.write(STDERR, b"\nCtrl-C: stopping after this step; once more stops at once\n")

    def check(self) -> None:
        """KeyboardInterrupt when Ctrl-C was pressed."""
        if self.pressed:
            threads.halt[0] = 0  # it was heard
            raise KeyboardInterrupt


class Listener:
    """Asks native code to stop as soon as a signal comes: Python hears of it only afterwards."""

    def __init__(self) -> None:
        self.ear, self.mouth = os.pipe()
        os.set_blocking(self.mouth, False)
        self.before = signal.set_wakeup_fd(self.mouth, warn_on_full_buffer=False)
        self.thread = threading.Thread(target=self._listen, daemon=True, name="chainrule-ctrl-c")
        self.thread.start()

    def _listen(self) -> None:
        while byte := os.read(self.ear, 1):
            if byte[0] == END:
                return
            if byte[0] == signal.SIGINT:
                threads.halt[0] = 1

    def close(self) -> None:
        """Listen no more."""
        signal.set_wakeup_fd(self.before)
        os.write(self.mouth, bytes([END]))
        self.thread.join()
        os.close(self.ear)
        os.close(self.mouth)
