from .atomic import atomic_write
from .check import check_dataset
from .decathlon import Dataset, datalist, labels_of, load_dataset
from .files import image_files
from .sample import sample_data
from .save import SaveSegmentationd

__all__ = [
    "Dataset",
    "SaveSegmentationd",
    "atomic_write",
    "check_dataset",
    "datalist",
    "image_files",
    "labels_of",
    "load_dataset",
    "sample_data",
]
