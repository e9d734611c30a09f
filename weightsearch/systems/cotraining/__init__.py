"""Co-training of depth, odometry and flow with rebalancing."""
