"""The public Python API. `import weightsearch as ws` has everything in __all__; the rest is private."""

from weightsearch.api.results import Study, Trial, open_study
from weightsearch.api.runs import run
from weightsearch.api.sources import load_study
from weightsearch.api.trainings import Evaluation, evaluate, train

__all__ = ["Evaluation", "Study", "Trial", "evaluate", "load_study", "open_study", "run", "train"]
