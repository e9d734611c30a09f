"""Depth maps of trials as artifacts: one PNG per trial, composed of the pictures in the database."""

from __future__ import annotations

import io
import json
from typing import Any, BinaryIO, Final

import sqlalchemy as sa
from optuna.artifacts.exceptions import ArtifactNotFound
from PIL import Image, ImageDraw

from weightsearch.records import PICTURES
from weightsearch.study import tables
from weightsearch.study.database import Database
from weightsearch.study.store import UID, StudyStore, read_pictures

PREFIX: Final = "artifacts:"  # of the key, in Optuna's attributes of a trial
HEAD: Final = 14  # height in pixels of the column names
GAP: Final = 4


def artifact_meta(store: StudyStore, trial: int) -> tuple[str, str] | None:
    """Key and value of the Optuna attribute that links a trial to its pictures; None for a trial without pictures."""
    table = tables.pictures
    mine = (table.c.study_id == store.study_id) & (table.c.number == trial)
    with store.database.reading() as connection:
        if connection.scalar(sa.select(table.c.frame).where(mine).limit(1)) is None:
            return None
    name = f"{store.uid}-{store.study_id:x}-{trial:x}"
    meta = {"artifact_id": name, "filename": f"depth-trial-{trial}.png", "mimetype": "image/png", "encoding": None}
    return PREFIX + name, json.dumps(meta)


class Pictures:
    """Artifact store (Optuna's protocol) that serves the database's pictures; `others` stores other artifacts."""

    def __init__(self, database: Database, others: Any = None) -> None:
        self.database = database
        self.others = others

    def open_reader(self, artifact_id: str) -> BinaryIO:
        content = self._read(artifact_id)
        if content is not None:
            return io.BytesIO(content)
        if self.others is None:
            raise ArtifactNotFound("not found")
        reader: BinaryIO = self.others.open_reader(artifact_id)
        return reader

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        if self.others is None:
            raise PermissionError("no folder for artifacts was named: --artifacts FOLDER")
        self.others.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        if self.others is not None and self._key(artifact_id) is None:
            self.others.remove(artifact_id)

    def _read(self, artifact_id: str) -> bytes | None:
        if (key := self._key(artifact_id)) is None:
            return None
        uid, study_id, trial = key
        studies = tables.studies
        with self.database.reading() as connection:
            config = connection.scalar(sa.select(studies.c.spec).where(studies.c.study_id == study_id))
            if config is None or config[UID] != uid:
                return None
            pictures = read_pictures(connection, study_id, trial)
        return montage({(picture.frame, picture.kind): picture.content for picture in pictures}) if pictures else None

    @staticmethod
    def _key(artifact_id: str) -> tuple[str, int, int] | None:
        sections = artifact_id.split("-")
        try:
            return (sections[0], int(sections[1], 16), int(sections[2], 16)) if len(sections) == 3 else None
        except ValueError:
            return None


def montage(pictures: dict[tuple[int, str], bytes]) -> bytes:
    """Compose pictures to a PNG: one row per frame, one column per kind. Cells of missing pictures stay white."""
    opened = {key: Image.open(io.BytesIO(content)).convert("RGB") for key, content in pictures.items()}
    width = max(picture.width for picture in opened.values())
    height = max(picture.height for picture in opened.values())
    frames = sorted({frame for frame, _ in opened})
    kinds = [kind for kind in PICTURES if any(kind == other for _, other in opened)]
    whole = Image.new("RGB", (len(kinds) * (width + GAP) - GAP, HEAD + len(frames) * (height + GAP) - GAP), "white")
    pen = ImageDraw.Draw(whole)
    for column, kind in enumerate(kinds):
        pen.text((column * (width + GAP) + 2, 1), kind, fill="black")
        for row, frame in enumerate(frames):
            if (frame, kind) in opened:
                whole.paste(opened[frame, kind], (column * (width + GAP), HEAD + row * (height + GAP)))
    buffer = io.BytesIO()
    whole.save(buffer, "PNG")
    return buffer.getvalue()
