"""Completion of hearts: any classes in, all classes out, beside what needs no network."""

from libimg.completion.asked import Question as Question
from libimg.completion.asked import questions as questions
from libimg.completion.baselines import Baselines as Baselines
from libimg.completion.baselines import fit_baselines as fit_baselines
from libimg.completion.batches import SCHEMES as SCHEMES
from libimg.completion.batches import Batch as Batch
from libimg.completion.batches import Drop as Drop
from libimg.completion.batches import draw_batch as draw_batch
from libimg.completion.batches import draw_inputs as draw_inputs
from libimg.completion.batches import draw_observed as draw_observed
from libimg.completion.batches import observed_middle as observed_middle
from libimg.completion.cases import Case as Case
from libimg.completion.cases import Sampling as Sampling
from libimg.completion.cases import load_case as load_case
from libimg.completion.cases import write_case as write_case
from libimg.completion.centre import Centre as Centre
from libimg.completion.centre import class_centroids as class_centroids
from libimg.completion.centre import fit_centre as fit_centre
from libimg.completion.complete import Completion as Completion
from libimg.completion.complete import complete_file as complete_file
from libimg.completion.complete import decode_labels as decode_labels
from libimg.completion.complete import dice_of as dice_of
from libimg.completion.complete import write_completion as write_completion
from libimg.completion.decode import decode_fields as decode_fields
from libimg.completion.decode import decode_meshes as decode_meshes
from libimg.completion.draws import fit_spread as fit_spread
from libimg.completion.draws import sample_scores as sample_scores
from libimg.completion.evaluate import encode_case as encode_case
from libimg.completion.evaluate import evaluate as evaluate
from libimg.completion.fields import coarse_fields as coarse_fields
from libimg.completion.fields import mean_fields as mean_fields
from libimg.completion.fields import read_coarse as read_coarse
from libimg.completion.fields import sparse as sparse
from libimg.completion.fitting import fit_latent as fit_latent
from libimg.completion.folders import Outcome as Outcome
from libimg.completion.folders import list_cases as list_cases
from libimg.completion.folders import prepare_folder as prepare_folder
from libimg.completion.hearts import build_hearts as build_hearts
from libimg.completion.hearts import phantom_case as phantom_case
from libimg.completion.labels import LabelMap as LabelMap
from libimg.completion.labels import read_labels as read_labels
from libimg.completion.levels import fit_levels as fit_levels
from libimg.completion.model import Completer as Completer
from libimg.completion.model import MeanShape as MeanShape
from libimg.completion.model import learn_shape as learn_shape
from libimg.completion.objective import Weights as Weights
from libimg.completion.objective import flow_loss as flow_loss
from libimg.completion.objective import held_error as held_error
from libimg.completion.objective import shape_loss as shape_loss
from libimg.completion.picture import heart_sheet as heart_sheet
from libimg.completion.picture import label_meshes as label_meshes
from libimg.completion.picture import render_meshes as render_meshes
from libimg.completion.plan import HeartData as HeartData
from libimg.completion.plan import Plan as Plan
from libimg.completion.plan import make_plan as make_plan
from libimg.completion.plan import prepared as prepared
from libimg.completion.prepare import prepare_case as prepare_case
from libimg.completion.prepare import sample_case as sample_case
from libimg.completion.report import completion_sheet as completion_sheet
from libimg.completion.report import scores_text as scores_text

__all__ = [
    "SCHEMES",
    "Baselines",
    "Batch",
    "Case",
    "Centre",
    "Completer",
    "Completion",
    "Drop",
    "HeartData",
    "LabelMap",
    "MeanShape",
    "Outcome",
    "Plan",
    "Question",
    "Sampling",
    "Weights",
    "build_hearts",
    "class_centroids",
    "coarse_fields",
    "complete_file",
    "completion_sheet",
    "decode_fields",
    "decode_labels",
    "decode_meshes",
    "dice_of",
    "draw_batch",
    "draw_inputs",
    "draw_observed",
    "encode_case",
    "evaluate",
    "fit_baselines",
    "fit_centre",
    "fit_latent",
    "fit_levels",
    "fit_spread",
    "flow_loss",
    "heart_sheet",
    "held_error",
    "label_meshes",
    "learn_shape",
    "list_cases",
    "load_case",
    "make_plan",
    "mean_fields",
    "observed_middle",
    "phantom_case",
    "prepare_case",
    "prepare_folder",
    "prepared",
    "questions",
    "read_coarse",
    "read_labels",
    "render_meshes",
    "sample_case",
    "sample_scores",
    "scores_text",
    "shape_loss",
    "sparse",
    "write_case",
    "write_completion",
]
