"""Measuring predictions: metrics of networks, of trivial baselines and of other programs; pictures."""
