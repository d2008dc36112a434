"""Files that appear complete or not at all."""

from pathlib import Path

import pytest

from segadv_monai.data import atomic_write


def test_a_block_that_ends_well_gives_the_file_in_a_new_folder(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "new" / "a.csv") as draft:
        draft.write_text("whole")
        assert draft.suffix == ".csv"
    assert (tmp_path / "new" / "a.csv").read_text() == "whole"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_write(tmp_path / "a.csv") as draft:
            draft.write_text("ha")
            raise KeyboardInterrupt

    (tmp_path / "a.csv").write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "a.csv").read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 1


def test_until_its_end_the_old_file_stands(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("old")
    with atomic_write(tmp_path / "a.csv") as draft:
        draft.write_text("new")
        assert (tmp_path / "a.csv").read_text() == "old"


def test_the_draft_of_a_killed_process_is_in_nobodys_way(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.csv") as draft:
        draft.write_text("left over and long")
        left = draft.read_bytes()
    draft.write_bytes(left)
    with atomic_write(tmp_path / "a.csv") as draft:
        draft.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "new"
