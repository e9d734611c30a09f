"""What only one of the published systems has: claims and their evidence, theory, noise models, sections of the report.

A system is a folder. `claims*.py` are its claims, `evidence.py` cites a study's trials, `*_section.py` are sections.
"""
