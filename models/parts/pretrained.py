"""timm's pretrained weights, from the Hugging Face hub or, if the hub cannot be reached, from its cache."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Final

import huggingface_hub
import timm
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from weightsearch.errors import ModelError, first_line

WAIT: Final = 5.0  # timeout of the hub's first answer, seconds; its own client retries for 25 seconds a file
SERVER_ERROR: Final = 500  # smallest HTTP status for which the client retries as without a connection
NAMES: Final = ("model.safetensors", "pytorch_model.bin")  # weights files in a timm repository on the hub


def source_of(name: str, key: str) -> dict[str, Any]:
    """Options of `timm.create_model` with which it finds an encoder's pretrained weights: none if the hub answers, else
    the file in the hub's cache. key: model.weights. Raises ModelError if the hub does not answer and its cache lacks
    the weights, and for an encoder without pretrained weights."""
    config = timm.get_pretrained_cfg(name)
    hub = getattr(config, "hf_hub_id", None)
    if config is None or not any((hub, config.url, config.file, config.state_dict)):
        raise ModelError(
            f"{key}: found pretrained, but timm has no pretrained weights for {name}; set {key}: none, or the path of "
            "a file"
        )
    if not hub:
        return {}
    repository, _, revision = hub.partition("@")
    names = _names(config.hf_hub_filename)
    reason = _unreachable(repository, names[0], revision or None)
    if reason is None:
        return {}
    for file in names:
        cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
        if isinstance(cached, str):
            return {"pretrained_cfg_overlay": {"file": cached}}
    raise ModelError(
        f"{key}: found pretrained, but {constants.ENDPOINT} cannot be reached from this machine ({reason}), and the "
        f"weights of {name} are not in the cache {constants.HF_HUB_CACHE}; download {names[0]} of {repository} on a "
        f"machine with a connection, copy it here and set {key}: FILE, or set {key}: none"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the hub's own messages about failed requests; the error message covers them."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _names(own: str | None) -> tuple[str, ...]:
    """The names of a weights file on the hub, in the order in which timm asks for them."""
    if own is None:
        return NAMES
    return tuple(dict.fromkeys((str(PurePosixPath(own).with_suffix(".safetensors")), own)))


def _unreachable(repository: str, file: str, revision: str | None) -> str | None:
    """The reason why the hub does not answer; None if it answers, even with an error about the file."""
    try:
        with quiet():
            url = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/{file}"
            huggingface_hub.get_hf_file_metadata(url, timeout=WAIT)
    except HfHubHTTPError as error:
        status = error.response.status_code
        return None if status < SERVER_ERROR else f"it answers with the HTTP status {status}"
    except Exception as error:  # network errors differ between versions of the hub's client
        return "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else first_line(error)
    return None
