"""Running a network: device, precision, memory layout, seeds, batches, checkpoints."""
