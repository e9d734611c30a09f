"""Division of videos into train, validation and test, by the data set's own lists or by position."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weightsearch.config.schema import Split
from weightsearch.data.order import leaps
from weightsearch.data.source import SplitName, Video
from weightsearch.errors import DataError, counted

SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")


def cut(videos: Sequence[Video], split: Split, needed: Collection[SplitName] = SPLITS) -> dict[SplitName, list[int]]:
    """The frame indices of each split, counted over all videos. A video with a split belongs to it as a whole; other
    videos are cut by the fractions: train, `gap` frames left out, validation, `gap` frames left out, test. If all
    videos are training videos, they are cut in the same way; if there are test videos but no validation videos,
    training videos are cut into train and validation. Listed frames are in the order of their list. needed: splits that
    must not be empty. Raises DataError if a requested and needed split gets no frame, and for fractions if no video is
    cut."""
    _check_fractions(videos, split)
    result: dict[SplitName, list[int]] = {name: [] for name in SPLITS}
    given: dict[SplitName, float] = {}
    start = 0
    for video, shares in zip(videos, _shares(videos, split), strict=True):
        given |= shares
        for name, first, last in _pieces(shares, video.length, split.gap):
            result[name].extend(range(start + first, start + last))
        start += video.length
    for name, indices in _of_lists(videos).items():
        result[name].extend(indices)
    for name in _asked(videos, split):
        if name in needed and not result[name]:
            longest = max((video.length for video in videos), default=0)
            raise DataError(
                f"data.split: {name} gets no frame: {given.get(name, 0):.3g} of the longest video "
                f"({counted(longest, 'frame')}) less a gap of {split.gap}; {_remedy(name, _own(videos), split.gap)}"
            )
    return result


def _check_fractions(videos: Sequence[Video], split: Split) -> None:
    """Raise DataError for fractions if lists define all splits."""
    if is_cut(videos) or split == Split():
        return
    own = _own(videos)
    lists = " and ".join(name for name in SPLITS if name in own)
    raise DataError(
        f"data.split: the data set's own lists ({lists}) say which frames are in which split: fractions and a "
        "gap have no effect; remove data.split (--set data.split={}), or give the list train alone to have it cut"
    )


def _asked(videos: Sequence[Video], split: Split) -> list[SplitName]:
    """The splits that fractions or lists request, in order."""
    own = _own(videos)
    whole = None in own or own == {"train"}
    asked = {name for name in SPLITS if getattr(split, name) > 0} if whole else own - {None}
    if "train" in own:
        asked.add("validation")
    return [name for name in SPLITS if name in asked]


def _remedy(name: SplitName, own: Collection[SplitName | None], gap: int) -> str:
    less = "lower data.split.gap (such as --set data.split.gap=0) or " if gap else ""
    lists = f", or give a list for {name}" if set(own) - {None} else ""
    return f"{less}raise data.split.{name}{lists}"


@dataclass(frozen=True)
class LeftOver:
    """The number of frames in no split. gap: at the cuts. rest: beyond the fractions, if these add up to less than
    1."""

    gap: int
    rest: int


def left_over(videos: Sequence[Video], split: Split) -> LeftOver:
    """The number of frames that `cut` leaves out."""
    gap = rest = 0
    for video, shares in zip(videos, _shares(videos, split), strict=True):
        if video.listed is not None:
            continue  # its frames that no list names serve as neighbours
        pieces = list(_pieces(shares, video.length, split.gap))
        ends = [0, *(last for _, _, last in pieces)]
        gap += sum(first - end for (_, first, _), end in zip(pieces, ends, strict=False))
        rest += video.length - ends[-1]
    return LeftOver(gap, rest)


def is_cut(videos: Sequence[Video]) -> bool:
    """True if `data.split` has any effect on these videos."""
    own = _own(videos)
    return None in own or ("train" in own and "validation" not in own)


def _shares(videos: Sequence[Video], split: Split) -> list[dict[SplitName, float]]:
    """The fractions of each split in each video; empty for a video whose frames are listed."""
    own = _own(videos)
    whole: dict[SplitName, float] = {"train": split.train, "validation": split.validation, "test": split.test}
    total = split.train + split.validation
    two: dict[SplitName, float] = {"train": split.train / total, "validation": split.validation / total}
    shares: list[dict[SplitName, float]] = []
    for video in videos:
        if video.listed is not None:
            shares.append({})
        elif video.split is None or own == {"train"}:
            shares.append(whole)
        elif video.split == "train" and not own & {"validation", None}:
            shares.append(two)
        else:
            shares.append({video.split: 1.0})
    return shares


def with_neighbours(
    splits: dict[SplitName, list[int]], videos: Sequence[Video], offsets: Sequence[int], names: Sequence[str] = ()
) -> dict[SplitName, list[int]]:
    """The frames of each split whose neighbours at these offsets are in the same video and in the split. Neighbours of
    listed frames need not be in the split, and only training frames must have them: every other listed frame is
    measured. names: of all frames; frames on both sides of missing numbers are not neighbours. Raises DataError if no
    frame of a split remains, and for frames that are not ordered in time."""
    if not offsets:
        return splits
    for video in videos:
        if not video.ordered:
            raise DataError(f"data.neighbours: the frames of {video.name} do not follow one another")
    lengths = [video.length for video in videos]
    begins = leaps(names, lengths) | set(itertools.accumulate(lengths))
    runs = list(itertools.accumulate(int(index in begins) for index in range(sum(lengths))))
    owners = [video for video in videos for _ in range(video.length)]
    result: dict[SplitName, list[int]] = {}
    for name, indices in splits.items():
        there = set(indices)

        def stands(index: int, name: SplitName = name, there: set[int] = there) -> bool:
            listed = owners[index].listed is not None
            if listed and name != "train":
                return True
            beside = [index + offset for offset in offsets]
            alike = all(0 <= other < len(runs) and runs[other] == runs[index] for other in beside)
            return alike and (listed or there.issuperset(beside))

        result[name] = [index for index in indices if stands(index)]
        if indices and not result[name]:
            raise DataError(
                f"data.neighbours: no frame of the split {name} has neighbours at {', '.join(map(str, offsets))} "
                "frames in it"
            )
    return result


def _own(videos: Sequence[Video]) -> set[SplitName | None]:
    """The splits of the videos or of their listed frames; None is among them if there is a video without a split."""
    whole = {video.split for video in videos if video.listed is None}
    return whole | {frame.split for video in videos for frame in video.listed or ()}


def _of_lists(videos: Sequence[Video]) -> dict[SplitName, list[int]]:
    """The indices of the listed frames, in the lists' order."""
    named: dict[SplitName, list[tuple[int, int]]] = {}
    start = 0
    for video in videos:
        for frame in video.listed or ():
            named.setdefault(frame.split, []).append((frame.place, start + frame.index))
        start += video.length
    return {split: [index for _, index in sorted(entries)] for split, entries in named.items()}


def beside(videos: Sequence[Video], indices: NDArray[np.int64], offsets: Sequence[int]) -> NDArray[np.int64]:
    """The indices of the neighbours of these frames, [B, S]; beyond the ends of a video its first or last frame."""
    ends = np.cumsum([video.length for video in videos])
    owners = np.searchsorted(ends, indices, side="right")
    first = (ends - [video.length for video in videos])[owners][:, None]
    neighbours: NDArray[np.int64] = np.clip(indices[:, None] + np.array(offsets), first, ends[owners][:, None] - 1)
    return neighbours


def _pieces(shares: dict[SplitName, float], length: int, gap: int) -> Iterator[tuple[SplitName, int, int]]:
    """Each split's first frame, and the index after its last frame, in a video of this length."""
    done = 0.0
    for position, (name, share) in enumerate(shares.items()):
        first = round(done * length) + (gap if position else 0)
        done += share
        last = round(done * length)
        yield name, min(first, last), last
