"""Pictures of samples, small enough to stand in a page by the dozen."""

from __future__ import annotations

import base64
import io

from sweeps.engine.storage.layout import MOST_PICTURE, SAMPLES, sample_name, trial_folder
from wgan_core.data.folder import Folder
from wgan_core.data.image_files import open_png

# A file of fewer bytes stands in the page as it is.
SMALL_BYTES = 24_000
QUALITY = 82


def picture(sweep: Folder, label: str, critic_updates: int, width: int) -> str:
    """A `data:` address of a trial's samples after so many critic updates, at most `width` pixels wide.

    Empty where there is no PNG picture that can be read.
    """
    try:
        content = (trial_folder(sweep, label) / SAMPLES).read(sample_name(critic_updates), MOST_PICTURE)
    except (OSError, ValueError):
        return ""
    shown = open_png(content)
    if shown is None:
        return ""
    kind = "png"
    if shown.width > width or shown.height > width * 4 or len(content) > SMALL_BYTES:
        shown.thumbnail((width, width * 4))
        written = io.BytesIO()
        shown.save(written, "WEBP", quality=QUALITY)
        kind, content = "webp", written.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
