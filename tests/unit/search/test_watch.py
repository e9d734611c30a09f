from __future__ import annotations

import time

from weightsearch.search.watch import Watch


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


def test_each_silence_is_told_once():
    said: list[float] = []
    answers = False
    watch = Watch(lambda: answers, 0.1, said.append, pause=0.01)
    try:
        until(lambda: said)
        time.sleep(0.3)
        assert len(said) == 1
        assert said[0] >= 0.1
        answers = True
        time.sleep(0.3)
        assert len(said) == 1
        answers = False
        until(lambda: len(said) == 2)
        assert len(said) == 2
    finally:
        watch.close()
    assert not watch._thread.is_alive()


def test_what_answers_is_never_called_away():
    said: list[float] = []
    watch = Watch(lambda: True, 0.1, said.append, pause=0.01)
    time.sleep(0.5)
    watch.close()
    assert said == []
