"""Modules for single published systems: claims and their evidence, theory, noise models, sections of the report.

A system is a folder: `claims*.py` are its claims, `evidence.py` cites a study's trials, `*_section.py` are sections.
"""
