"""A stop comes twice where a shell or make passes it on; the clean-up, and what is held back, see it once."""

import os
import signal
import subprocess
import sys

import pytest

from stages.runtime import signals
from stages.runtime.signals import HeldBack

CLEANS_UP = """
import os, signal, sys, time
from stages.runtime.signals import stop_cleanly_on_term
stop_cleanly_on_term()
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    os.kill(os.getpid(), signal.{second})
    time.sleep(0.1)
    print("cleaned up", flush=True)
"""


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP"), ("SIGHUP", "SIGTERM")])
def test_a_stop_that_is_passed_on_does_not_end_the_clean_up(first, second):
    words = [sys.executable, "-c", CLEANS_UP.format(second=second)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, first))
    told, _ = process.communicate(timeout=60)
    assert told == "cleaned up\n"
    assert process.returncode == 128 + getattr(signal, first)


def held_back(*numbers, fails=False):
    """Send signals to this process while they are held back; note by which of them it is then asked to stop."""
    with HeldBack() as stop:
        for number in numbers:
            os.kill(os.getpid(), number)
        REACHED.append(stop.number)
        if fails:
            raise ValueError


REACHED = []  # the signal that each block was asked to stop by, of those that came to their end


@pytest.fixture(autouse=True)
def nothing_reached():
    REACHED.clear()


def test_a_stop_that_is_passed_on_is_held_back_with_the_first_one():
    with pytest.raises(SystemExit) as caught:
        held_back(signal.SIGHUP, signal.SIGTERM)
    assert caught.value.code == 128 + signal.SIGHUP
    assert REACHED == [signal.SIGHUP]


def test_a_second_ctrl_c_stops_at_once():
    with pytest.raises(KeyboardInterrupt):
        held_back(signal.SIGINT, signal.SIGINT)
    assert REACHED == []


def test_a_second_stop_that_comes_later_stops_at_once(monkeypatch):
    monkeypatch.setattr(signals, "SAME_STOP_S", 0.0)
    with pytest.raises(SystemExit):
        held_back(signal.SIGTERM, signal.SIGTERM)
    assert REACHED == []


def test_a_stop_is_obeyed_where_what_it_waited_for_fails():
    with pytest.raises(KeyboardInterrupt):
        held_back(signal.SIGINT, fails=True)
    assert REACHED == [signal.SIGINT]
