"""Pretrained weights where the Hugging Face hub is out of reach. No test needs a connection."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from weightsearch.errors import ModelError
from weightsearch.models.parts import pretrained
from weightsearch.models.parts.encoder import Encoder

NAME = "test_resnet"
REPOSITORY = "timm/test_resnet.r160_in1k"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a port at which no hub listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return folder


def refusal(capfd: pytest.CaptureFixture[str]) -> str:
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        Encoder(NAME, "pretrained")
    assert time.monotonic() - start < 20  # the hub's client alone tries for 50 seconds
    assert capfd.readouterr() == ("", "")
    return str(caught.value)


def test_a_hub_out_of_reach_is_told_at_once_with_what_to_do(cache, capfd):
    text = refusal(capfd)
    assert text.startswith(f"model.weights: found pretrained, but {constants.ENDPOINT} cannot be reached from this ")
    assert f"the weights of {NAME} are not in the cache {cache}; download model.safetensors of {REPOSITORY} on" in text
    assert text.endswith("set model.weights: FILE, or set model.weights: none")


def test_a_hub_that_does_not_answer_is_not_waited_for(cache, capfd, monkeypatch):
    monkeypatch.setattr(pretrained, "WAIT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert f"{constants.ENDPOINT} cannot be reached from this machine (" in refusal(capfd)


@pytest.mark.parametrize(("status", "reason"), [(404, None), (503, "it answers with the HTTP status 503")])
def test_a_hub_that_answers_is_asked_for_the_weights_unless_it_is_out_of_order(
    cache, capfd, monkeypatch, status, reason
):
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        if reason is None:
            assert pretrained.source_of(NAME, "model.weights") == {}
        else:
            assert f"cannot be reached from this machine ({reason}), and the weights of" in refusal(capfd)
        server.shutdown()


def test_offline_mode_is_named(cache, capfd, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "cannot be reached from this machine (HF_HUB_OFFLINE is set)" in refusal(capfd)


def test_weights_in_the_cache_need_no_hub(cache, capfd):
    torch.manual_seed(1)
    state = timm.create_model(NAME).state_dict()
    snapshot = cache / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    save_file(state, snapshot / "model.safetensors")
    torch.manual_seed(2)
    encoder = Encoder(NAME, "pretrained")
    own = encoder.net.state_dict()
    assert own
    assert all(torch.equal(value, state[name]) for name, value in own.items())
    assert capfd.readouterr() == ("", "")


def test_an_encoder_without_pretrained_weights_is_refused_in_our_words():
    with pytest.raises(ModelError, match=r"^model.weights: found pretrained, but timm has no pretrained weights for "):
        Encoder("selecsls84", "pretrained")
