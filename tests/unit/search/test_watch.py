from __future__ import annotations

import time

from weightsearch.search.watch import Watch


def test_a_silence_is_told_once_and_its_end_too():
    said: list[str] = []
    answers = False
    watch = Watch(
        lambda: answers,
        0.1,
        lambda seconds: said.append(f"away {seconds:.1f}"),
        lambda: said.append("back"),
        pause=0.01,
    )
    try:
        for expected, now in (
            (["away 0.1"], False),
            (["away 0.1", "back"], True),
            (["away 0.1", "back", "away 0.1"], False),
        ):
            answers = now
            end = time.monotonic() + 20
            while said != expected and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(0.2)
            assert said == expected
    finally:
        watch.close()
    assert not watch._thread.is_alive()


def test_what_answers_is_never_called_away():
    said: list[float] = []
    watch = Watch(lambda: True, 0.1, said.append, pause=0.01)
    time.sleep(0.5)
    watch.close()
    assert said == []
