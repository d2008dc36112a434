import gzip
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from dicom_files import PRIVATE, write_series
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, Invertd, LoadImaged, Orientationd, Resized, Spacingd
from numpy.typing import NDArray
from PIL import Image

from segadv_monai.data import SaveSegmentationd, VolumeReader, read_dicom_seg
from segadv_monai.protocols import ConfigError, DataError

LOAD = LoadImaged("image", ensure_channel_first=True)
LOAD_VOLUME = LoadImaged("image", reader=VolumeReader, ensure_channel_first=True)

# Oblique, reversed slices, the first axis flipped, anisotropic.
TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
TILT = np.array([[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ TILT @ np.diag([-0.7, 0.9, -2.5])
OBLIQUE[:3, 3] = (41.5, -63.25, 17.0)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Wider than high, dark but for a corner: no flip or turn leaves it as it is."""
    array = np.zeros((14, 22, 3), np.uint8)
    array[1:4, 2:10] = 200
    array[10:, 18:] = 90
    path = tmp_path / "lesion.v2.png"
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return saved_volume(tmp_path / "ct.nii.gz")


def saved_volume(path: Path, array: NDArray[Any] | None = None, qform: int = 1, sform: int = 2) -> Path:
    array = np.zeros((9, 11, 7), np.int16) if array is None else array
    array[2:5, 3:5, 1:3] = 300
    array[7:, 9:, 5:] = 100
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms((0.7, 0.9, 2.5, 1.0)[: array.ndim])
    image.header.set_xyzt_units("mm")
    image.header["cal_max"] = 400
    image.header["descrip"] = b"name of a patient"
    image.set_qform(OBLIQUE if qform else None, qform)
    image.set_sform(OBLIQUE if sform else None, sform)
    nibabel.save(image, path)
    return path


def segmented(path: Path, threshold: float = 150) -> dict[Any, Any]:
    case = LOAD({"image": str(path)})
    image = case["image"]
    case["pred"] = MetaTensor((image[:1] > threshold).to(torch.uint8), meta=image.meta)
    return case


def test_a_picture_gets_a_palette_png_of_the_same_orientation(picture: Path, tmp_path: Path) -> None:
    SaveSegmentationd("pred", tmp_path / "out")(segmented(picture))
    with Image.open(tmp_path / "out" / "lesion.v2_segmentation.png") as result, Image.open(picture) as source:
        assert result.mode == "P"
        assert result.size == source.size == (22, 14)
        np.testing.assert_array_equal(np.asarray(result), np.asarray(source)[..., 0] > 150)


def test_the_palette_shows_black_and_distinct_colours(picture: Path, tmp_path: Path) -> None:
    case = segmented(picture)
    case["pred"][0] = torch.arange(14 * 22).reshape(22, 14) % 256
    SaveSegmentationd("pred", tmp_path)(case)
    with Image.open(tmp_path / "lesion.v2_segmentation.png") as result:
        np.testing.assert_array_equal(np.asarray(result).T, case["pred"][0])
        palette = np.array(result.getpalette()).reshape(-1, 3)
    assert palette[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette, axis=0)) == 256
    steps = np.abs(np.diff(palette[:12], axis=0)).sum(axis=1)
    assert steps.min() > 100


# MONAI reads .tif with itk, whose import crashes where its deprecation warnings are errors.
@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".tif"])
def test_every_kind_of_picture_gets_a_png(picture: Path, tmp_path: Path, suffix: str) -> None:
    with Image.open(picture) as source:
        source.save(tmp_path / f"other{suffix}")
    SaveSegmentationd("pred", str(tmp_path))(segmented(tmp_path / f"other{suffix}", 145))
    with Image.open(tmp_path / "other_segmentation.png") as result, Image.open(picture) as source:
        agreement = np.asarray(result) == (np.asarray(source)[..., 0] > 145)
    assert agreement.mean() > 0.97


def test_labels_read_back_by_monai_are_the_labels_written(picture: Path, tmp_path: Path) -> None:
    case = SaveSegmentationd("pred", tmp_path)(segmented(picture))
    again = LOAD({"image": str(tmp_path / "lesion.v2_segmentation.png")})["image"]
    assert torch.equal(again.as_tensor(), case["pred"].as_tensor().float())


@pytest.mark.parametrize(("qform", "sform"), [(1, 1), (1, 0), (0, 2), (0, 0)])
def test_a_volume_gets_the_geometry_of_its_input_bit_for_bit(tmp_path: Path, qform: int, sform: int) -> None:
    volume = saved_volume(tmp_path / "ct.nii.gz", qform=qform, sform=sform)
    SaveSegmentationd("pred", tmp_path / "out")(segmented(volume))
    source, result = nibabel.load(volume), nibabel.load(tmp_path / "out" / "ct_segmentation.nii.gz")
    np.testing.assert_array_equal(result.affine, source.affine)
    assert result.header.get_zooms() == source.header.get_zooms()
    assert result.header.get_xyzt_units() == source.header.get_xyzt_units()
    for field in ("qform_code", "sform_code", "pixdim", "quatern_b", "srow_x"):
        np.testing.assert_array_equal(result.header[field], source.header[field])
    assert result.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(result.dataobj), np.asarray(source.dataobj) > 150)


def test_nothing_but_the_geometry_of_a_volume_is_copied(volume: Path, tmp_path: Path) -> None:
    SaveSegmentationd("pred", tmp_path)(segmented(volume))
    header = nibabel.load(tmp_path / "ct_segmentation.nii.gz").header
    assert header["descrip"].item() == b""
    assert header["cal_max"] == 0


def test_a_volume_with_channels_and_of_nifti_2_keeps_its_grid(tmp_path: Path) -> None:
    array = np.zeros((9, 11, 7, 2), np.float32)
    array[2:5, 3:5, 1:3] = 300
    nibabel.save(nibabel.Nifti2Image(array, OBLIQUE), tmp_path / "two.nii")
    SaveSegmentationd("pred", tmp_path)(segmented(tmp_path / "two.nii"))
    result = nibabel.load(tmp_path / "two_segmentation.nii.gz")
    np.testing.assert_array_equal(result.affine, OBLIQUE)
    np.testing.assert_array_equal(np.asarray(result.dataobj), array[..., 0] > 150)


def inverted(path: Path, changes: list[Any]) -> dict[Any, Any]:
    transforms = Compose([LOAD, EnsureTyped("image"), *changes])
    case: dict[Any, Any] = transforms({"image": str(path)})
    image = case["image"]
    case["pred"] = MetaTensor((image[:1] > 150).to(torch.uint8), meta=image.meta)
    back = Invertd("pred", transforms, orig_keys="image", nearest_interp=True, to_tensor=True)
    result: dict[Any, Any] = back(case)
    return result


def test_a_resized_picture_comes_back_by_invertd(picture: Path, tmp_path: Path) -> None:
    SaveSegmentationd("pred", tmp_path)(inverted(picture, [Resized("image", (44, 28), mode="nearest")]))
    with Image.open(tmp_path / "lesion.v2_segmentation.png") as result, Image.open(picture) as source:
        np.testing.assert_array_equal(np.asarray(result), np.asarray(source)[..., 0] > 150)


def test_a_turned_and_resampled_volume_comes_back_by_invertd(volume: Path, tmp_path: Path) -> None:
    changes = [
        Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        Spacingd("image", (0.35, 0.45, 1.25), mode="nearest"),
    ]
    SaveSegmentationd("pred", tmp_path)(inverted(volume, changes))
    source, result = nibabel.load(volume), nibabel.load(tmp_path / "ct_segmentation.nii.gz")
    np.testing.assert_array_equal(result.affine, source.affine)
    agreement = np.asarray(result.dataobj) == (np.asarray(source.dataobj) > 150)
    assert agreement.mean() > 0.99


def test_a_map_of_another_size_than_its_file_is_refused(picture: Path, tmp_path: Path) -> None:
    case = Resized("pred", (44, 28), mode="nearest")(segmented(picture))
    with pytest.raises(
        DataError, match=r"v2\.png is 44 x 28 but the file is 22 x 14: bring it back with Inv"
    ):
        SaveSegmentationd("pred", tmp_path)(case)


def test_a_map_of_another_orientation_than_its_file_is_refused(tmp_path: Path) -> None:
    cube = saved_volume(tmp_path / "cube.nii.gz", np.zeros((9, 11, 7), np.int16))
    case = Orientationd("pred", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(segmented(cube))
    with pytest.raises(DataError, match="has another orientation or spacing than the file: bring it back"):
        SaveSegmentationd("pred", tmp_path)(case)


def test_two_inputs_of_one_name_are_refused_and_the_first_is_kept(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / picture.name
    other.parent.mkdir()
    Image.new("RGB", (22, 14)).save(other)
    save = SaveSegmentationd("pred", tmp_path)
    save(segmented(picture))
    save(segmented(picture))
    with pytest.raises(DataError, match=r"would both be written to .* give the inputs different names"):
        save(segmented(other))
    with Image.open(tmp_path / "lesion.v2_segmentation.png") as result:
        assert np.asarray(result).any()


def test_a_failed_write_leaves_the_old_file_and_no_other(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    save = SaveSegmentationd("pred", out)
    save(segmented(picture))
    before = {path: path.read_bytes() for path in out.iterdir()}

    def half(_: Image.Image, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(DataError, match=r"cannot be written .*No space left on device.*: choose another"):
        save(segmented(picture))
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_named(picture: Path) -> None:
    with pytest.raises(DataError, match=r"lesion\.v2_segmentation\.png cannot be written"):
        SaveSegmentationd("pred", picture / "out")(segmented(picture))


def test_probabilities_and_several_channels_are_refused(picture: Path, tmp_path: Path) -> None:
    case = segmented(picture)
    save = SaveSegmentationd("pred", tmp_path)
    for value in (0.5, -1.0, 65536.0, float("nan")):
        wrong = MetaTensor(torch.full_like(case["pred"], value, dtype=torch.float32), meta=case["pred"].meta)
        with pytest.raises(ConfigError, match="pred holds values that are no labels"):
            save({"pred": wrong})
    two = MetaTensor(torch.zeros(2, 22, 14), meta=case["pred"].meta)
    with pytest.raises(ConfigError, match="pred has 2 channels: put AsDiscreted"):
        save({"pred": two})


def test_a_tensor_that_does_not_know_its_file_is_refused(tmp_path: Path) -> None:
    for label in (torch.zeros(1, 4, 4), MetaTensor(torch.zeros(1, 4, 4))):
        with pytest.raises(ConfigError, match="pred does not tell its input file"):
            SaveSegmentationd("pred", tmp_path)({"pred": label})


def test_an_input_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    label = MetaTensor(torch.zeros(1, 4, 4, 4), meta={"filename_or_obj": str(tmp_path / "scan.xyz")})
    with pytest.raises(DataError, match=r"scan\.xyz is of a kind that cannot be followed: convert it to"):
        SaveSegmentationd("pred", tmp_path)({"pred": label})


def test_a_picture_with_a_map_of_three_axes_is_refused(tmp_path: Path) -> None:
    label = MetaTensor(torch.zeros(1, 4, 4, 4), meta={"filename_or_obj": "slice.png"})
    with pytest.raises(DataError, match=r"slice\.png has 3 axes: a picture's has 2"):
        SaveSegmentationd("pred", tmp_path)({"pred": label})


# --- labels above 255


def high_labels(path: Path) -> dict[Any, Any]:
    case = segmented(path)
    case["pred"] = MetaTensor(case["pred"].to(torch.int32) * 1000, meta=case["pred"].meta)
    return case


def test_labels_above_255_make_a_volume_of_16_bits(volume: Path, tmp_path: Path) -> None:
    SaveSegmentationd("pred", tmp_path)(high_labels(volume))
    result = nibabel.load(tmp_path / "ct_segmentation.nii.gz")
    assert result.get_data_dtype() == np.uint16
    assert np.unique(np.asarray(result.dataobj)).tolist() == [0, 1000]
    np.testing.assert_array_equal(result.affine, nibabel.load(volume).affine)


def test_labels_above_255_are_too_large_for_a_picture(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"v2\.png holds the label 1000, a PNG takes up to 255"):
        SaveSegmentationd("pred", tmp_path)(high_labels(picture))
    assert not list(tmp_path.glob("*segmentation*"))


# --- MetaImage, NRRD, DICOM

SEGMENTS = {"1": "liver", "2": "spleen"}


def labelled(path: Path) -> dict[Any, Any]:
    """A volume with labels 0, 1 and 2, the same under no flip and no turn."""
    case: dict[Any, Any] = LOAD_VOLUME({"image": str(path)})
    label = torch.zeros((1, *case["image"].shape[1:]), dtype=torch.uint8)
    label[0, 1:3, 2:, 4] = 1
    label[0, 3, 1, 2:5] = 2
    case["pred"] = MetaTensor(label, meta=case["image"].meta)
    return case


@pytest.fixture
def series(tmp_path: Path) -> Path:
    folder = tmp_path / "CT 1.2.3"
    write_series(folder, np.arange(210, dtype=np.int16).reshape(5, 6, 7), OBLIQUE)
    return folder


def itk_file(path: Path) -> Path:
    image = SimpleITK.GetImageFromArray(np.arange(210, dtype=np.int16).reshape(7, 6, 5))
    image.SetSpacing((0.7, 0.9, 2.1))
    image.SetOrigin((41.5, -63.25, 17.0))
    image.SetDirection((TURN @ TILT).ravel().tolist())
    image.SetMetaData("PatientName", "Marker")
    SimpleITK.WriteImage(image, path)
    return path


@pytest.mark.parametrize(
    ("name", "result"),
    [("a.mha", "a.mha"), ("a.mhd", "a.mha"), ("b.1.nrrd", "b.1.nrrd"), ("b.NHDR", "b.nrrd")],
)
def test_a_file_of_itk_is_followed_in_its_kind(tmp_path: Path, name: str, result: str) -> None:
    source = itk_file(tmp_path / name)
    case = labelled(source)
    SaveSegmentationd("pred", tmp_path / "out")(case)
    end = Path(result).suffix
    path = tmp_path / "out" / f"{result.removesuffix(end)}_segmentation{end}"
    image, original = SimpleITK.ReadImage(path), SimpleITK.ReadImage(source)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, case["pred"][0])
    assert image.GetDirection() == pytest.approx(original.GetDirection(), abs=1e-9)
    assert image.GetSpacing() == pytest.approx(original.GetSpacing(), abs=1e-9)
    assert image.GetOrigin() == original.GetOrigin()
    assert list((tmp_path / "out").iterdir()) == [path]
    assert b"Marker" not in path.read_bytes()


def test_a_series_gets_a_dicom_segmentation_of_its_name(series: Path, tmp_path: Path) -> None:
    case = labelled(series)
    save = SaveSegmentationd("pred", tmp_path / "out", segments=SEGMENTS, algorithm="vnet_ct_organs")
    save(case)
    save(case)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["CT 1.2.3_segmentation.dcm"]
    result = read_dicom_seg(tmp_path / "out" / "CT 1.2.3_segmentation.dcm", source=series)
    np.testing.assert_array_equal(result.array, case["pred"][0])
    assert result.segments == {1: "liver", 2: "spleen"}
    file = pydicom.dcmread(tmp_path / "out" / "CT 1.2.3_segmentation.dcm")
    assert {one.SegmentAlgorithmName for one in file.SegmentSequence} == {"vnet_ct_organs"}


def test_names_may_be_a_list_and_come_with_codes(series: Path, tmp_path: Path) -> None:
    codes = {"wing": [["91723000", "SCT", "Anatomical Structure"], ["40983000", "SCT", "Upper arm"]]}
    SaveSegmentationd("pred", tmp_path, segments=["liver", "wing"], codes=codes)(labelled(series))
    file = pydicom.dcmread(tmp_path / "CT 1.2.3_segmentation.dcm")
    assert file.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue == "40983000"


def test_a_turned_series_comes_back_by_invertd(series: Path, tmp_path: Path) -> None:
    turn = Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))
    transforms = Compose([LOAD_VOLUME, turn])
    case = labelled(series)
    turned = transforms({"image": str(series)})
    turned["pred"] = turn({"image": case["pred"]})["image"]
    turned["pred"].meta["filename_or_obj"] = str(series)
    back = Invertd("pred", transforms, orig_keys="image", nearest_interp=True, to_tensor=True)
    SaveSegmentationd("pred", tmp_path, segments=SEGMENTS)(back(turned))
    result = read_dicom_seg(tmp_path / "CT 1.2.3_segmentation.dcm", source=series)
    np.testing.assert_array_equal(result.array, case["pred"][0])


def test_every_volume_can_be_saved_as_nifti_on_its_affine(series: Path, tmp_path: Path) -> None:
    save = SaveSegmentationd("pred", tmp_path / "out", output="nifti")
    for source in (series, itk_file(tmp_path / "a.mha")):
        case = labelled(source)
        save(case)
        name = "a" if source.suffix == ".mha" else source.name
        result = nibabel.load(tmp_path / "out" / f"{name}_segmentation.nii.gz")
        np.testing.assert_array_equal(np.asarray(result.dataobj), case["pred"][0])
        np.testing.assert_allclose(result.affine, case["image"].meta["original_affine"], atol=1e-4)
        np.testing.assert_allclose(result.get_qform(), result.affine, atol=1e-4)
        assert result.header.get_xyzt_units()[0] == "mm"


def test_a_series_without_names_of_segments_is_refused(series: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a DICOM series, whose segments have names: give segments"):
        SaveSegmentationd("pred", tmp_path / "out")(labelled(series))
    with pytest.raises(ConfigError, match=r"label values \[2\] have no name"):
        SaveSegmentationd("pred", tmp_path / "out", segments=["liver"])(labelled(series))
    assert not (tmp_path / "out").exists()


def test_a_series_that_was_loaded_in_another_order_is_refused(series: Path, tmp_path: Path) -> None:
    case = labelled(series)
    case["pred"] = MetaTensor(case["pred"].flip(3), meta=case["pred"].meta)
    for entry in ("affine", "original_affine"):
        turned = np.asarray(case["image"].meta["original_affine"]) @ np.diag([1.0, 1.0, -1.0, 1.0])
        case["pred"].meta[entry] = torch.as_tensor(turned)
    with pytest.raises(DataError, match=r"its axes in another order: load it with the reader segadv_monai"):
        SaveSegmentationd("pred", tmp_path / "out", segments=SEGMENTS)(case)


def test_two_series_of_one_name_are_refused(series: Path, tmp_path: Path) -> None:
    other = shutil.copytree(series, tmp_path / "other" / series.name)
    save = SaveSegmentationd("pred", tmp_path / "out", segments=SEGMENTS)
    save(labelled(series))
    with pytest.raises(DataError, match="would both be written to"):
        save(labelled(other))


def test_a_failed_dicom_write_leaves_nothing(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Any, path: Path, **__: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", half)
    with pytest.raises(DataError, match=r"CT 1\.2\.3_segmentation\.dcm cannot be written .*No space left"):
        SaveSegmentationd("pred", tmp_path / "out", segments=SEGMENTS)(labelled(series))
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_of_the_patient_reaches_a_log_a_warning_or_the_meta_data(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    odd = {"PatientName": "Marker", "PatientBirthDate": "Marker", "PatientComments": "Marker"}
    with pydicom.config.disable_value_validation():
        write_series(tmp_path / "ct", np.zeros((5, 6, 7), np.int16), OBLIQUE, **odd)
    with caplog.at_level("DEBUG"):
        case = labelled(tmp_path / "ct")
        for output in ("like_input", "nifti"):
            SaveSegmentationd("pred", tmp_path, segments=SEGMENTS, output=output)(case)
    assert [str(one.message) for one in recwarn] == []
    told = f"{caplog.text}{''.join(capfd.readouterr())}{case['image'].meta}{case['pred'].meta}"
    assert not [value for value in ("Marker", *PRIVATE.values()) if value in told]
    assert b"Marker" in (tmp_path / "ct_segmentation.dcm").read_bytes()
    assert b"Marker" not in gzip.decompress((tmp_path / "ct_segmentation.nii.gz").read_bytes())


# --- settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "dicom"}, "output is 'dicom': set it to 'like_input' or 'nifti'"),
        ({"segments": "liver"}, "segments is the text 'liver': give a list"),
        ({"segments": {"one": "liver"}}, "segments has keys that are no label values"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SaveSegmentationd("pred", "out", **options)


def test_several_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one label map is saved for each input"):
        SaveSegmentationd(["pred", "label"], tmp_path)


def test_a_missing_key_is_skipped_where_allowed(tmp_path: Path) -> None:
    save = SaveSegmentationd("pred", tmp_path, allow_missing_keys=True)
    assert save({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError, match="pred"):
        SaveSegmentationd("pred", tmp_path)({"image": 1})
