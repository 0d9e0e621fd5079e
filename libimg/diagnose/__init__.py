"""Why does it not work? Deciding numbers, baselines and reports."""

from libimg.diagnose.adversarial import discriminator_vitals as discriminator_vitals
from libimg.diagnose.adversarial import flow_vitals as flow_vitals
from libimg.diagnose.adversarial import gradient_vitals as gradient_vitals
from libimg.diagnose.adversarial import saturated_share as saturated_share
from libimg.diagnose.baselines import LookupTable as LookupTable
from libimg.diagnose.baselines import fit_lookup_table as fit_lookup_table
from libimg.diagnose.report import bootstrap_interval as bootstrap_interval
from libimg.diagnose.report import markdown_table as markdown_table
from libimg.diagnose.report import summarise as summarise
from libimg.diagnose.report import verdict as verdict
from libimg.diagnose.translation import translation_scores as translation_scores

__all__ = [
    "LookupTable",
    "bootstrap_interval",
    "discriminator_vitals",
    "fit_lookup_table",
    "flow_vitals",
    "gradient_vitals",
    "markdown_table",
    "saturated_share",
    "summarise",
    "translation_scores",
    "verdict",
]
