"""What the demo prints: plain lines of at most 80 columns; colour and moving progress on a terminal only."""

import os
import sys
import time

TERMINAL = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
COLOUR = TERMINAL and "NO_COLOR" not in os.environ
UNICODE = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
YES, NO = ("✓", "✗") if UNICODE else ("ok", "WRONG")


def line(text=""):
    if not UNICODE:
        text = text.encode("ascii", "replace").decode()
    print(text, flush=True)


def title(text):
    line()
    line(_coloured("1", text))
    line()


def progress(text, steps):
    """Passes ``steps`` on, and shows how far they are: on a terminal as they come, elsewhere when all are done."""
    start = time.monotonic()
    for number, step in enumerate(steps, 1):
        if TERMINAL:
            print(f"\r  {text} {number}/{len(steps)}", end="", flush=True)
        yield step
    done = f"  {text}, {len(steps)} of {len(steps)}, {time.monotonic() - start:.1f} s"
    line(("\r" if TERMINAL else "") + done)


class Checks:
    """Prints each comparison with its mark, and remembers whether any was wrong."""

    def __init__(self):
        self.right = self.wrong = 0

    def __call__(self, right, text):
        if right:
            self.right += 1
        else:
            self.wrong += 1
        mark = _coloured("32", YES) if right else _coloured("31;1", NO)
        line(f"  {mark} {text}")


def _coloured(code, text):
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text
