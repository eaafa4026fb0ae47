"""A command in a pseudo-terminal, and what is to be seen on its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pyte

HISTORY = 2000


class Terminal:
    """A terminal in which a command runs in the foreground; use it in a ``with`` statement.

    Parameters
    ----------
    command, folder, environment
        What runs, where, and with which variables.
    columns, rows
        Size of the screen.

    Attributes
    ----------
    chunks
        When (s of the monotonic clock) and what the terminal was sent.
    """

    def __init__(self, command, folder, environment, columns=80, rows=24):
        self.screen = pyte.HistoryScreen(columns, rows, HISTORY, ratio=0.001)
        self._stream = pyte.ByteStream(self.screen)
        self.chunks = []
        self._master, slave = pty.openpty()
        self._set_size(columns, rows)
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.close()

    def close(self):
        """Close the terminal, as a user does who closes the window."""
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def _set_size(self, columns, rows):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows=24):
        """Change the size as a user does who pulls at the window: the kernel sends SIGWINCH.

        What was sent before is of the old size, also where this process is late.
        """
        self._read()
        self.screen.resize(rows, columns)
        self._set_size(columns, rows)

    def type(self, keys):
        os.write(self._master, keys)

    def until(self, condition, seconds=90):
        """Read until `condition()` holds or the command ends; say whether it holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.text()
            if not self._read():
                return condition()
        return True

    def wait(self, seconds=90):
        """Read until the command ends; return its exit code."""
        self.until(lambda: False, seconds)
        return self.process.wait(seconds)

    def _read(self):
        """Read what there is, to its end: half a picture is none; return False when the terminal is closed."""
        rest_s = 0.05
        while select.select([self._master], [], [], rest_s)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # all who had the terminal open are gone
                return False
            self.chunks.append((time.monotonic(), data))
            self._stream.feed(data)
            rest_s = 0.005
        return True

    def lines(self):
        """Return the lines on the screen, without those at the bottom that are empty."""
        return self.text_of(self.screen.display)

    def text_of(self, lines):
        lines = [line.rstrip() for line in lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def text(self):
        return "\n".join(self.lines())

    def all_lines(self):
        """Return also what has scrolled away."""
        width = self.screen.columns
        above = ["".join(line[column].data for column in range(width)) for line in self.screen.history.top]
        return self.text_of([*above, *self.screen.display])

    def bytes(self):
        return b"".join(data for _, data in self.chunks)
