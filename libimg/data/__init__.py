"""Pairs, masks, patches, letterboxes, splits and manifests."""

from libimg.data.audit import Flag as Flag
from libimg.data.audit import FlagRow as FlagRow
from libimg.data.audit import audit_image as audit_image
from libimg.data.audit import audit_pair as audit_pair
from libimg.data.audit import flag_precision as flag_precision
from libimg.data.duplicates import duplicates as duplicates
from libimg.data.duplicates import perceptual_hash as perceptual_hash
from libimg.data.head_pose import HeadPose as HeadPose
from libimg.data.head_pose import head_pose as head_pose
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
    "Flag",
    "FlagRow",
    "HeadPose",
    "Letterbox",
    "Manifest",
    "Patch",
    "audit_image",
    "audit_pair",
    "body_mask",
    "check_splits",
    "compare_metrics",
    "duplicates",
    "file_hash",
    "fixed_list",
    "flag_precision",
    "head_pose",
    "letterbox",
    "lung_mask",
    "manifest",
    "neighbours",
    "pair_files",
    "perceptual_hash",
    "read_manifest",
    "same_geometry",
    "same_manifest",
    "sample_batch",
    "sample_patch",
    "split_cases",
    "tensor_hash",
    "write_manifest",
]
