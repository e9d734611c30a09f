"""Cost of a configuration's network: parameters, multiply-adds, images per second, memory."""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from weightsearch.config.schema import Configuration
from weightsearch.data.noise import noise
from weightsearch.errors import ModelError, WeightsearchError, fault_line
from weightsearch.losses.criterion import build_criterion
from weightsearch.plugins import resolve
from weightsearch.runtime.batches import batches
from weightsearch.runtime.network import predict
from weightsearch.training.loop import Trainer
from weightsearch.training.optimizer import make_optimizer
from weightsearch.training.probe import Account
from weightsearch.training.recorder import Recorder

ROUNDS: Final = 5


@dataclass(frozen=True)
class Cost:
    """Cost of a network. encoder: option of the model, None if it has no such option. size: height, width in pixels.
    encoder_parameters, parameters: of the encoder, of the whole network. multiply_adds: of the forward pass of an
    image. predicted, trained: median images per second, in inference and in training. memory: peak bytes of training,
    without the program itself; on a GPU, of PyTorch's allocator; None if unknown."""

    encoder: str | None
    size: tuple[int, int]
    batch_size: int
    device: str
    encoder_parameters: int
    parameters: int
    multiply_adds: int
    predicted: float
    trained: float
    memory: int | None


def measure_cost(
    configuration: Configuration, device: torch.device, *, seconds: float = 2.5, cpu_time: bool = False
) -> Cost:
    """Measure the cost in a separate process, on noise frames; no data are read. seconds: measuring time of each rate.
    cpu_time: rates by processor time of all threads instead of the wall clock, less disturbed by other programs; on a
    CPU only. Raises WeightsearchError; ModelError for errors of the network and insufficient memory."""
    if cpu_time and device.type != "cpu":
        raise WeightsearchError(f"--cpu-time: found the device {device}; processor time does not measure a GPU")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            result = pool.submit(_measured, configuration, str(device), seconds, cpu_time).result()
        except BrokenProcessPool:  # killed because of its memory
            result = _no_memory(configuration, str(device))
    if isinstance(result, str):
        raise ModelError(result)
    return result


def _measured(configuration: Configuration, device: str, seconds: float, cpu_time: bool) -> Cost | str:
    """The cost, or an error message: not every exception can be passed between processes."""
    try:
        return _measure(configuration, device, seconds, time.process_time if cpu_time else time.perf_counter)
    except WeightsearchError as error:
        return str(error)
    except Exception as error:  # a network may raise anything
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return _no_memory(configuration, device)
        return f"model.name: {configuration.model.name!r} fails with {_what(configuration)}: {fault_line(error)}"


def _no_memory(configuration: Configuration, device: str) -> str:
    return f"no memory for {_what(configuration)} on {device}"


def _what(configuration: Configuration) -> str:
    height, width = configuration.data.size
    return f"batches of {configuration.train.batch_size} images of {height}x{width}"


def _measure(configuration: Configuration, device_name: str, seconds: float, clock: Callable[[], float]) -> Cost:
    device = torch.device(device_name)
    resolve("model", configuration.model.name)
    build_criterion(configuration)
    _warm_up(configuration, device)
    before = _memory(device, peak=False)  # after all imports and PyTorch's first step
    with tempfile.TemporaryDirectory() as folder:
        size, batch_size = configuration.data.size, configuration.train.batch_size
        data = noise(configuration, batch_size, Path(folder))
        trainer = Trainer(configuration, data, device, account=Account(0.0))
        network = trainer.network
        order = trainer.dataset.splits["train"]

        def rate(work: Callable[[], object]) -> float:
            return _rate(device, batch_size, work, seconds / ROUNDS, clock)

        trained = rate(lambda: trainer.train_steps(order, Recorder(trainer.criterion, device), 1))
        peak = _memory(device, peak=True)
        memory = None if peak is None or before is None else peak - before
        batch = replace(next(iter(batches(trainer.dataset, order, batch_size, device))), features=())
        single = replace(next(iter(batches(trainer.dataset, order[:1], 1, device))), features=())
        network.eval()
        with torch.inference_mode(), trainer.precision.autocast():
            predicted = rate(lambda: predict(network, batch))
            with FlopCounterMode(display=False) as counter:
                predict(network, single)
    encoder = getattr(network, "encoder", None)
    return Cost(
        encoder=configuration.model.options.get("encoder"),
        size=size,
        batch_size=batch_size,
        device=device_name,
        encoder_parameters=_count(encoder) if isinstance(encoder, torch.nn.Module) else 0,
        parameters=_count(network),
        multiply_adds=counter.get_total_flops() // 2,
        predicted=predicted,
        trained=trained,
        memory=memory,
    )


def _warm_up(configuration: Configuration, device: torch.device) -> None:
    """Train a minimal network for one step."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3), torch.nn.BatchNorm2d(1)).to(device)
    optimizer = make_optimizer(network, configuration.train.model_copy(update={"encoder_lr": None}))
    network(torch.rand(1, 3, 32, 32, device=device)).sum().backward()
    optimizer.step()


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _rate(
    device: torch.device, images: int, work: Callable[[], object], seconds: float, clock: Callable[[], float]
) -> float:
    """Images per second: the median of ROUNDS rounds, after an untimed call. images: per call of `work`."""
    work()
    rates: list[float] = []
    for _ in range(ROUNDS):
        times, started = 0, clock()
        while (passed := clock() - started) < seconds:
            work()
            times += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        rates.append(times * images / passed)
    return statistics.median(rates)


def _memory(device: torch.device, *, peak: bool) -> int | None:
    """Bytes in use, now or at the peak; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak includes the parent process
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
