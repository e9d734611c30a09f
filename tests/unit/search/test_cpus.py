"""A training that continues on another kind of CPU says so."""

from __future__ import annotations

import pytest
import torch

from weightsearch.cli import app
from weightsearch.runtime import environment
from weightsearch.search.cpus import FILE, CpuNote

CLOSED = ["loss.fractional.weight=1", "loss.consistency.weight=1", "analysis.budget=0", "train.epochs=2"]
WARNING = "the training continues on another kind of CPU (B; it began on A): results repeat bit for bit"


def test_the_kind_is_noted_once_and_compared_when_the_training_continues(tmp_path, monkeypatch):
    told: list[str] = []

    def note(kind: str, device: str = "cpu") -> CpuNote:
        monkeypatch.setattr(environment, "cpu", lambda: kind)
        return CpuNote(tmp_path, torch.device(device), told.append)

    note("A").resumed()  # of an older version, which noted nothing
    for _ in range(2):
        note("A").trained()
    for kind in "AB":
        continued = note(kind)
        continued.resumed()
        continued.trained()
    assert (tmp_path / FILE).read_text() == "A\n"
    note("C", "cuda").resumed()
    note("C", "cuda").trained()
    assert [text.partition(": ")[0] + ": results repeat bit for bit" for text in told] == [WARNING]
    note("B").trained()  # a new training
    assert (tmp_path / FILE).read_text() == "B\n"


def test_train_warns_when_it_continues(tiny, monkeypatch, capsys):
    class Stopped(BaseException):
        """The process ends after an epoch."""

    def train(kind: str) -> str:
        monkeypatch.setattr(environment, "cpu", lambda: kind)
        words = ["train", "tiny.yaml", "--out", "o", *(word for one in CLOSED for word in ("--set", one))]
        app(words, standalone_mode=False)
        return capsys.readouterr().err

    noted = CpuNote.trained

    def stop(note: CpuNote) -> None:
        noted(note)
        raise Stopped

    monkeypatch.setattr(CpuNote, "trained", stop)
    with pytest.raises(Stopped):
        train("A")
    monkeypatch.setattr(CpuNote, "trained", noted)
    assert WARNING in " ".join(train("B").split())
    assert "another kind" not in train("B")  # nothing is left to train
