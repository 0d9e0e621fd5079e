"""Paired image translation: generator, refiner, registration net and discriminator as one graph."""

from libimg.translation.ct import CtConfig as CtConfig
from libimg.translation.ct import ct_case as ct_case
from libimg.translation.ct import ct_pairs as ct_pairs
from libimg.translation.ct import draw_batch as draw_batch
from libimg.translation.ct import hold_out as hold_out
from libimg.translation.doctor import examine_networks as examine_networks
from libimg.translation.evaluate import ct_panel as ct_panel
from libimg.translation.evaluate import ct_scores as ct_scores
from libimg.translation.evaluate import evaluation as evaluation
from libimg.translation.evaluate import validate as validate
from libimg.translation.networks import DiscriminatorConfig as DiscriminatorConfig
from libimg.translation.networks import GeneratorConfig as GeneratorConfig
from libimg.translation.networks import NetworksConfig as NetworksConfig
from libimg.translation.networks import RefinerConfig as RefinerConfig
from libimg.translation.networks import RegistrationConfig as RegistrationConfig
from libimg.translation.networks import build_networks as build_networks
from libimg.translation.networks import plan_phases as plan_phases
from libimg.translation.networks import set_modes as set_modes
from libimg.translation.optimise import Rates as Rates
from libimg.translation.optimise import build_optimizers as build_optimizers
from libimg.translation.optimise import set_rates as set_rates
from libimg.translation.records import examine_log as examine_log
from libimg.translation.records import read_log as read_log
from libimg.translation.remedies import next_experiment as next_experiment
from libimg.translation.remedies import write_diagnosis as write_diagnosis
from libimg.translation.steps import Losses as Losses
from libimg.translation.steps import discriminator_loss as discriminator_loss
from libimg.translation.steps import generate as generate
from libimg.translation.steps import generator_terms as generator_terms
from libimg.translation.steps import losses_of as losses_of
from libimg.translation.steps import middle as middle
from libimg.translation.steps import region_weight as region_weight
from libimg.translation.steps import register as register
from libimg.translation.steps import weighted_sum as weighted_sum
from libimg.translation.vitals import translation_vitals as translation_vitals
from libimg.translation.volume import registration_report as registration_report
from libimg.translation.volume import translate_hu as translate_hu
from libimg.translation.volume import translate_volume as translate_volume

__all__ = [
    "CtConfig",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "Losses",
    "NetworksConfig",
    "Rates",
    "RefinerConfig",
    "RegistrationConfig",
    "build_networks",
    "build_optimizers",
    "ct_case",
    "ct_pairs",
    "ct_panel",
    "ct_scores",
    "discriminator_loss",
    "draw_batch",
    "evaluation",
    "examine_log",
    "examine_networks",
    "generate",
    "generator_terms",
    "hold_out",
    "losses_of",
    "middle",
    "next_experiment",
    "plan_phases",
    "read_log",
    "region_weight",
    "register",
    "registration_report",
    "set_modes",
    "set_rates",
    "translate_hu",
    "translate_volume",
    "translation_vitals",
    "validate",
    "weighted_sum",
    "write_diagnosis",
]
