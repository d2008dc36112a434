import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import PRIVATE, write_series
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segadv_monai.data.dicom_seg_read import read_dicom_seg
from segadv_monai.data.dicom_seg_write import write_dicom_seg
from segadv_monai.data.dicom_series import DicomSeries, read_series
from segadv_monai.protocols import ConfigError, DataError

NAMES = {1: "Liver", 2: "spleen", 3: "left kidney"}

# Oblique, columns leftwards, anisotropic.
TURN = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
TILT = np.array([[1.0, 0.0, 0.0], [0.0, 0.8, -0.6], [0.0, 0.6, 0.8]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ TILT @ np.diag([-0.7, -0.9, 2.1])
OBLIQUE[:3, 3] = (41.5, -63.25, 17.0)


def label_map() -> NDArray[np.uint8]:
    """Segments 1 and 2 alone, in three of seven slices, the same under no flip and no turn."""
    result = np.zeros((5, 6, 7), np.uint8)
    result[1:3, 2:, 4] = 1
    result[3, 1, 2:5] = 2
    return result


@pytest.fixture
def series(tmp_path: Path) -> DicomSeries:
    return made(tmp_path / "ct")


def made(folder: Path, **changes: Any) -> DicomSeries:
    array = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    write_series(folder, array, OBLIQUE, **changes)
    return read_series(folder)


def written(series: DicomSeries, values: NDArray[Any] | None = None, **options: Any) -> Path:
    target = series.files[0].parents[1] / "out" / "seg.dcm"
    options.setdefault("segments", NAMES)
    write_dicom_seg(label_map() if values is None else values, series, target, **options)
    return target


# --- what is written


def test_a_label_map_comes_back_on_the_grid_of_its_series(series: DicomSeries) -> None:
    path = written(series)
    for source in (series, series.files[0].parent):
        result = read_dicom_seg(path, source=source)
        np.testing.assert_array_equal(result.array, label_map())
        np.testing.assert_array_equal(result.affine, series.affine)
    assert result.array.dtype == np.uint8
    assert result.segments == NAMES
    assert result.kind == "BINARY"
    assert result.series_uid == series.series_uid


def test_the_grid_of_the_file_alone_begins_at_the_first_slice_with_a_segment(series: DicomSeries) -> None:
    result = read_dicom_seg(written(series))
    np.testing.assert_array_equal(result.array, label_map()[:, :, 2:5])
    np.testing.assert_allclose(result.affine[:3, :3], series.affine[:3, :3], atol=1e-6)
    np.testing.assert_allclose(result.affine @ (0, 0, 0, 1), series.affine @ (0, 0, 2, 1), atol=1e-4)


def test_highdicom_reads_what_is_written(series: DicomSeries) -> None:
    volume = highdicom.seg.segread(written(series)).get_volume(combine_segments=True)
    found = {
        tuple(np.round(np.diag([-1, -1, 1, 1]) @ volume.affine @ (*at, 1), 3)): volume.array[tuple(at)]
        for at in np.argwhere(volume.array)
    }
    expected = {
        tuple(np.round(series.affine @ (*at, 1), 3)): label_map()[tuple(at)]
        for at in np.argwhere(label_map())
    }
    assert found == expected


def test_pydicom_finds_every_source_and_what_made_the_segments(series: DicomSeries) -> None:
    file = pydicom.dcmread(written(series, algorithm="V-Net of vnet_ct_organs", description="Organs"))
    assert file.SOPClassUID.name == "Segmentation Storage"
    assert (file.Modality, file.SeriesDescription, file.Manufacturer) == ("SEG", "Organs", "segadv_monai")
    assert file.SeriesInstanceUID != series.series_uid
    (referenced,) = file.ReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.series_uid
    headers = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, series.files)}
    assert {one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence} == set(headers)
    assert [(one.SegmentNumber, one.SegmentLabel) for one in file.SegmentSequence] == list(NAMES.items())
    for segment in file.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (made_by,) = segment.SegmentationAlgorithmIdentificationSequence
        assert made_by.AlgorithmName == "V-Net of vnet_ct_organs"
        assert made_by.AlgorithmSource == "segadv_monai"
        assert made_by.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    for frame, pixels in zip(file.PerFrameFunctionalGroupsSequence, file.pixel_array, strict=True):
        source = headers[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        k = [one.SOPInstanceUID for one in headers.values()].index(source.SOPInstanceUID)
        np.testing.assert_array_equal(pixels, (label_map()[:, :, k] == number).T)


def test_every_file_has_identifiers_of_its_own(series: DicomSeries) -> None:
    first, second = pydicom.dcmread(written(series)), pydicom.dcmread(written(series))
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.StudyInstanceUID == second.StudyInstanceUID


def test_a_name_of_the_standard_gets_its_code_and_any_other_the_code_that_is_given(
    series: DicomSeries,
) -> None:
    names = {1: "liver", 2: "Tumour", 3: "left_ventricle", 4: "bone", 5: "my region", 6: "whole tumour"}
    given = {
        "whole tumour": [
            ["49755003", "SCT", "Morphologically Abnormal Structure"],
            ["52988006", "SCT", "Lesion"],
        ]
    }
    file = pydicom.dcmread(written(series, segments=names, codes=given))
    found = [
        (
            one.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning,
            one.SegmentedPropertyTypeCodeSequence[0].CodeValue,
        )
        for one in file.SegmentSequence
    ]
    assert found == [
        ("Anatomical Structure", "10200004"),
        ("Morphologically Abnormal Structure", "108369006"),
        ("Anatomical Structure", "87878005"),
        ("Tissue", "3138006"),
        ("Anatomical Structure", "123037004"),
        ("Morphologically Abnormal Structure", "52988006"),
    ]
    assert {
        one.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator for one in file.SegmentSequence
    } == {"SCT"}


def test_names_of_any_language_are_kept(tmp_path: Path) -> None:
    odd = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg"}
    file = pydicom.dcmread(written(made(tmp_path / "ct", **odd), segments={1: "Hüfte", 2: "肝臓"}))
    assert str(file.PatientName) == "Müller^Jörg"
    assert [one.SegmentLabel for one in file.SegmentSequence] == ["Hüfte", "肝臓"]


def test_label_values_with_gaps_become_segments_without(series: DicomSeries) -> None:
    values = np.array([0, 4, 1000], np.uint16)[label_map()]
    result = read_dicom_seg(written(series, values, segments={1000: "b", 4: "a"}), source=series)
    np.testing.assert_array_equal(result.array, label_map())
    assert result.segments == {1: "a", 2: "b"}


def test_more_than_255_segments_are_16_bits(series: DicomSeries) -> None:
    values = label_map().astype(np.uint16) * 150
    result = read_dicom_seg(
        written(series, values, segments={n: f"part {n}" for n in range(1, 301)}), source=series
    )
    assert result.array.dtype == np.uint16
    np.testing.assert_array_equal(result.array, values)


def test_a_map_without_any_segment_is_a_valid_file(series: DicomSeries) -> None:
    path = written(series, np.zeros((5, 6, 7), np.uint8))
    result = read_dicom_seg(path)
    assert result.array.shape == (5, 6, 7)
    assert not result.array.any()
    assert result.segments == NAMES
    np.testing.assert_allclose(result.affine, series.affine, atol=1e-6)


def test_segments_that_overlap_are_kept_apart(series: DicomSeries) -> None:
    maps = np.stack([label_map() == 1, label_map() > 0])
    path = written(series, maps, segments={1: "core", 2: "whole"})
    result = read_dicom_seg(path, source=series, stacked=True)
    np.testing.assert_array_equal(result.array, maps)
    with pytest.raises(DataError, match=r"seg\.dcm has segments that overlap, 'core' and 'whole': read them"):
        read_dicom_seg(path)


def test_probabilities_are_kept_in_steps_of_a_255th(series: DicomSeries) -> None:
    maps = np.random.default_rng(0).random((2, 5, 6, 7)).astype(np.float32)
    result = read_dicom_seg(written(series, maps, segments={1: "a", 2: "b"}), source=series)
    assert result.kind == "FRACTIONAL"
    assert result.array.dtype == np.float32
    np.testing.assert_allclose(result.array, maps, atol=0.5 / 255 + 1e-6)


def test_distances_are_those_between_the_slices_and_not_the_declared_ones(tmp_path: Path) -> None:
    series = made(tmp_path / "ct", SliceThickness="3.2", SpacingBetweenSlices="5")
    file = pydicom.dcmread(written(series))
    measures = file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SpacingBetweenSlices == pytest.approx(2.1)
    assert measures.SliceThickness == 3.2
    result = read_dicom_seg(written(series), source=series)
    np.testing.assert_array_equal(result.array, label_map())


def test_directions_of_three_decimals_are_followed_to_the_last_slice(tmp_path: Path) -> None:
    """Then the slices do not lie quite above one another: by 0.03 degrees here."""
    affine = np.eye(4)
    affine[:3, :3] = [[-1, 0, 0], [0, -np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), -np.cos(0.3)]]
    write_series(
        tmp_path / "ct",
        np.zeros((5, 6, 7), np.int16),
        affine,
        ImageOrientationPatient=["1", "0", "0", "0", f"{np.cos(0.3):.3f}", f"{np.sin(0.3):.3f}"],
    )
    series = read_series(tmp_path / "ct")
    path = written(series)
    np.testing.assert_array_equal(read_dicom_seg(path, source=series).array, label_map())
    last = pydicom.dcmread(series.files[4]).ImagePositionPatient
    alone = read_dicom_seg(path)
    np.testing.assert_allclose((alone.affine @ (0, 0, 2, 1))[:3], last * np.array([-1, -1, 1]), atol=1e-6)


