"""Anatomical shape: distance fields of label maps, points, frames, meshes, augmentation."""

from libimg.shapes.augment import RigidParams as RigidParams
from libimg.shapes.augment import apply_rigid as apply_rigid
from libimg.shapes.augment import sample_rigid as sample_rigid
from libimg.shapes.farthest import farthest_points as farthest_points
from libimg.shapes.frame import Frame as Frame
from libimg.shapes.interpolate import interpolate_fields as interpolate_fields
from libimg.shapes.mesh_files import write_mesh as write_mesh
from libimg.shapes.meshing import Mesh as Mesh
from libimg.shapes.meshing import extract_mesh as extract_mesh
from libimg.shapes.meshing import labels_from_fields as labels_from_fields
from libimg.shapes.meshing import query_grid as query_grid
from libimg.shapes.points import FieldPoints as FieldPoints
from libimg.shapes.points import SurfacePoints as SurfacePoints
from libimg.shapes.points import sample_near_surface as sample_near_surface
from libimg.shapes.points import sample_surface as sample_surface
from libimg.shapes.points import sample_volume as sample_volume
from libimg.shapes.sdf import present_classes as present_classes
from libimg.shapes.sdf import signed_distance as signed_distance

__all__ = [
    "FieldPoints",
    "Frame",
    "Mesh",
    "RigidParams",
    "SurfacePoints",
    "apply_rigid",
    "extract_mesh",
    "farthest_points",
    "interpolate_fields",
    "labels_from_fields",
    "present_classes",
    "query_grid",
    "sample_near_surface",
    "sample_rigid",
    "sample_surface",
    "sample_volume",
    "signed_distance",
    "write_mesh",
]
