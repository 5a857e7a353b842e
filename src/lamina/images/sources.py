"""Which Debian mirror the host itself uses: read from its apt sources, in both of their formats.

Specification: sources.list(5), the one-line and the deb822 style. Called by `images/apt.py`. Reads
files below one directory (`/etc/apt` unless a test says otherwise) and owns nothing. The host may
be of another Debian release: only the address is taken, the caller chooses the release.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SOURCES_ROOT = Path("/etc/apt")
SCHEMES = frozenset({"http", "https", "file", "copy", "mirror+http", "mirror+https", "mirror+file"})
RELEASES = frozenset(
    (
        *("stable", "oldstable", "oldoldstable", "testing", "unstable", "sid"),
        *("buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
    )
)
ARCHIVE_KEYRING = "debian-archive"


@dataclass(frozen=True, slots=True)
class Source:
    """One archive that the host's apt is told of."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str


def host_mirror(root: Path = SOURCES_ROOT) -> str | None:
    """The address of the Debian archive in the host's sources; None if they name none."""
    ranked = sorted(
        ((_likeness(source), -index, source.uri) for index, source in enumerate(_sources(root))),
        reverse=True,
    )
    return ranked[0][2].rstrip("/") if ranked and ranked[0][0] > 0 else None


def is_mirror(uri: str) -> bool:
    """True for an address that apt can fetch packages from and that is safe in a sources file."""
    parts = urlsplit(uri) if re.fullmatch(r"[\x21-\x7e]+", uri) and '"' not in uri else None
    return parts is not None and parts.scheme in SCHEMES and bool(parts.netloc or parts.path)


def _likeness(source: Source) -> int:
    """How much a source looks like Debian's main archive; 0 if it cannot be it."""
    if "main" not in source.components or not RELEASES.intersection(source.suites):
        return 0
    if not is_mirror(source.uri):
        return 0
    folders = urlsplit(source.uri).path.strip("/").split("/")
    score = 2 if "debian" in folders else 0
    score += 2 if ARCHIVE_KEYRING in source.signed_by else 0
    return score


def _sources(root: Path) -> Iterator[Source]:
    parts = root / "sources.list.d"
    names = sorted(parts.iterdir()) if parts.is_dir() else []
    for path in [root / "sources.list", *names]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            yield from _one_line(text)
        elif path.suffix == ".sources":
            yield from _deb822(text)


def _one_line(text: str) -> Iterator[Source]:
    pattern = re.compile(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<rest>[^#]+)")
    for line in text.splitlines():
        match = pattern.match(line)
        if match is None:
            continue
        suite, *components = match["rest"].split() or [""]
        options = match["options"] or ""
        signed = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
        yield Source(match["uri"], (suite,), tuple(components), signed[1] if signed else "")


def _deb822(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n[ \t]*\n", text.replace("\r", "")):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split():
            continue
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off", "disable"):
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
            )


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower() if colon else ""
        if name:
            fields[name] = value.strip()
    return fields