@pytest.mark.parametrize("slices", [(1, 2, 6), (2, 4, 6), (3,)])
def test_slices_left_out_are_background(series: DicomSeries, slices: tuple[int, ...]) -> None:
    values = np.zeros((5, 6, 7), np.uint8)
    values[1, 2:, slices] = 1
    result = read_dicom_seg(written(series, values), source=series)
    np.testing.assert_array_equal(result.array, values)


def test_frames_that_lie_across_the_slices_of_the_series_are_turned_to_them(
    series: DicomSeries, tmp_path: Path
) -> None:
    """The same voxels cut the other way: its rows are our slices, backwards, and its slices our columns."""
    turn = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 6], [0, 0, 0, 1]])
    folder = tmp_path / "across"
    write_series(folder, np.zeros((7, 6, 5), np.int16), series.affine @ turn)
    write_dicom_seg(
        np.flip(label_map(), 2).transpose(2, 1, 0), folder, tmp_path / "across.dcm", segments=NAMES
    )
    result = read_dicom_seg(tmp_path / "across.dcm", source=series)
    np.testing.assert_array_equal(result.array, label_map())


def test_a_file_that_does_not_declare_the_distance_of_its_slices_shows_it(series: DicomSeries) -> None:
    values = np.zeros((5, 6, 7), np.uint8)
    values[1, 2:, (1, 2, 6)] = 1
    path = written(series, values)
    file = pydicom.dcmread(path)
    del file.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices
    file.save_as(path)
    np.testing.assert_array_equal(read_dicom_seg(path, source=series).array, values)
    np.testing.assert_array_equal(read_dicom_seg(path).array, values[..., 1:])


