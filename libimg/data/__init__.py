"""Pairs, masks, patches, letterboxes, splits and manifests."""

from libimg.data.letterbox import Letterbox as Letterbox
from libimg.data.letterbox import letterbox as letterbox
from libimg.data.manifest import Manifest as Manifest
from libimg.data.manifest import compare_metrics as compare_metrics
from libimg.data.manifest import file_hash as file_hash
from libimg.data.manifest import manifest as manifest
from libimg.data.manifest import read_manifest as read_manifest
from libimg.data.manifest import same_manifest as same_manifest
from libimg.data.manifest import tensor_hash as tensor_hash
from libimg.data.manifest import write_manifest as write_manifest
from libimg.data.masks import body_mask as body_mask
from libimg.data.masks import lung_mask as lung_mask
from libimg.data.pairs import pair_files as pair_files
from libimg.data.pairs import same_geometry as same_geometry
from libimg.data.patches import Patch as Patch
from libimg.data.patches import neighbours as neighbours
from libimg.data.patches import sample_batch as sample_batch
from libimg.data.patches import sample_patch as sample_patch
from libimg.data.splits import check_splits as check_splits
from libimg.data.splits import fixed_list as fixed_list
from libimg.data.splits import split_cases as split_cases

__all__ = [
    "Letterbox",
    "Manifest",
    "Patch",
    "body_mask",
    "check_splits",
    "compare_metrics",
    "file_hash",
    "fixed_list",
    "letterbox",
    "lung_mask",
    "manifest",
    "neighbours",
    "pair_files",
    "read_manifest",
    "same_geometry",
    "same_manifest",
    "sample_batch",
    "sample_patch",
    "split_cases",
    "tensor_hash",
    "write_manifest",
]
