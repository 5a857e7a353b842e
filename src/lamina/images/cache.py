"""A folder of built files that several processes share: locked, atomic, checked when used.

Called by `images/debian.py`, `images/firmware.py` and `lamina doctor`. Owns
`$XDG_CACHE_HOME/lamina/images`: a folder an image with its finished files and a manifest of their
checksums, and beside them one lock file, held while any image is built, since all builds share
one apt. A file is only ever put in place by renaming.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamina.base.errors import HostError
from lamina.images.apt import file_digest
from lamina.images.progress import Progress

MANIFEST = "manifest.json"
LOCK = "lock"


def cache_root() -> Path:
    """Where Lamina keeps what can be made again: `$XDG_CACHE_HOME/lamina`, else ~/.cache/lamina."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "lamina"


def images_root() -> Path:
    """Where built images and what they were fetched with are kept."""
    return cache_root() / "images"


class ImageCache:
    """One image's folder. `recipe` names how it is built: another recipe means a new build."""

    def __init__(self, name: str, recipe: str) -> None:
        self.folder = images_root() / name
        self._recipe = recipe

    def find(self) -> dict[str, Any] | None:
        """The manifest's facts, if every file is there and whole; else None."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_bytes())
            files = manifest["files"]
            if manifest["recipe"] != self._recipe or not isinstance(manifest["facts"], dict):
                return None
            with ThreadPoolExecutor(max_workers=2) as pool:
                whole = pool.map(lambda item: self._is_whole(*item), files.items())
                return manifest["facts"] if all(whole) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    @contextmanager
    def lock(self, progress: Progress) -> Iterator[None]:
        """Wait until no other process builds an image, and keep others waiting."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (images_root() / LOCK).open("ab")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with progress.step("Waiting for another build"):
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def store(self, files: Mapping[str, bytes | Iterator[bytes]], facts: dict[str, Any]) -> None:
        """Put finished files in place, then the manifest that makes them valid."""
        with writing(self.folder):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for name, content in files.items():
                self._write(name, [content] if isinstance(content, bytes) else content)
            digests = {name: file_digest(self.folder / name) for name in files}
            manifest = {"recipe": self._recipe, "facts": facts, "files": digests}
            self._write(MANIFEST, [json.dumps(manifest, indent=1).encode()])

    def _write(self, name: str, pieces: Iterator[bytes] | list[bytes]) -> None:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.folder)
        try:
            with open(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _is_whole(self, name: str, digest: str) -> bool:
        return "/" not in name and file_digest(self.folder / name) == digest


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns the host's refusals to write into one line: full disk, no permission, and the like."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cache {folder}: cannot be written: {error.strerror or error};"
            " choose another place with XDG_CACHE_HOME"
        ) from error
