"""Co-training of depth, odometry and flow: claims, evidence and sections of the report."""
