from .atomic import atomic_write
from .bias_correction import N4BiasFieldCorrection, N4BiasFieldCorrectiond
from .check import check_dataset
from .decathlon import datalist, identity_of, labelled_cases, labels_of, sections_of, unlabelled_cases
from .dicom_seg_read import DicomSegmentation, read_dicom_seg
from .dicom_seg_write import write_dicom_seg
from .dicom_series import DicomSeries, is_series, read_series, series_files
from .findings import DataReport, Finding
from .frozen import FrozenCacheDataset
from .hashes import digest_of, file_hashes, sha256_of
from .hemispheres import Hemispheres, HemisphereSlices, WithHealthyd
from .histogram_matching import MatchHistogram, MatchHistogramd, RandMatchHistogramd
from .inference_cases import image_files
from .loader import SeededLoader
from .sample import sample_data
from .save import SaveSegmentationd
from .volume_reader import VolumeReader

__all__ = [
    "DataReport",
    "DicomSegmentation",
    "DicomSeries",
    "Finding",
    "FrozenCacheDataset",
    "HemisphereSlices",
    "Hemispheres",
    "MatchHistogram",
    "MatchHistogramd",
    "N4BiasFieldCorrection",
    "N4BiasFieldCorrectiond",
    "RandMatchHistogramd",
    "SaveSegmentationd",
    "SeededLoader",
    "VolumeReader",
    "WithHealthyd",
    "atomic_write",
    "check_dataset",
    "datalist",
    "digest_of",
    "file_hashes",
    "identity_of",
    "image_files",
    "is_series",
    "labelled_cases",
    "labels_of",
    "read_dicom_seg",
    "read_series",
    "sample_data",
    "sections_of",
    "series_files",
    "sha256_of",
    "unlabelled_cases",
    "write_dicom_seg",
]
