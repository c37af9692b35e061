"""Ctrl-C held back until the step that runs is over. Read next: `chainrule/train/loop.py`."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

STDERR = 2


class Interrupt:
    """While it is entered, the first Ctrl-C only makes `check` raise; the second raises at once.

    A step that is torn apart would lose the memory it was given, so a stop lies between steps. A
    program's own handler of the signal is left in place, and so are threads other than the main
    one, which no signal reaches. `again` says that the second came.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.again = False
        self.installed = False

    def __enter__(self) -> Interrupt:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self.installed = True
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self.installed = False

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
            raise KeyboardInterrupt
