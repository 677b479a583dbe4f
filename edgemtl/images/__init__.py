"""Images and arrays from files, as the arrays a model takes; a leaf: numpy and pillow only.

The one place where a picture is opened: PNG and JPEG, nothing else.
"""

from edgemtl.images.arrays import read_array
from edgemtl.images.decode import Picture, read_picture
from edgemtl.images.frames import (
    FrameFiles,
    LoadedFrame,
    expand_frames,
    list_frames,
    load_frame,
    read_arrays,
    split_name,
)
from edgemtl.images.labels import read_label_picture
from edgemtl.images.load import (
    LoadedImage,
    is_array_file,
    load_image,
    normalise,
    summarise_notes,
)
from edgemtl.images.resize import FILTERS, resize, resize_rgb

__all__ = [
    "FILTERS",
    "FrameFiles",
    "LoadedFrame",
    "LoadedImage",
    "Picture",
    "expand_frames",
    "is_array_file",
    "list_frames",
    "load_frame",
    "load_image",
    "normalise",
    "read_array",
    "read_arrays",
    "read_label_picture",
    "read_picture",
    "resize",
    "resize_rgb",
    "split_name",
    "summarise_notes",
]
