"""What a manifest says, and which line is wrong."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.image_example_gen.sources.entry import UnusableDataset
from components.image_example_gen.sources.manifest import Manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,lable\na.png,cat\n", "line 1: there is no column for the label (one of label,"),
        ("path,label\na.png\n", "line 2: the line has 1 fields, and the header 2"),
        ("path,label\na.png,\n", "line 2: there is no label"),
        ("path,label,split\na.png,cat,trian\n", "line 2: the split 'trian' is none of train, val"),
        ("path,label\na.png,cat\na.png,dog\n", "line 3: a.png is 'dog' here, and 'cat' in line 2"),
        ('path,label\n"a.png,cat\n', "line 2: unexpected end of data"),
        ("path,label,weight\na.png,cat,0\n", "line 2: the weight '0' is no number above 0"),
        ("path,label,weight\na.png,cat,much\n", "line 2: the weight 'much' is no number"),
        ("path,label,weight\na.png,cat,nan\n", "line 2: the weight 'nan' is no number"),
        ("path,label,sample_weight\na.png,cat,1e9\n", "line 2: the weight '1e9' is no number"),
        ("", "line 1: there is no column for the path"),
    ],
)
def test_a_malformed_manifest_names_the_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text(text)

    with pytest.raises(UnusableDataset) as caught:
        Manifest("m.csv").check()

    assert message in str(caught.value)
    assert str(caught.value).startswith("m.csv, line ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"path": "a.png", "label": "cat"}\n{"path": ', "line 2: this is not JSON"),
        ('["a.png", "cat"]', "line 1: this is not a JSON object"),
        ('{"path": "a.png", "label": ["cat"]}', "line 1: the label is no text"),
        ('{"path": "a.png", "label": "cat", "weight": true}', "line 1: the weight 'True' is no"),
    ],
)
def test_malformed_json_lines_name_the_line(text, message, tmp_path):
    (tmp_path / "m.jsonl").write_text(text)

    with pytest.raises(UnusableDataset) as caught:
        Manifest(str(tmp_path / "m.jsonl")).check()

    assert message in str(caught.value)


def test_a_manifest_that_is_not_utf_8_says_so(tmp_path):
    (tmp_path / "m.csv").write_bytes("path,label\nü.png,Kätzchen\n".encode("latin-1"))

    with pytest.raises(UnusableDataset, match="is not UTF-8"):
        Manifest(str(tmp_path / "m.csv")).check()


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1)


@given(lines=st.dictionaries(names, names.filter(str.strip), min_size=1))
def test_what_a_csv_writer_writes_is_read_back(lines, tmp_path_factory):
    path = tmp_path_factory.mktemp("m") / "m.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *lines.items()])

    found = {entry.path: entry.label for entry in Manifest(str(path)).entries()}

    assert found == {
        name if "://" in name else os.path.join(path.parent, name): label
        for name, label in lines.items()
    }
