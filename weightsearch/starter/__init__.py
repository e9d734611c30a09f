"""A study for a user's own data: pair the files, find the unit and range of the depth, write lists and a study file."""
