from __future__ import annotations

import pytest

from weightsearch.config.schema import Split
from weightsearch.data.source import Video
from weightsearch.data.split import cut, left_over
from weightsearch.errors import DataError


def test_cut_by_position_with_a_gap():
    found = cut([Video("a", 100)], Split(train=0.6, validation=0.2, test=0.2, gap=5))
    assert found["train"] == list(range(60))
    assert found["validation"] == list(range(65, 80))
    assert found["test"] == list(range(85, 100))


def test_every_video_is_cut_at_the_same_fractions():
    found = cut([Video("a", 20), Video("b", 10)], Split(train=0.5, validation=0.3, test=0.2, gap=1))
    assert found["train"] == [*range(10), *range(20, 25)]
    assert found["validation"] == [*range(11, 16), *range(26, 28)]
    assert found["test"] == [*range(17, 20), 29]


def test_no_frame_is_in_two_splits_and_neighbours_are_apart():
    found = cut([Video(str(n), 7 * n + 20) for n in range(5)], Split(gap=3))
    everything = [index for part in found.values() for index in part]
    assert len(everything) == len(set(everything))
    for one, other in (("train", "validation"), ("validation", "test"), ("train", "test")):
        assert min(abs(a - b) for a in found[one] for b in found[other]) >= 1
    first = cut([Video("only", 60)], Split(gap=3))
    assert min(first["validation"]) - max(first["train"]) == 4


def test_a_split_without_frames_is_an_error():
    with pytest.raises(
        DataError, match=r"validation gets no frame: 0.15 of the longest video \(10 frames\) less a gap"
    ):
        cut([Video("a", 10)], Split(gap=4))


def test_a_test_split_of_nothing_is_allowed_on_purpose():
    assert cut([Video("a", 20)], Split(train=0.8, validation=0.2, test=0, gap=0))["test"] == []


def test_a_data_set_s_own_splits_are_taken_whole():
    videos = [Video("a", 10, "train"), Video("b", 4, "validation"), Video("c", 3, "test")]
    found = cut(videos, Split())
    assert found == {"train": list(range(10)), "validation": list(range(10, 14)), "test": [14, 15, 16]}


def test_without_frames_to_validate_on_the_end_of_the_training_video_is_left_for_it():
    """In the proportion of train to validation, a gap between them; the test frames are the data set's own."""
    videos = [Video("a", 100, "train"), Video("c", 7, "test")]
    found = cut(videos, Split(train=0.6, validation=0.2, test=0.2, gap=3))
    assert found["train"] == list(range(75))
    assert found["validation"] == list(range(78, 100))
    assert found["test"] == list(range(100, 107))


def test_a_split_that_is_not_needed_may_get_no_frame():
    videos = [Video("a", 8, "train"), Video("c", 7, "test")]
    assert cut(videos, Split(gap=2), ("test",))["test"] == list(range(8, 15))
    with pytest.raises(DataError, match=r"validation gets no frame: 0.176 of the longest video \(8 frames\)"):
        cut(videos, Split(gap=2))  # .15 of .7 + .15


def test_one_list_is_cut_as_data_split_says():
    """Into all three, as a data set without lists is."""
    found = cut([Video("a", 100, "train")], Split(train=0.6, validation=0.2, test=0.2, gap=3))
    assert found == {"train": list(range(60)), "validation": list(range(63, 80)), "test": list(range(83, 100))}
    assert cut([Video("a", 100, "train")], Split(train=0.8, validation=0.2, test=0))["test"] == []


def test_lists_for_training_and_validation_alone_leave_no_test_frames():
    assert cut([Video("a", 100, "train"), Video("b", 9, "validation")], Split())["test"] == []


@pytest.mark.parametrize("split", [Split(train=0.6), Split(gap=0), Split(test=0)])
@pytest.mark.parametrize("own", [("train", "validation"), ("train", "validation", "test"), ("test",)])
def test_a_split_that_would_have_no_effect_is_refused(split, own):
    videos = [Video(name, 10, name) for name in own]
    with pytest.raises(
        DataError, match=r"data.split: the data set's own lists \((train and validation.*|test)\) say which"
    ):
        cut(videos, split)
    cut(videos, Split())


@pytest.mark.parametrize("gap", [0, 2, 50])
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.5, 0.2, 0.1), (0.8, 0.2, 0)])
@pytest.mark.parametrize(
    "videos",
    [
        [Video("a", 100), Video("b", 31)],
        [Video("a", 100, "train")],
        [Video("a", 100, "train"), Video("b", 20, "test")],
        [Video("a", 100), Video("b", 20, "train")],
    ],
)
def test_every_frame_is_accounted_for(videos, fractions, gap):
    train, validation, test = fractions
    split = Split(train=train, validation=validation, test=test, gap=gap)
    left = left_over(videos, split)
    try:
        found = cut(videos, split)
    except DataError:
        assert gap == 50
        return
    assert sum(map(len, found.values())) + left.gap + left.rest == sum(video.length for video in videos)
    assert (left.gap == 0) == (gap == 0)
    assert (left.rest > 0) == (sum(fractions) < 1 and any(video.split is None or len(videos) == 1 for video in videos))


def test_a_data_set_of_test_frames_alone_can_be_evaluated_on():
    assert cut([Video("c", 7, "test")], Split()) == {"train": [], "validation": [], "test": list(range(7))}
