"""The scale-invariant logarithmic loss."""
