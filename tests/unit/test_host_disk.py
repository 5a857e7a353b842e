"""Disk images on the host: what is taken for a disk, who may write it, what is left behind."""

import errno
import os

import pytest

from lamina.base.errors import ConfigError, HostError
from lamina.host.disk import CLUSTER, SECTOR, PrivateLayer, RawDisk

QCOW2 = b"QFI\xfb\0\0\0\3"


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(number // SECTOR & 0xFF for number in range(4 * CLUSTER)))
    return path


@pytest.fixture
def disk(image):
    disk = RawDisk(image)
    yield disk
    disk.close()


def test_reads_and_writes_reach_the_file(disk, image):
    assert disk.size == 4 * CLUSTER and not disk.readonly
    assert disk.read_at(SECTOR, SECTOR) == b"\1" * SECTOR
    disk.write_at(3 * SECTOR, b"x" * SECTOR)
    disk.flush()
    assert image.read_bytes()[3 * SECTOR : 4 * SECTOR] == b"x" * SECTOR


def test_an_image_stays_raw_whatever_its_guest_writes(disk, image):
    disk.write_at(0, QCOW2.ljust(SECTOR, b"\0"))
    disk.close()
    again = RawDisk(image)
    assert again.size == 4 * CLUSTER
    assert again.read_at(0, 8) == QCOW2
    again.close()


def test_an_incomplete_last_sector_is_filled_up_with_zeroes(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"a" * 700)
    disk = RawDisk(path)
    assert disk.size == 1024
    assert disk.read_at(512, 512) == b"a" * 188 + bytes(324)
    disk.write_at(512, b"b" * 512)
    assert disk.read_at(0, 1024) == b"a" * 512 + b"b" * 512
    disk.close()


def test_a_file_cut_short_while_in_use_is_an_error_where_it_ends(disk, image):
    os.truncate(image, CLUSTER)
    assert disk.read_at(0, CLUSTER) == image.read_bytes()
    for offset, length in ((CLUSTER, SECTOR), (CLUSTER - SECTOR, 2 * SECTOR)):
        with pytest.raises(OSError) as caught:
            disk.read_at(offset, length)
        assert caught.value.errno == errno.EIO


def test_a_file_that_grows_while_in_use_keeps_its_size(disk, image):
    os.truncate(image, 8 * CLUSTER)
    assert disk.size == 4 * CLUSTER
    with pytest.raises(OSError):
        disk.read_at(4 * CLUSTER, SECTOR)
    with pytest.raises(OSError):
        disk.write_at(4 * CLUSTER - SECTOR, bytes(2 * SECTOR))


def test_discarding_gives_room_back_and_touches_nothing_else(disk, image):
    disk.discard(CLUSTER, CLUSTER)
    data = image.read_bytes()
    assert len(data) == 4 * CLUSTER
    assert data[CLUSTER : 2 * CLUSTER] in (bytes(CLUSTER), data[:CLUSTER])
    assert data[2 * CLUSTER : 2 * CLUSTER + SECTOR] == b"\0" * SECTOR
    assert data[3 * SECTOR : 4 * SECTOR] == b"\3" * SECTOR


def test_a_writer_has_the_disk_for_itself(disk, image):
    for readonly in (False, True):
        with pytest.raises(HostError, match="another machine has it"):
            RawDisk(image, readonly)


def test_readers_share_a_disk_and_keep_writers_out(image):
    first, second = RawDisk(image, readonly=True), RawDisk(image, readonly=True)
    with pytest.raises(HostError, match="another machine has it"):
        RawDisk(image)
    first.close()
    second.close()
    RawDisk(image).close()


def test_a_readonly_disk_cannot_be_written(image):
    disk = RawDisk(image, readonly=True)
    with pytest.raises(OSError):
        disk.write_at(0, bytes(SECTOR))
    disk.flush()
    disk.close()


def test_a_link_to_an_image_is_that_image(tmp_path, disk, image):
    link = tmp_path / "link"
    link.symlink_to(image)
    with pytest.raises(HostError, match="another machine has it"):
        RawDisk(link)


@pytest.mark.parametrize("readonly", [False, True])
def test_what_is_no_disk_is_refused_in_one_line(tmp_path, readonly):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    names = ["empty", "fifo", "folder", "dangling", "missing", "a\0b", "n" * 5000]
    for path in [tmp_path / name for name in names] + ["/dev/null", "/dev/zero", "/proc/self/mem"]:
        with pytest.raises((ConfigError, HostError), match=r"^disk ") as caught:
            RawDisk(path, readonly)
        assert "\n" not in str(caught.value)


def test_nothing_stays_open_of_a_disk_that_was_refused(image):
    holder = RawDisk(image)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(HostError):
            RawDisk(image)
    assert len(os.listdir("/proc/self/fd")) == before
    holder.close()


@pytest.fixture
def layer(image):
    layer = PrivateLayer(RawDisk(image, readonly=True))
    yield layer
    layer.close()


def test_a_private_layer_reads_its_own_writes_and_leaves_the_image_alone(layer, image):
    before = image.read_bytes()
    layer.write_at(CLUSTER - SECTOR, b"w" * 2 * SECTOR)
    layer.write_at(4 * CLUSTER - SECTOR, b"e" * SECTOR)
    layer.flush()
    expected = bytearray(before)
    expected[CLUSTER - SECTOR : CLUSTER + SECTOR] = b"w" * 2 * SECTOR
    expected[-SECTOR:] = b"e" * SECTOR
    assert layer.read_at(0, layer.size) == expected
    assert image.read_bytes() == before


def test_a_private_layer_of_an_image_that_ends_within_a_cluster(tmp_path):
    path = tmp_path / "odd"
    path.write_bytes(b"a" * (CLUSTER + 700))
    layer = PrivateLayer(RawDisk(path, readonly=True))
    layer.write_at(CLUSTER, b"b" * SECTOR)
    assert layer.size == CLUSTER + 1024
    assert layer.read_at(CLUSTER, 1024) == b"b" * 512 + b"a" * 188 + bytes(324)
    layer.close()


def test_private_layers_of_one_image_do_not_see_each_other(layer, image):
    other = PrivateLayer(RawDisk(image, readonly=True))
    layer.write_at(0, b"1" * SECTOR)
    other.write_at(0, b"2" * SECTOR)
    assert layer.read_at(0, 1) + other.read_at(0, 1) == b"12"
    other.close()


def test_a_private_layer_leaves_no_file(monkeypatch, tmp_path, image):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    layer = PrivateLayer(RawDisk(image, readonly=True))
    layer.write_at(0, bytes(CLUSTER))
    assert list(folder.iterdir()) == []
    layer.close()


def test_a_host_without_room_for_a_private_layer_is_named(monkeypatch, tmp_path, image):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(HostError, match="no temporary file"):
        PrivateLayer(RawDisk(image, readonly=True))
    RawDisk(image).close()
