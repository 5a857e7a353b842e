"""The host's apt client, pointed at a place of our own so that it never touches the host's state.

Specification: apt.conf(5), apt-get(8), and `README.progress-reporting` of apt's sources for the
status lines. Called by `images/debian.py` and `images/firmware.py`. Owns one directory: lists,
downloaded packages, sources and an empty dpkg status file. apt itself resolves dependencies,
verifies the lists by the archive's keyring, and checks every package against the lists.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO
from urllib.parse import unquote

from lamina.base.errors import HostError
from lamina.images.progress import Progress, Step
from lamina.images.sources import host_mirror, is_mirror

MIRROR_VARIABLE = "LAMINA_DEBIAN_MIRROR"
KEYRING_FOLDER = Path("/usr/share/keyrings")
KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
RETRIES = 3
NETWORK_TIMEOUT = 60
_PRINTED_URI = re.compile(r"'(\S+)' (\S+) ([0-9]+) (?:([A-Za-z0-9]+):([0-9a-f]+))?\s*")

_KNOWN_TROUBLE = (
    (r"No space left on device", "the disk is full; the cache needs about 300 MB"),
    (
        r"NO_PUBKEY|not signed|public key is not available",
        "the archive's signature cannot be verified; install a newer debian-archive-keyring",
    ),
    (
        r"Could not resolve|Temporary failure resolving|Unable to connect|Could not connect"
        r"|Connection timed out|Network is unreachable|Connection failed",
        f"the mirror cannot be reached; check the network, or choose one with --mirror URL or"
        f" {MIRROR_VARIABLE}",
    ),
    (
        r"Mirror sync in progress",
        "the mirror is being brought up to date; try again in some minutes, or choose another"
        " with --mirror URL",
    ),
    (
        r"Unable to locate package",
        "the mirror's lists lack a package that is needed; try again, or choose another mirror"
        " with --mirror URL",
    ),
    (
        r"404 +Not Found|does not have a Release file",
        "the mirror does not hold this release of Debian; choose another with --mirror URL",
    ),
)

_FOLDERS = (
    "state/lists/partial",
    "cache/archives/partial",
    "nowhere/partial",
    "sources",
    "preferences",
)
_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update;
#clear APT::Default-Release;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Post-Invoke;
#clear Acquire::IndexTargets;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
APT::Sandbox::User "{user}";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "{retries}";
Acquire::http::Timeout "{timeout}";
Acquire::https::Timeout "{timeout}";
Acquire::IndexTargets::deb::Packages {{
  MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
  flatMetaKey "Packages";
  ShortDescription "Packages";
  Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Packages";
  Optional "no";
}};
Dir::State "{root}/state";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{root}/preferences";
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A downloaded package: its name, version and architecture, and where the file lies."""

    name: str
    version: str
    architecture: str
    path: Path
    digest: str


def find_mirror(mirror: str | None) -> str:
    """The mirror to use: the argument, else the environment's, else the host's own."""
    chosen = mirror or os.environ.get(MIRROR_VARIABLE)
    if chosen:
        if not is_mirror(chosen):
            raise HostError(f"mirror {chosen!r}: not an address; write it like http://HOST/debian")
        return chosen.rstrip("/")
    own = host_mirror()
    if own is None:
        raise HostError(
            "this host's apt names no Debian mirror; give one with --mirror URL or"
            f" {MIRROR_VARIABLE}, or boot a kernel of yours with lamina boot --kernel K"
        )
    return own


def find_keyring(folder: Path = KEYRING_FOLDER) -> Path:
    """Debian's archive keyring on the host; HostError if it is not installed."""
    for name in KEYRINGS:
        if (folder / name).is_file():
            return folder / name
    raise HostError(
        "Debian's archive keyring is missing, so its packages cannot be verified;"
        " install the package debian-archive-keyring, or boot a kernel of yours with"
        " lamina boot --kernel K"
    )