# --- what is refused


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((5, 6, 8), np.uint8), {}, "is 5 x 6 x 8 but the series is 5 x 6 x 7: bring it back"),
        (np.zeros((2, 5, 6, 7), bool), {}, "is 2 x 5 x 6 x 7 but the series is 3 x 5 x 6 x 7"),
        (np.full((5, 6, 7), 9, np.uint8), {}, r"label values \[9\] have no name: add them to segments"),
        (np.zeros((5, 6, 7), np.float32), {}, "a label map holds integers, got float32: put AsDiscreted"),
        (np.full((3, 5, 6, 7), 1.5), {}, "probabilities lie between 0 and 1"),
        (np.full((3, 5, 6, 7), np.nan), {}, "probabilities lie between 0 and 1"),
        (None, {"segments": {}}, "segments name the label values from 1 on"),
        (None, {"segments": {0: "background"}}, "segments name the label values from 1 on"),
        (None, {"segments": {1: "a", 2: ""}}, "segments name the label values from 1 on"),
        (None, {"segments": {1: "a" * 65, 2: "b"}}, "has 65 characters: DICOM takes from 1 to 64"),
        (None, {"segments": {1: "a", 2: None}}, "segments name the label values from 1 on"),
        (None, {"segments": {1: "a\\b", 2: "b"}}, "no backslash"),
        (None, {"algorithm": ""}, "has 0 characters"),
        (None, {"codes": {"heart": []}}, "codes are given for 'heart', which is no segment"),
        (None, {"codes": {"Liver": ["10200004", "SCT"]}}, "the codes of 'Liver' are .*: give the category's"),
    ],
)
def test_what_is_no_segmentation_of_the_series_is_refused(
    series: DicomSeries, values: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        written(series, values, **options)
    assert "\n" not in str(caught.value)
    assert not (series.files[0].parents[1] / "out").exists()


def test_a_series_that_cannot_be_referred_to_is_refused(tmp_path: Path) -> None:
    series = made(tmp_path / "ct", FrameOfReferenceUID=None)
    with pytest.raises(DataError, match=r"0000\.dcm has no FrameOfReferenceUID, which a DICOM segmentation"):
        written(series)


def test_a_failed_write_leaves_nothing(series: DicomSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: Any, path: Path, **__: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", half)
    with pytest.raises(DataError, match=r"seg\.dcm cannot be written .*No space left on device"):
        written(series)
    assert list((series.files[0].parents[1] / "out").iterdir()) == []


def test_a_missing_library_is_named_with_its_command(
    series: DicomSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(series)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"highdicom: install it with pip install 'segadv-monai\[dicom\]'"):
        written(series)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(
        ConfigError, match=r"need pydicom: install it with pip install 'segadv-monai\[dicom\]'"
    ):
        read_dicom_seg(path)


# --- the patient


def test_the_patient_is_in_the_file_and_in_no_log_and_no_warning(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    """A name of one part, a date and a sex that are none, a number too long: libraries tell of each."""
    odd = {"PatientName": "Marker", "PatientBirthDate": "Marker", "PatientSex": "MARKER"}
    odd |= {"PatientID": "Marker" * 20, "PatientAge": "Marker"}
    with pydicom.config.disable_value_validation():
        series = made(tmp_path / "ct", **odd)
        source = pydicom.dcmread(series.files[0])
    # As a program that logs everything; a test before may have settled it.
    logging.getLogger("highdicom").setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    path = written(series)
    read_dicom_seg(path, source=series)
    told = caplog.text + "".join(capfd.readouterr())
    assert [str(one.message) for one in recwarn] == []
    assert "marker" not in told.casefold()
    uids = [source[f"{level}InstanceUID"].value for level in ("Study", "Series", "SOP")]
    assert not [value for value in (*PRIVATE.values(), *uids) if value in told]
    with pydicom.config.disable_value_validation():
        file = pydicom.dcmread(path)
        for keyword in (*odd, "StudyDate", "AccessionNumber", "ReferringPhysicianName"):
            assert file[keyword].value == source[keyword].value != ""


def test_a_series_whose_patient_was_removed_can_be_segmented(tmp_path: Path) -> None:
    gone = dict.fromkeys([*PRIVATE, "PatientSex", "StudyID", "StudyDate", "StudyTime"])
    file = pydicom.dcmread(written(made(tmp_path / "ct", **gone)))
    assert file.PatientName == file.PatientID == file.StudyDate == ""


# --- files of others


def test_the_files_of_highdicom_are_read(shared_data: Path) -> None:
    folder = shared_data / "dicom_seg" / "highdicom"
    binary = read_dicom_seg(folder / "seg_image_ct_binary.dcm")
    assert binary.array.shape == (16, 16, 3)
    assert binary.segments == {1: "first segment"}
    np.testing.assert_allclose(binary.affine @ (0, 0, 2, 1), (125, 128.100006, 105.519997, 1), atol=1e-4)
    fractional = read_dicom_seg(folder / "seg_image_ct_binary_fractional.dcm")
    assert fractional.kind == "FRACTIONAL"
    np.testing.assert_array_equal(fractional.array[0], binary.array)
    true = read_dicom_seg(folder / "seg_image_ct_true_fractional.dcm").array
    assert ((true > 0) & (true < 1)).any()
    single = read_dicom_seg(folder / "seg_image_ct_binary_single_frame.dcm")
    assert single.array.shape == (128, 128, 1)
    np.testing.assert_allclose(np.diag(single.affine)[:3], (-0.661468, -0.661468, 5))


def test_overlapping_segments_with_a_gap_between_their_slices_are_read(shared_data: Path) -> None:
    path = shared_data / "dicom_seg" / "highdicom" / "seg_image_ct_binary_overlap.dcm"
    with pytest.raises(DataError, match="'first segment' and 'second segment'"):
        read_dicom_seg(path)
    result = read_dicom_seg(path, stacked=True)
    frames = pydicom.dcmread(path).pixel_array.reshape(2, 4, 16, 16)
    assert result.array.shape == (2, 16, 16, 165)
    np.testing.assert_array_equal(result.array[..., [0, 162, 163, 164]], frames.transpose(0, 3, 2, 1))
    assert result.array.sum() == frames.sum()


@pytest.mark.parametrize(
    "name",
    [
        *("highdicom/seg_image_ct_binary.dcm", "highdicom/seg_image_ct_binary_overlap.dcm"),
        *("highdicom/seg_image_ct_true_fractional.dcm", "highdicom/seg_image_ct_binary_single_frame.dcm"),
        *("dcmqi_24x38x3/seg/label.seg", "dcmqi_ct3slice/seg/liver.dcm"),
    ],
)
def test_a_file_is_read_as_highdicom_reads_it(shared_data: Path, name: str) -> None:
    path = shared_data / "dicom_seg" / name
    result = read_dicom_seg(path, stacked=True)
    volume = highdicom.seg.segread(path).get_volume()
    to_ours = np.linalg.inv(result.affine) @ np.diag([-1, -1, 1, 1]) @ volume.affine
    marked = np.argwhere(volume.array)
    there = np.column_stack([marked[:, :3], np.ones(len(marked))]) @ to_ours[:3].T
    np.testing.assert_allclose(there, np.round(there), atol=1e-3)
    expected = np.zeros_like(result.array)
    expected[marked[:, 3], *np.round(there).astype(int).T] = volume.array[tuple(marked.T)]
    np.testing.assert_array_equal(result.array, expected)


def test_the_files_of_dcmqi_lie_on_their_series_and_their_nrrd(shared_data: Path) -> None:
    folder = shared_data / "dicom_seg" / "dcmqi_24x38x3"
    result = read_dicom_seg(folder / "seg" / "label.seg")
    nrrd = SimpleITK.ReadImage(folder / "nrrd" / "label.nrrd")
    np.testing.assert_array_equal(result.array, SimpleITK.GetArrayFromImage(nrrd).T)
    for at in [(0, 0, 0), (23, 37, 2)]:
        in_lps = nrrd.TransformIndexToPhysicalPoint(at) * np.array((-1, -1, 1))
        np.testing.assert_allclose((result.affine @ (*at, 1))[:3], in_lps, atol=1e-4)
    series = read_series(folder / "image")
    on_series = read_dicom_seg(folder / "seg" / "label.seg", source=series)
    np.testing.assert_array_equal(on_series.array, result.array)
    assert on_series.series_uid == series.series_uid
    three = shared_data / "dicom_seg" / "dcmqi_ct3slice"
    liver = read_dicom_seg(three / "seg" / "liver.dcm", source=three / "ct")
    assert liver.array.shape == (512, 512, 3)
    with pytest.raises(DataError, match="does not lie on the voxels of the series"):
        read_dicom_seg(folder / "seg" / "label.seg", source=three / "ct")


@pytest.mark.parametrize("backwards", [False, True])
def test_a_multi_frame_series_can_be_segmented(shared_data: Path, tmp_path: Path, *, backwards: bool) -> None:
    folder = shared_data / "dicom_seg" / "dcmqi_24x38x3"
    file = pydicom.dcmread(folder / "multiframe" / "mf.dcm")
    if backwards:
        file.PixelData = file.pixel_array[::-1].tobytes()
        file.PerFrameFunctionalGroupsSequence = file.PerFrameFunctionalGroupsSequence[::-1]
    file.save_as(tmp_path / "mf.dcm")
    series = read_series(tmp_path / "mf.dcm")
    values = read_dicom_seg(folder / "seg" / "label.seg", source=series).array
    assert values.sum(axis=(0, 1)).tolist() == [0, 315, 0]
    values[3:9, 4:20, 0] = 1
    write_dicom_seg(values, series, tmp_path / "seg.dcm", segments={1: "liver"})
    result = read_dicom_seg(tmp_path / "seg.dcm", source=series)
    np.testing.assert_array_equal(result.array, values)
    for one in pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence:
        frame = one.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        source = file.PerFrameFunctionalGroupsSequence[frame - 1].PlanePositionSequence[0]
        assert one.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient


def test_the_liver_of_a_real_series_comes_back(shared_data: Path, tmp_path: Path) -> None:
    series = read_series(shared_data / "ct_liver_dicom" / "DICOM_anon")
    masks = sorted((shared_data / "ct_liver_dicom" / "Ground").iterdir())
    # The number of the mask is that of the file.
    ordered = [masks[int(path.name[1:5])] for path in series.files]
    values = np.stack([np.asarray(Image.open(path)).T > 0 for path in ordered], axis=-1).astype(np.uint8)
    write_dicom_seg(values, series, tmp_path / "seg.dcm", segments={1: "liver"})
    result = read_dicom_seg(tmp_path / "seg.dcm", source=series)
    np.testing.assert_array_equal(result.array, values)
    assert series.array[result.array > 0].mean() == pytest.approx(141, abs=0.5)


def test_a_label_map_object_is_read(series: DicomSeries, tmp_path: Path) -> None:
    """The newer kind, with segment numbers as pixel values."""
    like = highdicom.seg.segread(written(series))
    headers = [pydicom.dcmread(path) for path in series.files]
    for header in headers:
        header.PatientName = ""
    file = highdicom.seg.Segmentation(
        *(headers, label_map().transpose(2, 1, 0), "LABELMAP", like.SegmentSequence),
        series_instance_uid=highdicom.UID(),
        sop_instance_uid=highdicom.UID(),
        series_number=2,
        instance_number=1,
        software_versions="1",
        device_serial_number="1",
        manufacturer="tests",
        manufacturer_model_name="tests",
    )
    file.save_as(tmp_path / "map.dcm")
    result = read_dicom_seg(tmp_path / "map.dcm", source=series)
    assert (result.kind, result.segments) == ("LABELMAP", NAMES)
    np.testing.assert_array_equal(result.array, label_map())


# --- files that cannot be read


def test_a_segmentation_that_marks_voxels_outside_the_series_is_refused(series: DicomSeries) -> None:
    path = written(series)
    below = replace(series, array=series.array[..., :4])
    with pytest.raises(DataError, match=r"seg\.dcm marks voxels outside the series"):
        read_dicom_seg(path, source=below)


def test_a_segmentation_between_the_voxels_of_the_series_is_refused(series: DicomSeries) -> None:
    path = written(series)
    for shift in ((0.5, 0, 0), (0, 0, -0.1)):
        moved = series.affine.copy()
        moved[:3, 3] += series.affine[:3, :3] @ shift
        with pytest.raises(DataError, match=r"seg\.dcm does not lie on the voxels of the series"):
            read_dicom_seg(path, source=replace(series, affine=moved))


def broken(path: Path, **changes: Any) -> Path:
    file = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(file, keyword, value)
    file.save_as(path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PixelData": b"\0\0"}, r"declares \d+ bytes and holds 2: fetch"),
        ({"Rows": 60000, "Columns": 60000}, r"declares 60000 x 60000 x \d+ values, .* GiB are allowed"),
        ({"NumberOfFrames": 0}, "declares the size 5 x 6 x 0: mend its header"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "is a DICOM file of another kind"),
        ({"SegmentSequence": []}, "has a segment 1 that it does not describe"),
        ({"PerFrameFunctionalGroupsSequence": []}, "does not place each of its frames"),
        ({"SharedFunctionalGroupsSequence": []}, "is a damaged DICOM segmentation"),
        ({"SegmentationType": "OTHER", "SegmentSequence": None}, "a kind of segmentation that is not known"),
    ],
)
def test_a_damaged_file_ends_in_one_line_with_its_name(
    series: DicomSeries, changes: dict[str, Any], message: str
) -> None:
    path = broken(written(series), **changes)
    with pytest.raises(DataError, match=rf"seg\.dcm .*({message})") as caught:
        read_dicom_seg(path)
    assert "\n" not in str(caught.value)


def test_frames_on_no_regular_grid_are_refused(series: DicomSeries) -> None:
    path = written(series)
    file = pydicom.dcmread(path)
    file.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [1, 2, 3.7]
    file.save_as(path)
    with pytest.raises(DataError, match=r"seg\.dcm places its frames on no regular grid"):
        read_dicom_seg(path)


def test_a_file_cut_at_any_length_ends_in_one_line(series: DicomSeries, tmp_path: Path) -> None:
    content = written(series).read_bytes()
    cut = tmp_path / "cut.dcm"
    for length in range(0, len(content), len(content) // 23):
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.dcm ") as caught:
            read_dicom_seg(cut)
        assert "\n" not in str(caught.value)


def test_junk_and_what_is_not_there_are_refused(series: DicomSeries, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.dcm: there is no such file"):
        read_dicom_seg(tmp_path / "none.dcm")
    (tmp_path / "junk.dcm").write_bytes(b"junk" * 100)
    with pytest.raises(DataError, match=r"junk\.dcm is truncated or damaged"):
        read_dicom_seg(tmp_path / "junk.dcm")
    with pytest.raises(DataError, match=r"0000\.dcm is a DICOM file of another kind"):
        read_dicom_seg(series.files[0])


def test_a_deflated_file_is_read(series: DicomSeries) -> None:
    path = written(series)
    file = pydicom.dcmread(path)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.save_as(path)
    np.testing.assert_array_equal(read_dicom_seg(path, source=series).array, label_map())


def test_a_segment_that_comes_twice_in_a_slice_is_refused(series: DicomSeries) -> None:
    path = written(series)
    file = pydicom.dcmread(path)
    first, second = file.PerFrameFunctionalGroupsSequence[1:3]
    second.PlanePositionSequence = first.PlanePositionSequence
    file.save_as(path)
    with pytest.raises(DataError, match=r"seg\.dcm has a segment 2 in one slice twice"):
        read_dicom_seg(path)


def test_frames_of_different_directions_are_refused(series: DicomSeries) -> None:
    path = written(series)
    file = pydicom.dcmread(path)
    other = pydicom.Dataset()
    other.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    file.PerFrameFunctionalGroupsSequence[0].PlaneOrientationSequence = [other]
    file.save_as(path)
    with pytest.raises(DataError, match="has 2 different values of ImageOrientationPatient"):
        read_dicom_seg(path)
