"""Virtual non-contrast against a case whose plain scan is known, and on a real scan."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from libimg.phantoms import LABELS, chest, virtual_noncontrast

BLOOD = ("heart_left", "heart_right", "aorta", "pulmonary_artery", "pulmonary_vein", "vein")


def blood(labels):
    return torch.stack([labels == LABELS[name] for name in BLOOD]).any(0)


def dilate(mask, times):
    return torch.from_numpy(ndimage.binary_dilation(mask.numpy(), iterations=times))


def erode(mask, times):
    return torch.from_numpy(ndimage.binary_erosion(mask.numpy(), iterations=times))


@pytest.fixture(scope="module")
def case():
    generator = torch.Generator().manual_seed(3)
    return chest(
        shape=(48, 72, 72), spacing_mm=(2.2, 2.2, 2.2), motion_voxels=0, generator=generator
    )


def test_known_case_comes_back(case):
    label = blood(case.labels)
    plain = virtual_noncontrast(case.cta, label, blood_hu=45.0)
    inside = erode(label, 2)
    assert plain[inside].mean() == pytest.approx(45, abs=5)
    assert plain[inside].std() < 1.5 * (case.cta - case.cta_clean)[inside].std()
    for mask, part in ((inside, 0.1), (label & ~inside, 0.15), (dilate(label, 1) & ~label, 0.6)):
        before = (case.cta - case.ncct_clean)[mask].abs().mean()
        assert (plain - case.ncct_clean)[mask].abs().mean() < part * before


def test_texture_stays_and_the_rest_is_untouched(case):
    label = blood(case.labels)
    plain = virtual_noncontrast(case.cta, label)
    far = ~dilate(label, 1)
    assert torch.equal(plain[far], case.cta[far])
    inside = erode(label, 2)
    noise = (case.cta - case.cta_clean)[inside]
    assert torch.corrcoef(torch.stack([noise, plain[inside]]))[0, 1] > 0.6


def test_unlabelled_vessels_are_found_on_request(case):
    whole = blood(case.labels)
    seed = case.labels == LABELS["aorta"]
    atrium = erode(case.labels == LABELS["heart_left"], 1)
    bone = case.labels == LABELS["bone"]
    without = virtual_noncontrast(case.cta, seed)
    grown = virtual_noncontrast(case.cta, seed, also_above_hu=200.0, keep=bone)
    assert without[atrium].median() > 200
    assert grown[atrium].median() == pytest.approx(40, abs=20)
    assert torch.equal(grown[bone], case.cta[bone])
    touched = grown != case.cta
    assert (touched & ~dilate(whole, 2)).sum() < 0.02 * touched.sum()


def test_keep_wins_over_the_label(case):
    label = blood(case.labels)
    keep = torch.zeros_like(label)
    keep[: label.shape[0] // 2] = True
    plain = virtual_noncontrast(case.cta, label, keep=keep)
    assert torch.equal(plain[keep], case.cta[keep])
    assert not torch.equal(plain[~keep], case.cta[~keep])


def test_calcium_in_the_label_stays_bright():
    scan = torch.full((17, 17, 17), 340.0)
    scan += torch.randn(scan.shape, generator=torch.Generator().manual_seed(0))
    scan[8, 8, 8] = 1200
    plain = virtual_noncontrast(scan, torch.ones_like(scan, dtype=torch.bool))
    assert plain[8, 8, 8] == pytest.approx(900, abs=10)
    assert plain[8, 8, 9] == pytest.approx(40, abs=10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_input_and_empty_label(case, dtype):
    scan = case.cta[:12].to(dtype)
    before = scan.clone()
    same = virtual_noncontrast(scan, torch.zeros_like(scan, dtype=torch.bool))
    assert same.dtype == dtype
    assert torch.equal(same, scan)
    assert same.data_ptr() != scan.data_ptr()
    virtual_noncontrast(scan, scan > 200)
    assert torch.equal(scan, before)


def test_added_noise_is_as_asked_and_repeats(case):
    label = blood(case.labels)
    plain = virtual_noncontrast(case.cta, label)
    first, again = (
        virtual_noncontrast(
            case.cta, label, noise_hu=9.0, generator=torch.Generator().manual_seed(1)
        )
        for _ in range(2)
    )
    assert torch.equal(first, again)
    assert (first - plain).std() == pytest.approx(9, rel=0.02)


def test_bad_input_is_refused(case):
    label = blood(case.labels)
    with pytest.raises(ValueError, match="generator"):
        virtual_noncontrast(case.cta, label, noise_hu=3.0)
    with pytest.raises(ValueError, match="noise_hu"):
        virtual_noncontrast(case.cta, label, noise_hu=-3.0, generator=torch.Generator())
    with pytest.raises((ValueError, TypeError), match="vessels"):
        virtual_noncontrast(case.cta, label[1:])


@pytest.mark.data
def test_real_scan_loses_the_contrast_of_its_labels_only(data_folder):
    import nibabel

    def volume(name):
        path = data_folder / "ct" / "cardiac_cta" / f"{name}.nii.gz"
        return torch.from_numpy(np.asarray(nibabel.load(path).dataobj, dtype=np.float32))

    scan = volume("ct_cropped")[:, :, 60:140]
    label = (volume("aorta")[:, :, 60:140] > 0) | (volume("brachiocephalic_trunk") > 0)[
        :, :, 60:140
    ]
    plain = virtual_noncontrast(scan, label)
    lumen = erode(volume("aorta_true_lumen")[:, :, 60:140] > 0, 2)
    assert scan[lumen].median() > 350
    assert plain[lumen].median() == pytest.approx(40, abs=5)
    assert plain[label].median() == pytest.approx(40, abs=5)
    far = ~dilate(label, 1)
    assert torch.equal(plain[far], scan[far])
