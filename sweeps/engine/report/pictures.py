"""Sample pictures, small enough to embed dozens of them in a page."""

from __future__ import annotations

import base64
import io

from sweeps.engine.storage.layout import MOST_PICTURE, SAMPLES, sample_name, trial_folder
from wgan_core.data.folder import Folder
from wgan_core.data.image_files import open_png

# A file of at most this size is embedded unchanged.
SMALL_BYTES = 24_000
QUALITY = 82


def picture(sweep: Folder, label: str, critic_updates: int, width: int) -> str:
    """Return a trial's samples as a `data:` URL, or an empty text if there is no readable PNG.

    Args:
        sweep: The sweep's folder.
        label: The trial's label.
        critic_updates: Critic updates after which the samples were drawn.
        width: Largest width in pixels.
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
