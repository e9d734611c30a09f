"""Loss terms between frames, and the outputs that each teaches."""

from __future__ import annotations

OUTPUTS = {  # what a term's gradient reaches
    "epipolar": {"flow", "pose"},
    "flow_depth_consistency": {"depth", "flow", "pose"},
    "photometric_flow": {"flow"},
    "photometric_rigid": {"depth", "pose"},
    "smooth_depth": {"depth"},
    "smooth_flow": {"flow"},
}


OF_PAIRS = sorted(OUTPUTS)
