"""The orchestration: every stage of the chain as a Luigi task. Only this package imports Luigi.

``luigi --module tasks Report`` runs the grid of ``luigi.cfg``; every family below can be run alone. Importing this
package does not import torch: the first stages that need it do.
"""

from tasks.startup import before_luigi  # noqa: F401, I001, must be the first import
from tasks.runtime import messages, worker
from tasks.chain.data import GenerateScenes, PrepareImages
from tasks.chain.explanations import DumpMaps, EvaluateLocalization, RankPixels
from tasks.chain.models import DistillStudent, FineTuneTeacher
from tasks.chain.report import Report
from tasks.chain.retraining import ProbeMasks, Retrain
from tasks.configuration.luigi_sections import install_defaults

__all__ = [
    "DistillStudent",
    "DumpMaps",
    "EvaluateLocalization",
    "FineTuneTeacher",
    "GenerateScenes",
    "PrepareImages",
    "ProbeMasks",
    "RankPixels",
    "Report",
    "Retrain",
]

install_defaults()
messages.install()
worker.install()
