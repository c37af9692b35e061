"""Data: sets fetched by name, toy sets, batches, and checks of a user's arrays.

`load("digits")` gives NumPy arrays. Read next: `registry.py`.
"""

from chainrule.data import images, ratings, texts  # each registers its sets
from chainrule.data.batches import batch_indices, epoch_order, split_validation
from chainrule.data.checks import check_examples, check_labels
from chainrule.data.folders import ImageFolder, image_folder
from chainrule.data.registry import Dataset, Examples, datasets, get, is_cached, load
from chainrule.data.toys import blobs, linear_regression, two_moons, xor

__all__ = [
    "Dataset",
    "Examples",
    "ImageFolder",
    "batch_indices",
    "blobs",
    "check_examples",
    "check_labels",
    "datasets",
    "epoch_order",
    "get",
    "image_folder",
    "images",
    "is_cached",
    "linear_regression",
    "load",
    "ratings",
    "split_validation",
    "texts",
    "two_moons",
    "xor",
]
