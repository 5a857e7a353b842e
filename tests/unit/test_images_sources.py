"""Which mirror is taken from a host's apt sources, in both formats."""

from pathlib import Path

import pytest

from lamina.base.errors import HostError
from lamina.images import apt
from lamina.images.sources import host_mirror, is_mirror

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
VENDOR = "deb https://vendor.example/linux/chrome/deb/ stable main\n"


def sources(root: Path, **files: str) -> Path:
    (root / "sources.list.d").mkdir()
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        path = root / "sources.list" if stem == "sources" else root / "sources.list.d"
        if stem != "sources":
            path = path / f"{stem}.{suffix}"
        path.write_text(text)
    return root


def test_deb822_source_of_the_main_archive_is_found(tmp_path: Path) -> None:
    root = sources(tmp_path, a_list=VENDOR, debian_sources=DEB822)
    assert host_mirror(root) == "http://mirror.example/debian"


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/debian trixie main contrib",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ stable main # mine",
        "\tdeb   http://mirror.example/debian   sid   main",
    ],
)
def test_one_line_source_of_the_main_archive_is_found(tmp_path: Path, line: str) -> None:
    assert (
        host_mirror(sources(tmp_path, sources_list=line + "\n")) == "http://mirror.example/debian"
    )


@pytest.mark.parametrize(
    "line",
    [
        "# deb http://mirror.example/debian trixie main",
        "deb-src http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian-security bookworm-security main",
        "deb http://mirror.example/ubuntu noble main",
        "deb http://mirror.example/debian trixie contrib",
        "deb cdrom:[Debian]/ trixie main",
        "deb",
        VENDOR,
        "",
    ],
)
def test_other_one_line_sources_are_not_taken(tmp_path: Path, line: str) -> None:
    assert host_mirror(sources(tmp_path, sources_list=line + "\n")) is None


def test_disabled_source_is_not_taken(tmp_path: Path) -> None:
    disabled = DEB822.replace("Components: main\nSigned", "Components: main\nEnabled: no\nSigned")
    assert host_mirror(sources(tmp_path, debian_sources=disabled)) is None


def test_values_that_go_on_over_lines_are_read(tmp_path: Path) -> None:
    text = "Types: deb\nURIs:\n http://mirror.example/debian\nSuites:\n trixie\nComponents: main\n"
    assert host_mirror(sources(tmp_path, debian_sources=text)) == "http://mirror.example/debian"


def test_host_without_sources_has_no_mirror(tmp_path: Path) -> None:
    assert host_mirror(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    "uri", ["ftp://h/debian", "debian", "http://h/a b", 'http://h/"', "http://h/\nTypes: x", ""]
)
def test_address_that_apt_could_misread_is_no_mirror(uri: str) -> None:
    assert not is_mirror(uri)


def test_argument_beats_environment_beats_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "host_mirror", lambda: "http://own.example/debian")
    monkeypatch.delenv(apt.MIRROR_VARIABLE, raising=False)
    assert apt.find_mirror(None) == "http://own.example/debian"
    monkeypatch.setenv(apt.MIRROR_VARIABLE, "http://env.example/debian/")
    assert apt.find_mirror(None) == "http://env.example/debian"
    assert apt.find_mirror("http://arg.example/debian") == "http://arg.example/debian"


def test_host_without_a_mirror_is_told_its_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "host_mirror", lambda: None)
    monkeypatch.delenv(apt.MIRROR_VARIABLE, raising=False)
    with pytest.raises(HostError, match=r"--mirror URL.*--kernel"):
        apt.find_mirror(None)


def test_mirror_that_is_no_address_is_refused() -> None:
    with pytest.raises(HostError, match="not an address"):
        apt.find_mirror("debian mirror")
