"""Pictures of samples, small enough to stand in a page by the dozen."""

from __future__ import annotations

import base64
import io

from PIL import Image

from sweeps.engine.layout import SAMPLES, sample_name, trial_folder
from wgan_core.folder import Folder

# A file of fewer bytes stands in the page as it is.
SMALL_BYTES = 24_000
QUALITY = 82


def picture(sweep: Folder, label: str, critic_updates: int, width: int) -> str:
    """A `data:` address of a trial's samples after so many critic updates, at most `width` pixels wide.

    Empty where there is no picture that can be read.
    """
    try:
        content = (trial_folder(sweep, label) / SAMPLES).read(sample_name(critic_updates))
        with Image.open(io.BytesIO(content)) as image:
            kind = (image.format or "").lower()
            if image.width > width or len(content) > SMALL_BYTES or kind != "png":
                shown = image.convert("RGB")
                shown.thumbnail((width, width * 4))
                written = io.BytesIO()
                shown.save(written, "WEBP", quality=QUALITY)
                kind, content = "webp", written.getvalue()
    except (OSError, ValueError):
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
