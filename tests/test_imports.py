"""Importing stays light, and the public names are there, documented and shown by example."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import libimg

HEAVY = [
    "monai",
    "kornia",
    "lpips",
    "matplotlib",
    "lightning",
    "lightning_fabric",
    "gradio",
    "onnx",
    "onnxruntime",
    "skimage",
    "torchvision",
    "tensorboard",
    "jsonargparse",
    "numba",
]
PACKAGES = [name for name in libimg.__all__ if name != "__version__"]
CONTRACT = {
    "ranges": "ValueRange HU_FULL SIGNED UNIT BYTE",
    "losses": "l1 charbonnier mse huber ssim ms_ssim gradient_difference PerceptualLoss masked_mean "
    "gan_generator gan_discriminator feature_matching flow_smoothness bending_energy sdf_l1 eikonal multi_scale",
    "events": "Events read_events write_events encode_voxels decode_voxels",
    "metrics": "event_f1 pooled_mse event_structural_ratio psnr ssim mae lpips "
    "sharpness_ratio laplacian_ratio landmark_errors dice iou surface_dice hausdorff95 chamfer f_score auc",
    "registration": "warp compose integrate_velocity jacobian_determinant folding_fraction resize_flow",
    "gan": "PatchDiscriminator MultiScaleDiscriminator r1_penalty gradient_ratio adaptive_weight",
    "nets": "UNet RegistrationUNet Refiner ResidualUNet3D RestorationResNet VecSetAutoencoder UMamba",
    "degradations": "gaussian_noise jpeg differentiable_jpeg Degradation curriculum",
    "shapes": "signed_distance sample_surface sample_near_surface sample_volume farthest_points "
    "extract_mesh Frame",
    "inference": "sliding_window tta",
    "phantoms": "chest virtual_noncontrast heart_labels head",
    "data": "letterbox audit_image duplicates flag_precision manifest fixed_list",
    "diagnose": "triage_table generalisation_gap learning_curve preprocessing_loss judge paired_bootstrap",
}


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after running ``code``."""
    code += "; import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(out.stdout.split())


def test_importing_libimg_imports_nothing() -> None:
    assert not loaded_after("import libimg") & {"torch", "numpy", "scipy", *HEAVY}


def test_importing_every_module_loads_no_heavy_package() -> None:
    names = [m.name for m in pkgutil.walk_packages(libimg.__path__, "libimg.")]
    names = [name for name in names if "_ops" not in name]  # the compiled loops load on first use
    assert len(names) > 50
    found = loaded_after("import " + ", ".join(names)) & set(HEAVY)
    assert not found, found


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = libimg.nothing
    assert set(PACKAGES) <= set(dir(libimg))


def members() -> list[tuple[str, str]]:
    """Every public function and class."""
    found = []
    for package in PACKAGES:
        module: ModuleType = importlib.import_module(f"libimg.{package}")
        for name in module.__all__:
            if inspect.isroutine(getattr(module, name)) or inspect.isclass(getattr(module, name)):
                found.append((package, name))
    return found


@pytest.mark.parametrize("package", CONTRACT)
def test_the_contract_is_kept(package: str) -> None:
    assert set(CONTRACT[package].split()) <= set(getattr(libimg, package).__all__)


@pytest.mark.parametrize(("package", "name"), members())
def test_public_names_are_documented(package: str, name: str) -> None:
    thing = getattr(getattr(libimg, package), name)
    text = inspect.getdoc(inspect.unwrap(thing) if inspect.isroutine(thing) else thing) or ""
    assert len(text) >= 60
    if inspect.isroutine(thing) and len(inspect.signature(thing).parameters) > 1:
        assert "Args:" in text or ">>>" in text
