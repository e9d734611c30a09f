"""The dual-head integer/fractional loss."""
