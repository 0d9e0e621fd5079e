"""Pairs, masks, patches and manifests."""

from libimg.data.manifest import compare_metrics as compare_metrics
from libimg.data.manifest import file_hash as file_hash
from libimg.data.manifest import manifest as manifest
from libimg.data.manifest import same_manifest as same_manifest
from libimg.data.manifest import tensor_hash as tensor_hash
from libimg.data.masks import body_mask as body_mask
from libimg.data.masks import lung_mask as lung_mask
from libimg.data.pairs import pair_files as pair_files
from libimg.data.pairs import same_geometry as same_geometry
from libimg.data.patches import Patch as Patch
from libimg.data.patches import neighbours as neighbours
from libimg.data.patches import sample_batch as sample_batch
from libimg.data.patches import sample_patch as sample_patch

__all__ = [
    "Patch",
    "body_mask",
    "compare_metrics",
    "file_hash",
    "lung_mask",
    "manifest",
    "neighbours",
    "pair_files",
    "same_geometry",
    "same_manifest",
    "sample_batch",
    "sample_patch",
    "tensor_hash",
]
