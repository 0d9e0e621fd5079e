"""Plumbing for training loops that stay visible: runs, checkpoints, phases, averages and logs."""

from libimg.train.ahead import Ahead as Ahead
from libimg.train.checkpoint import Best as Best
from libimg.train.checkpoint import checkpoint_config as checkpoint_config
from libimg.train.checkpoint import load_checkpoint as load_checkpoint
from libimg.train.checkpoint import load_shared as load_shared
from libimg.train.checkpoint import module_hash as module_hash
from libimg.train.checkpoint import save_checkpoint as save_checkpoint
from libimg.train.config import cli as cli
from libimg.train.config import load_config as load_config
from libimg.train.ema import Ema as Ema
from libimg.train.log import Log as Log
from libimg.train.log import write_json as write_json
from libimg.train.muon import Muon as Muon
from libimg.train.muon import orthogonalise as orthogonalise
from libimg.train.run import Run as Run
from libimg.train.run import RunConfig as RunConfig
from libimg.train.schedule import Phase as Phase
from libimg.train.schedule import Ramp as Ramp
from libimg.train.schedule import cosine as cosine
from libimg.train.schedule import phase_at as phase_at
from libimg.train.schedule import value_at as value_at

__all__ = [
    "Ahead",
    "Best",
    "Ema",
    "Log",
    "Muon",
    "Phase",
    "Ramp",
    "Run",
    "RunConfig",
    "checkpoint_config",
    "cli",
    "cosine",
    "load_checkpoint",
    "load_config",
    "load_shared",
    "module_hash",
    "orthogonalise",
    "phase_at",
    "save_checkpoint",
    "value_at",
    "write_json",
]
