"""The private apt client, against a stand-in for apt-get that answers from a folder."""

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lamina.base.errors import HostError
from lamina.images.apt import AptClient, find_keyring
from lamina.images.progress import SilentProgress

NAME = "thing_1%3a2.0_riscv64.deb"
CONTENT = b"package"
DIGEST = hashlib.sha256(CONTENT).hexdigest()

Script = Callable[[str], AptClient]


class RecordingProgress:
    """A Progress that notes the fractions."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def step(self, title: str) -> AbstractContextManager[Any]:
        @contextmanager
        def context() -> Any:
            yield self

        return context()

    def update(self, fraction: float) -> None:
        self.fractions.append(fraction)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Makes a client whose apt-get is the given shell text; `$root` is the client's folder."""

    def make(text: str) -> AptClient:
        tools = tmp_path / "tools"
        tools.mkdir()
        for name in ("apt-get", "apt-cache"):
            (tools / name).write_text(f"#!/bin/sh\nroot={tmp_path}/apt\n{text}\n")
            (tools / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        apt = AptClient(
            tmp_path / "apt",
            mirror="http://mirror.example/debian",
            suite="trixie",
            alias="stable",
            architecture="riscv64",
            keyring=Path("/k.gpg"),
        )
        apt._prepare("trixie")
        return apt

    return make


def offering(digest: str = DIGEST, write: str = "package") -> str:
    return f"""
case "$*" in
*--print-uris*) echo "'http://mirror.example/{NAME}' {NAME} {len(CONTENT)} SHA256:{digest}";;
*) printf '{write}' > "$root/cache/archives/{NAME}";;
esac"""


def test_installed_packages_come_with_name_version_and_file(client: Script) -> None:
    packages = client(offering()).install(["thing"], SilentProgress(), "Packages")
    found = [(item.name, item.version, item.architecture) for item in packages]
    assert found == [("thing", "1:2.0", "riscv64")]
    assert packages[0].path.read_bytes() == CONTENT


def test_package_with_a_wrong_checksum_is_removed_and_reported(client: Script) -> None:
    apt = client(offering(digest="0" * 64))
    with pytest.raises(HostError, match="checksum"):
        apt.install(["thing"], SilentProgress(), "Packages")
    assert not (apt.archives / NAME).exists()


def test_package_that_was_cut_short_is_reported(client: Script) -> None:
    with pytest.raises(HostError, match="did not fetch"):
        client(offering(write="pack")).install(["thing"], SilentProgress(), "Packages")


def test_package_that_apt_does_not_name_is_reported(client: Script) -> None:
    with pytest.raises(HostError, match="did not fetch other"):
        client(offering()).install(["thing", "other"], SilentProgress(), "Packages")


def test_download_status_becomes_progress(client: Script) -> None:
    text = r"""
for word in "$@"; do
    case $word in APT::Status-Fd=*) fd=${word#*=};; esac
done
{
    printf 'dlstatus:1:25.0:Retrieving\npmstatus:x:9:no\njunk\ndlstatus:1:x:y\n'
    printf 'dlstatus:2:250:Retrieving\n'
} > /dev/fd/$fd
"""
    progress = RecordingProgress()
    client(text).update(progress)
    assert progress.fractions == [0.25, 1.0]


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ("E: Write error - write (28: No space left on device)", "disk is full"),
        ("W: GPG error: NO_PUBKEY 6ED0E7B82643E131", "newer debian-archive-keyring"),
        ("Err:1 x  Could not resolve 'mirror.example'", "--mirror URL"),
        ("E: Failed to fetch x  File has unexpected size. Mirror sync in progress?", "minutes"),
        ("E: Unable to locate package base-files", "lists lack a package"),
        ("E: The repository 'x trixie Release' does not have a Release file.", "does not hold"),
        ("noise\nE: Something new went wrong", "Something new went wrong"),
        ("", "said nothing"),
    ],
)
def test_trouble_is_one_line_that_helps(client: Script, complaint: str, told: str) -> None:
    apt = client(f"cat >&2 <<'END'\n{complaint}\nEND\nexit 100")
    with pytest.raises(HostError, match=told) as caught:
        apt.update(SilentProgress())
    assert "\n" not in str(caught.value)


def test_lists_from_before_will_do_if_new_ones_cannot_be_had(client: Script) -> None:
    apt = client("exit 100")
    with pytest.raises(HostError):
        apt.update(SilentProgress())
    lists = apt.root / "state" / "lists"
    (lists / "mirror.example_debian_dists_trixie_main_binary-riscv64_Packages.lz4").touch()
    apt.update(SilentProgress())
    assert list(lists.glob("*_Packages.lz4"))


ONLY_THE_ALIAS = """
lists="$root/state/lists"; mkdir -p "$lists"
grep -q "Suites: stable" "$root/sources/lamina.sources" || exit 100
printf 'Suite: stable\nCodename: {codename}\n' > "$lists/mirror_debian_dists_stable_InRelease"
"""


def test_a_mirror_that_is_whole_only_under_the_alias_will_do(
    client: Script, tmp_path: Path
) -> None:
    client(ONLY_THE_ALIAS.replace("{codename}", "trixie")).update(SilentProgress())
    assert "Suites: stable" in (tmp_path / "apt" / "sources" / "lamina.sources").read_text()


def test_an_alias_that_has_moved_on_to_another_release_is_refused(client: Script) -> None:
    with pytest.raises(HostError):
        client(ONLY_THE_ALIAS.replace("{codename}", "forky")).update(SilentProgress())


def test_metapackage_leads_to_the_package_it_stands_for(client: Script) -> None:
    apt = client("echo 'Package: linux-image-riscv64'; echo 'Depends: x, linux-image-6.1-r (= 6)'")
    assert apt.dependency("linux-image-riscv64", r"linux-image-[0-9].*") == "linux-image-6.1-r"
    with pytest.raises(HostError, match="depends on no"):
        apt.dependency("linux-image-riscv64", r"nothing")


def test_configuration_keeps_apt_out_of_the_hosts_state(client: Script, tmp_path: Path) -> None:
    apt = client("true")
    text = (apt.root / "apt.conf").read_text()
    places = [line.split('"')[1] for line in text.splitlines() if line.startswith("Dir::")]
    own = [place for place in places if place.startswith("/")]
    assert all(place == "/dev/null" or place.startswith(str(tmp_path)) for place in own)
    assert 'AllowUnauthenticated "false"' in text
    source = (apt.root / "sources" / "lamina.sources").read_text()
    assert "Signed-By: /k.gpg" in source and "Suites: trixie" in source


def test_host_without_apt_is_told_its_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="--kernel"):
        AptClient(tmp_path, mirror="", suite="", architecture="", keyring=Path("/k"))


def test_missing_keyring_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="debian-archive-keyring"):
        find_keyring(tmp_path)
    (tmp_path / "debian-archive-keyring.pgp").touch()
    assert find_keyring(tmp_path).name == "debian-archive-keyring.pgp"
