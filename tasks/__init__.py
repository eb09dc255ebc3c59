"""The orchestration: every stage of the chain as a Luigi task. The only place that knows Luigi.

``luigi --module tasks Report`` runs the grid of ``luigi.cfg``; every family below can be called by itself. Importing
this package imports no torch: stages run in worker processes, which import what they need.
"""

from tasks import before_luigi, messages, worker  # noqa: F401, before_luigi comes first
from tasks.data import GenerateScenes, PrepareImages
from tasks.explanations import DumpMaps, EvaluateLocalization, RankPixels
from tasks.models import DistillStudent, FineTuneTeacher
from tasks.report import Report
from tasks.retraining import ProbeMasks, Retrain
from tasks.settings import install_defaults

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
