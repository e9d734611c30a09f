"""Loss terms of depth. The functions below work on plain tensors; the loss terms of a study file use them.

Depth maps are [B, 1, H, W]; a mask is bool, True at valid pixels. Each function returns a scalar.
"""

from weightsearch.losses.terms.berhu import berhu
from weightsearch.losses.terms.edge import edge
from weightsearch.losses.terms.edge_aware_smoothness import edge_aware_smoothness
from weightsearch.losses.terms.gradient_matching import gradient_matching
from weightsearch.losses.terms.l2 import l2
from weightsearch.losses.terms.mae import mae
from weightsearch.losses.terms.silog import silog
from weightsearch.losses.terms.ssim import ssim

__all__ = ["berhu", "edge", "edge_aware_smoothness", "gradient_matching", "l2", "mae", "silog", "ssim"]
