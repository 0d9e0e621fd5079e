"""Why does it not work? Deciding numbers, baselines and reports."""

from libimg.diagnose.adversarial import discriminator_vitals as discriminator_vitals
from libimg.diagnose.adversarial import flow_vitals as flow_vitals
from libimg.diagnose.adversarial import gradient_vitals as gradient_vitals
from libimg.diagnose.adversarial import saturated_share as saturated_share
from libimg.diagnose.baselines import LookupTable as LookupTable
from libimg.diagnose.baselines import fit_lookup_table as fit_lookup_table
from libimg.diagnose.failure_table import Cell as Cell
from libimg.diagnose.failure_table import FailureReport as FailureReport
from libimg.diagnose.failure_table import failure_report as failure_report
from libimg.diagnose.failures import CaseFailures as CaseFailures
from libimg.diagnose.failures import Crop as Crop
from libimg.diagnose.failures import case_failures as case_failures
from libimg.diagnose.kinds import KINDS as KINDS
from libimg.diagnose.kinds import pixel_kinds as pixel_kinds
from libimg.diagnose.report import bootstrap_interval as bootstrap_interval
from libimg.diagnose.report import markdown_table as markdown_table
from libimg.diagnose.report import summarise as summarise
from libimg.diagnose.report import verdict as verdict
from libimg.diagnose.translation import translation_scores as translation_scores

__all__ = [
    "KINDS",
    "CaseFailures",
    "Cell",
    "Crop",
    "FailureReport",
    "LookupTable",
    "bootstrap_interval",
    "case_failures",
    "discriminator_vitals",
    "failure_report",
    "fit_lookup_table",
    "flow_vitals",
    "gradient_vitals",
    "markdown_table",
    "pixel_kinds",
    "saturated_share",
    "summarise",
    "translation_scores",
    "verdict",
]
