"""Signals that stop a command."""

from __future__ import annotations

import os
import signal

import pytest

from weightsearch.search.connection import preserved_signals
from weightsearch.search.stopping import stoppable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_stops_as_ctrl_c_does(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stoppable() as stop:
        os.kill(os.getpid(), number)
    assert stop.status == 128 + number
    assert signal.getsignal(number) == before
    with stoppable() as stop:
        assert stop.status == 130  # that of Ctrl-C


def test_what_is_ignored_stays_so():
    """As `nohup` asks for."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_ray_puts_in_its_place_does_not_stay():
    with stoppable():
        with preserved_signals():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
