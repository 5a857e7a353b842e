"""The store of code images: what is kept, what is not believed, and many users at once."""

import logging
import multiprocessing
import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamina.engine.code import store as module
from lamina.engine.code.image import CodeImage, Relocation
from lamina.engine.code.store import CodeStore, code_folder

LIMIT = 1 << 20


def key(number: int) -> str:
    return f"{number:064x}"


def image(number: int, size: int = 200) -> CodeImage:
    return CodeImage(
        number.to_bytes(8, "little") * (size // 8),
        {f"region{number}": 0},
        (Relocation(4, "pc32", "dispatch", -4),),
    )


@pytest.fixture
def store(tmp_path: Path) -> CodeStore:
    return CodeStore(tmp_path / "store", LIMIT)


def again(store: CodeStore) -> CodeStore:
    """As another process sees it."""
    return CodeStore(store.folder, LIMIT)


def test_what_is_put_is_there_for_everybody(store: CodeStore) -> None:
    other = again(store)
    assert store.get(key(1)) is None and key(1) not in store
    store.put(key(1), image(1))
    assert store.get(key(1)) == image(1) and key(1) in store
    assert again(store).get(key(1)) == image(1)
    assert other.get(key(1)) == image(1)
    assert other.get(key(2)) is None
    (kept,) = store.scan()
    assert kept.key == key(1) and kept.size > 200


def test_a_key_is_kept_once(store: CodeStore) -> None:
    for _ in range(3):
        again(store).put(key(1), image(1))
    size = store.size()
    again(store).put(key(1), image(1))
    assert store.size() == size and len(store.scan()) == 1


def test_a_store_is_bounded_and_what_is_used_stays(store: CodeStore) -> None:
    store.put(key(0), image(0))
    for number in range(1, 400):
        store.put(key(number), image(number, 8000))
        assert again(store).get(key(0)) == image(0)
        assert store.size() <= LIMIT + LIMIT // module.SEGMENTS
    kept = {k.key for k in store.scan()}
    assert key(399) in kept and key(1) not in kept and key(0) in kept
    assert store.get(key(1)) is None


def test_an_image_larger_than_a_segment_is_kept(store: CodeStore) -> None:
    store.put(key(1), image(1, LIMIT // 2))
    store.put(key(2), image(2))
    assert again(store).get(key(1)) == image(1, LIMIT // 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_altered_files_give_nothing_or_what_was_put(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any byte changed, cut away or added in any file: an image is whole, or it is not there; and
    the store takes it again."""
    store = CodeStore(tmp_path_factory.mktemp("altered"), LIMIT)
    for number in range(3):
        store.put(key(number), image(number))
    files = sorted(p for p in store.folder.iterdir() if p.stat().st_size)
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["change", "cut", "add"])):
        case "change":
            content[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[at:]
        case "add":
            content += data.draw(st.binary(min_size=1, max_size=100))
    file.write_bytes(content)
    reader = again(store)
    for number in range(3):
        assert reader.get(key(number)) in (None, image(number))
        reader.put(key(number), image(number))
        assert reader.get(key(number)) == image(number)
        assert again(store).get(key(number)) == image(number)


def test_a_damaged_record_is_told_once_and_crossed_out(
    store: CodeStore, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        store.put(key(number), image(number))
    (data,) = store.folder.glob("*.data")
    data.write_bytes(bytes(data.stat().st_size))
    reader = again(store)
    with caplog.at_level(logging.WARNING):
        assert [reader.get(key(n)) for n in range(3)] == [None] * 3
    assert len(caplog.records) == 1 and "ignored" in caplog.text
    caplog.clear()
    assert again(store).get(key(0)) is None
    assert not caplog.records


def test_foreign_files_are_left_alone(store: CodeStore) -> None:
    store.folder.mkdir()
    (store.folder / "notes.index").write_text("mine")
    (store.folder / "1.data").mkdir()
    store.put(key(1), image(1))
    assert again(store).get(key(1)) == image(1)
    assert (store.folder / "notes.index").read_text() == "mine"


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    store = CodeStore(tmp_path / "store", LIMIT)
    store.put(key(1), image(1))
    assert store.get(key(1)) is None and store.scan() == []


def test_a_full_disk_is_no_error(store: CodeStore) -> None:
    """A limit on file sizes fails writes as a full disk does, in the middle of a record too."""
    store.put(key(1), image(1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (data,) = store.folder.glob("*.data")
    resource.setrlimit(resource.RLIMIT_FSIZE, (data.stat().st_size + 100, limits[1]))
    try:
        store.put(key(2), image(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store.get(key(2)) is None
    store.put(key(3), image(3))
    assert again(store).get(key(3)) == image(3) and again(store).get(key(1)) == image(1)


def test_clearing_is_seen_by_others_and_the_store_goes_on(store: CodeStore) -> None:
    other = again(store)
    store.put(key(1), image(1))
    assert other.get(key(1)) == image(1)
    store.clear()
    assert store.size() == 0 and store.get(key(1)) is None
    store.put(key(2), image(2))
    other.put(key(3), image(3))
    assert other.get(key(2)) == image(2)
    assert store.get(key(3)) == image(3) or again(store).get(key(3)) == image(3)


def _put_many(folder: Path, first: int) -> None:
    store = CodeStore(folder, 64 * LIMIT)
    for number in range(first, first + 200):
        store.put(key(number), image(number))


def test_several_processes_put_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_put_many, args=(tmp_path, 100 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = CodeStore(tmp_path, 64 * LIMIT)
    assert len(store.scan()) == 400
    assert all(store.get(key(n)) == image(n) for n in range(400))


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert code_folder() == Path("/elsewhere/lamina/code")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert code_folder() == Path(os.path.expanduser("~")) / ".cache/lamina/code"