class AptClient:
    """apt for one suite and architecture, with all its state below `root`."""

    def __init__(
        self,
        root: Path,
        *,
        mirror: str,
        suite: str,
        architecture: str,
        keyring: Path,
        alias: str | None = None,
    ) -> None:
        if shutil.which("apt-get") is None:
            raise HostError(
                "this host has no apt-get, which fetches Debian's packages;"
                " boot a kernel of yours with lamina boot --kernel K --initrd I"
            )
        if '"' in str(root) or '"' in str(keyring):
            raise HostError(f"{root}: apt cannot use a path with a quotation mark in it")
        self.root = root
        self._source = (
            f"Types: deb\nURIs: {mirror}\nSuites: {{suite}}\nComponents: main\n"
            f"Architectures: {architecture}\nSigned-By: {keyring}\n"
        )
        self._suite, self._alias = suite, alias
        self._architecture = architecture

    @property
    def archives(self) -> Path:
        """Where downloaded packages lie."""
        return self.root / "cache" / "archives"

    @property
    def _nowhere(self) -> Path:
        return self.root / "nowhere"

    def update(self, progress: Progress) -> None:
        """Fetch and verify the archive's lists; if that fails, older ones will do.

        A mirror that is being brought up to date may still be whole under the suite's alias
        (`stable`): that is tried then, and taken only if its signed codename is the suite's.
        """
        self._prepare(self._suite)
        with progress.step("Package lists") as step:
            try:
                self._run(["apt-get", "-q", "update"], step=step)
            except HostError:
                if self._alias is None and not self._has_lists(self._suite):
                    raise
                if not self._has_lists(self._suite) and not self._update_alias(step):
                    raise

    def _update_alias(self, step: Step) -> bool:
        """Lists of the alias instead; True if they are there and are the suite's."""
        if self._alias is None:
            return False
        self._prepare(self._alias)
        try:
            self._run(["apt-get", "-q", "update"], step=step)
        except HostError:
            return False
        releases = (self.root / "state" / "lists").glob(f"*_dists_{self._alias}_InRelease")
        codename = f"Codename: {self._suite}"
        return any(codename in path.read_text(errors="replace").split("\n") for path in releases)

    def _has_lists(self, suite: str) -> bool:
        return any((self.root / "state" / "lists").glob(f"*_dists_{suite}_*_Packages*"))

    def install(self, names: Sequence[str], progress: Progress, title: str) -> list[Package]:
        """Resolve `names` with all their dependencies and download what is not here yet."""
        command = ["apt-get", "-q", "-y", "--no-install-recommends"]
        # apt prints only what it has not fetched yet, so it is shown an empty place.
        nowhere = ["-o", f"Dir::Cache::archives={self._nowhere}"]
        printed = self._run([*command, *nowhere, "--print-uris", "install", *names])
        with progress.step(title) as step:
            self._run([*command, "--download-only", "install", *names], step=step)
        packages = self._downloaded(printed)
        missing = set(names) - {package.name for package in packages}
        if missing:
            raise HostError(f"apt did not fetch {', '.join(sorted(missing))}; try again")
        return packages

    def download(self, name: str, progress: Progress, title: str) -> Package:
        """Download one package alone, whatever it depends on."""
        printed = self._run(["apt-get", "-q", "--print-uris", "download", name], self._nowhere)
        with progress.step(title) as step:
            self._run(["apt-get", "-q", "download", name], self.archives, step)
        found = self._downloaded(printed)
        if len(found) != 1:
            raise HostError(f"apt knows no single package {name}")
        return found[0]

    def dependency(self, name: str, pattern: str) -> str:
        """The one direct dependency of `name` that matches: what a metapackage stands for."""
        fields = self._run(["apt-cache", "show", "--no-all-versions", name])
        line = re.search(r"^Depends: (.*)$", fields, re.MULTILINE)
        for item in re.split(r"[,|]", line[1] if line else ""):
            found = item.split()[0].split(":")[0] if item.strip() else ""
            if re.fullmatch(pattern, found):
                return found
        raise HostError(f"package {name}: it depends on no {pattern}")

    def clean(self) -> None:
        """Remove the downloaded packages and apt's indexes; the lists stay for the next time."""
        for path in [*self.archives.glob("*.deb"), *(self.root / "cache").glob("*.bin")]:
            path.unlink(missing_ok=True)

    def _prepare(self, suite: str) -> None:
        for folder in _FOLDERS:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").write_bytes(b"")
        (self.root / "sources" / "lamina.sources").write_text(self._source.format(suite=suite))
        configuration = _CONFIGURATION.format(
            architecture=self._architecture,
            root=self.root,
            user="root" if os.geteuid() == 0 else "_apt",
            retries=RETRIES,
            timeout=NETWORK_TIMEOUT,
        )
        (self.root / "apt.conf").write_text(configuration)

    def _downloaded(self, printed: str) -> list[Package]:
        packages = []
        for _, name, size, algorithm, digest in _PRINTED_URI.findall(printed):
            path = self.archives / name
            if not path.is_file() or path.stat().st_size != int(size):
                raise HostError(f"apt did not fetch {name} in full; try again")
            if algorithm.lower() == "sha256" and file_digest(path) != digest:
                path.unlink()
                raise HostError(f"{name}: its checksum is wrong; it was removed, try again")
            title, version, rest = unquote(name).rsplit("_", 2)
            architecture = rest.removesuffix(".deb")
            packages.append(Package(title, version, architecture, path, digest))
        return packages

    def _run(
        self, command: Sequence[str], folder: Path | None = None, step: Step | None = None
    ) -> str:
        """Run an apt tool; its standard output, or HostError with its first complaint."""
        program, *arguments = command
        environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
        reader, writer = os.pipe()
        options = ["-c", str(self.root / "apt.conf"), "-o", f"APT::Status-Fd={writer}"]
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as complaints,
            open(reader, encoding="utf-8", errors="replace") as status,
        ):
            try:
                process = subprocess.Popen(
                    [program, *options, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=complaints,
                    pass_fds=(writer,),
                    cwd=folder,
                    env=environment,
                )
            except OSError as error:
                raise HostError(f"{program} cannot be run: {error}") from error
            finally:
                os.close(writer)
            with process:
                _follow(status, step)
            if process.returncode != 0:
                raise HostError(f"apt: {_complaint(_text(complaints) + _text(output))}")
            return _text(output)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _follow(status: TextIO, step: Step | None) -> None:
    """Turn apt's status lines (`dlstatus:1:20.5:Retrieving file 2 of 3`) into progress."""
    for line in status:
        kind, _, rest = line.partition(":")
        percent = rest.split(":")[1] if rest.count(":") >= 2 else ""
        if step is not None and kind == "dlstatus" and re.fullmatch(r"[0-9.]{1,9}", percent):
            step.update(min(float(percent) / 100, 1.0))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _complaint(text: str) -> str:
    """One line that says why apt failed, and what may help where that is known."""
    for sign, line in _KNOWN_TROUBLE:
        if re.search(sign, text):
            return line
    errors = re.findall(r"^E: (.*)$", text, re.MULTILINE) or text.strip().splitlines()
    return str(errors[0]) if errors else "it failed and said nothing"
