"""Pictures and plans in a sweep's folder may come from strangers: none starts a program or fills the memory."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from sweeps.engine.report.pictures import picture
from sweeps.engine.storage.layout import SAMPLES, sample_name, trial_folder
from sweeps.engine.tracking.film import Tiles, film, tiles
from tests.core.hostile import EPS, png
from wgan_core.config import Structure
from wgan_core.data.folder import Folder


def gif() -> bytes:
    written = io.BytesIO()
    Image.new("L", (8, 8)).save(written, "GIF")
    return written.getvalue()


def test_pictures_and_plans_of_others_make_no_large_film() -> None:
    """A sample as large as the plan says has no room in the picture; a narrow one is enlarged, but not without end."""
    pictures = {1: png(40, 40), 2: EPS, 3: png(40, 40)[:-30]}
    assert film(pictures, Tiles(10**9, 10**9, False)) is None
    assert film({2: EPS}, None) is None
    assert len(film({1: png(9, 1_000_000)}, Tiles(1_000_000, 1, False)) or b"") < 10**6
    described = Structure("mlp", (1, 28, 28)).as_json()
    assert tiles(Structure.from_json(described)) == Tiles(28, 28, False)
    for shape in ([1, 0, -5], ["a", {}, 1e99]):
        with pytest.raises((ValueError, TypeError)):
            Structure.from_json({**described, "sample_shape": shape})


def test_a_report_shows_only_png_of_a_bounded_size(tmp_path: Path) -> None:
    sweep = Folder.at(tmp_path)
    header = png(1, 1)
    folder = trial_folder(sweep, "0") / SAMPLES
    for update, content in enumerate((png(5, 4), gif(), EPS, header[:16] + b"\xff" * 8 + header[24:], b"")):
        folder.write(sample_name(update), content)
    assert picture(sweep, "0", 0, 100).startswith("data:image/png;base64,")
    assert [picture(sweep, "0", update, 100) for update in range(1, 6)] == [""] * 5
