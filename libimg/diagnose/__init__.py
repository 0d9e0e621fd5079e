"""Why does it not work? Deciding numbers, baselines and reports."""

from libimg.diagnose.adversarial import discriminator_vitals as discriminator_vitals
from libimg.diagnose.adversarial import flow_vitals as flow_vitals
from libimg.diagnose.adversarial import gradient_vitals as gradient_vitals
from libimg.diagnose.adversarial import saturated_share as saturated_share
from libimg.diagnose.alignment import known_shift_probe as known_shift_probe
from libimg.diagnose.alignment import local_shifts as local_shifts
from libimg.diagnose.baselines import LookupTable as LookupTable
from libimg.diagnose.baselines import fit_lookup_table as fit_lookup_table
from libimg.diagnose.causes import BLUR_CAUSES as BLUR_CAUSES
from libimg.diagnose.causes import BLUR_CHECKS as BLUR_CHECKS
from libimg.diagnose.ceiling import identity_probe as identity_probe
from libimg.diagnose.failure_table import Cell as Cell
from libimg.diagnose.failure_table import FailureReport as FailureReport
from libimg.diagnose.failure_table import failure_report as failure_report
from libimg.diagnose.failures import CaseFailures as CaseFailures
from libimg.diagnose.failures import Crop as Crop
from libimg.diagnose.failures import case_failures as case_failures
from libimg.diagnose.findings import Cause as Cause
from libimg.diagnose.findings import Check as Check
from libimg.diagnose.findings import Finding as Finding
from libimg.diagnose.findings import Sign as Sign
from libimg.diagnose.findings import find_causes as find_causes
from libimg.diagnose.findings import findings_report as findings_report
from libimg.diagnose.findings import outside as outside
from libimg.diagnose.gap import Gap as Gap
from libimg.diagnose.gap import generalisation_gap as generalisation_gap
from libimg.diagnose.gate import GateLine as GateLine
from libimg.diagnose.gate import Verdict as Verdict
from libimg.diagnose.gate import judge as judge
from libimg.diagnose.judges import blur_auc as blur_auc
from libimg.diagnose.judges import blur_probe as blur_probe
from libimg.diagnose.judges import cue_probe as cue_probe
from libimg.diagnose.judges import image_scores as image_scores
from libimg.diagnose.judges import shift_auc as shift_auc
from libimg.diagnose.kinds import KINDS as KINDS
from libimg.diagnose.kinds import pixel_kinds as pixel_kinds
from libimg.diagnose.learning_curve import LearningCurve as LearningCurve
from libimg.diagnose.learning_curve import learning_curve as learning_curve
from libimg.diagnose.paired import PairedDifference as PairedDifference
from libimg.diagnose.paired import paired_bootstrap as paired_bootstrap
from libimg.diagnose.preprocessing import PreprocessingLoss as PreprocessingLoss
from libimg.diagnose.preprocessing import preprocessing_loss as preprocessing_loss
from libimg.diagnose.report import bootstrap_interval as bootstrap_interval
from libimg.diagnose.report import markdown_table as markdown_table
from libimg.diagnose.report import summarise as summarise
from libimg.diagnose.report import verdict as verdict
from libimg.diagnose.thresholds import Gate as Gate
from libimg.diagnose.thresholds import Threshold as Threshold
from libimg.diagnose.translation import translation_scores as translation_scores
from libimg.diagnose.triage import Triage as Triage
from libimg.diagnose.triage import triage_table as triage_table
from libimg.diagnose.triage_rows import FlagRow as FlagRow
from libimg.diagnose.triage_rows import MetricRow as MetricRow
from libimg.diagnose.wiring import inputs_seen as inputs_seen
from libimg.diagnose.wiring import range_probe as range_probe
from libimg.diagnose.wiring import weight_change as weight_change

__all__ = [
    "BLUR_CAUSES",
    "BLUR_CHECKS",
    "KINDS",
    "CaseFailures",
    "Cause",
    "Cell",
    "Check",
    "Crop",
    "FailureReport",
    "Finding",
    "FlagRow",
    "Gap",
    "Gate",
    "GateLine",
    "LearningCurve",
    "LookupTable",
    "MetricRow",
    "PairedDifference",
    "PreprocessingLoss",
    "Sign",
    "Threshold",
    "Triage",
    "Verdict",
    "blur_auc",
    "blur_probe",
    "bootstrap_interval",
    "case_failures",
    "cue_probe",
    "discriminator_vitals",
    "failure_report",
    "find_causes",
    "findings_report",
    "fit_lookup_table",
    "flow_vitals",
    "generalisation_gap",
    "gradient_vitals",
    "identity_probe",
    "image_scores",
    "inputs_seen",
    "judge",
    "known_shift_probe",
    "learning_curve",
    "local_shifts",
    "markdown_table",
    "outside",
    "paired_bootstrap",
    "pixel_kinds",
    "preprocessing_loss",
    "range_probe",
    "saturated_share",
    "shift_auc",
    "summarise",
    "translation_scores",
    "triage_table",
    "verdict",
    "weight_change",
]
