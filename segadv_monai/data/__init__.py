from .atomic import atomic_write
from .check import check_dataset
from .decathlon import datalist, labels_of
from .files import image_files
from .sample import sample_data
from .save import SaveSegmentationd

__all__ = [
    "SaveSegmentationd",
    "atomic_write",
    "check_dataset",
    "datalist",
    "image_files",
    "labels_of",
    "sample_data",
]
