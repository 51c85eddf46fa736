"""Recorded results are found from anywhere, and say where they come from."""

import json

import pytest
from helpers import ROOT

from ddpm_course.lab import recorded, records

NAME = "quality-flowers32-tiny-cpu"


def test_a_table_is_found_from_any_folder_and_names_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = json.loads((ROOT / "benchmarks" / "results" / f"{NAME}.json").read_text("utf-8"))
    assert recorded(NAME) == table
    command, origin = capsys.readouterr().out.splitlines()
    assert command == f"recorded: {table['command']}"
    assert origin == f"{table['date']}, commit {table['commit']}, {table['device']}"


def test_beside_the_notebooks_of_a_clone_the_package_may_be_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT / "notebooks")
    monkeypatch.setattr(records, "CLONE", tmp_path)
    assert recorded(NAME)["rows"]


def test_outside_a_clone_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "CLONE", tmp_path)
    with pytest.raises(FileNotFoundError, match=f"table {NAME} comes with a clone of the course"):
        recorded(NAME)
