from __future__ import annotations

from pathlib import Path

import torch

from weightsearch.runtime.environment import cpu, describe_environment


def test_the_cpu_has_its_model_and_its_instructions():
    capability = torch.backends.cpu.get_cpu_capability()
    assert cpu().endswith(f" ({capability})")
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    assert model.partition(": ")[2] in cpu()
    found = describe_environment(torch.device("cpu"), 2)
    assert found.cpu == cpu()
    assert found.device == f"cpu: {cpu()}"
