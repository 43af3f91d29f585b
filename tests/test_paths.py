"""Where files are stored, and files that appear as a whole."""

import pytest

from helpers.paths import ROOT, build_path, display_path, whole_file


def test_everything_generated_goes_under_one_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "elsewhere"))
    path = build_path("models", "net.onnx")
    assert path == tmp_path / "elsewhere" / "models" / "net.onnx"
    assert path.parent.is_dir()


def test_a_message_names_files_without_this_machine(tmp_path):
    assert display_path(ROOT / "build" / "models" / "net.onnx") == "build/models/net.onnx"
    assert display_path(tmp_path / "net.onnx") == "net.onnx"


def test_a_whole_file_replaces_the_old_one(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text("old")
    with whole_file(path) as part:
        part.write_text("new")
        assert path.read_text() == "old", "not before it is complete"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_half_a_file_is_deleted_and_the_old_one_stays(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as part:
        part.write_text("ha")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
