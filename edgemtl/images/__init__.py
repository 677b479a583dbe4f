"""Images and arrays from files, as the arrays a model takes; a leaf: numpy and pillow only.

The one place where a picture is opened: PNG and JPEG, nothing else.
"""

from edgemtl.images.arrays import read_array
from edgemtl.images.decode import Picture, read_picture
from edgemtl.images.labels import read_label_picture
from edgemtl.images.load import (
    LoadedImage,
    expand,
    is_array_file,
    list_images,
    load_image,
    normalise,
    summarise_notes,
)
from edgemtl.images.resize import FILTERS, resize, resize_rgb

__all__ = [
    "FILTERS",
    "LoadedImage",
    "Picture",
    "expand",
    "is_array_file",
    "list_images",
    "load_image",
    "normalise",
    "read_array",
    "read_label_picture",
    "read_picture",
    "resize",
    "resize_rgb",
    "summarise_notes",
]
