"""The lines and the live view of a running study."""

from __future__ import annotations

from tests.helpers.ledger_records import record
from tests.helpers.statuses import status
from tests.stores import with_empty
from weightsearch.console import View
from weightsearch.search.ledger import Event


def test_a_trial_whose_term_has_no_pixels_is_warned_of_once(capsys):
    view = View(quiet=True)
    view.status = status(lambda: 0.0)
    for epoch in (1, 2):
        view(Event("epoch", 3, None, with_empty(record(epoch, 0.4), {"a": 5.0})))
    view(Event("epoch", 4, None, record(1, 0.4)))
    told = capsys.readouterr().err
    assert told.count("had no pixel to learn from") == 1
    assert "trial 3, epoch 1: the loss term 'a' had no pixel to learn from at 5 of 5 steps" in " ".join(told.split())
