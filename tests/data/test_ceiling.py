import threading

import pytest

from segadv_monai.data.ceiling import Room, check_declared, most_bytes
from segadv_monai.protocols import ConfigError, DataError


def test_four_gib_are_allowed_unless_the_variable_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGADV_MAX_IMAGE_GIB", raising=False)
    assert most_bytes() == 4 * 2**30
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", "0.5")
    assert most_bytes() == 2**29


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_a_ceiling_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", value)
    with pytest.raises(ConfigError, match=f"SEGADV_MAX_IMAGE_GIB is '{value}': set it to a number of GiB"):
        most_bytes()


def test_what_fits_is_counted_and_what_does_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(1 / 1024))
    assert check_declared("a.nii", (512, 512), 4) == 2**20
    with pytest.raises(
        DataError, match=r"a\.nii declares 513 x 512 values, 0\.000978 GiB, and 0\.000976562 GiB"
    ):
        check_declared("a.nii", (513, 512), 4)


@pytest.mark.parametrize(("shape", "told"), [((), "of nothing"), ((3, 0), "3 x 0"), ((3, -2), "3 x -2")])
def test_a_size_of_nothing_is_refused(shape: tuple[int, ...], told: str) -> None:
    with pytest.raises(DataError, match=f"a.nii declares the size {told}: mend its header"):
        check_declared("a.nii", shape, 1)


def test_large_lengths_do_not_run_over() -> None:
    with pytest.raises(DataError, match=r"2\.75e\+11 GiB"):
        check_declared("a.nii", (2**31 - 1, 2**31 - 1, 2**6), 1)


def test_threads_share_the_room_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(1 / 1024))
    room, most, started = Room(), [], threading.Barrier(6)

    def read(share: int) -> None:
        started.wait()
        for _ in range(50):
            with room.share():
                # A second look may find more: the first is given back meanwhile.
                for count in (share, 2 * share):
                    check_declared("a.nii", (count,), 1)
                most.append(room.taken)

    threads = [threading.Thread(target=read, args=(2**16 * i,)) for i in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 300
    assert max(most) <= 2**20
    assert room.taken == 0


def test_an_image_alone_has_the_whole_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGADV_MAX_IMAGE_GIB", str(1 / 1024))
    room = Room()
    with room.share():
        check_declared("a.nii", (2**20,), 1)
        with pytest.raises(DataError, match="declares"):
            check_declared("a.nii", (2**21,), 1)
    assert room.taken == 0
