"""CSV and .mat files, whole and broken: what is wrong is said with its line."""

from pathlib import Path

import numpy as np
import pytest
from dataset_maker import write_rows
from scipy.io import savemat

from datamodules.annotation_tables import Table, first_line, read_csv, read_mat_columns, read_mat_struct
from lightning_vision.data.data_problems import DataProblems
from lightning_vision.errors import DataError

FIELDS = {"bbox_x1": "x1", "class": "class", "fname": "name"}


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "table.csv"
    file.write_bytes(text.encode(encoding))
    return file


def read(file: Path, *columns: str, header: bool = True) -> tuple[Table, list[str]]:
    findings = DataProblems()
    return read_csv(file, findings, columns, header, {"label": "class"}), findings.problems


class TestCsv:
    @pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_byte_order_mark_and_line_ends(self, tmp_path: Path, ends: str, encoding: str) -> None:
        file = write(tmp_path, ends.join(["name,number,more", 'é,01,"a, b"', "", "NA,,x"]), encoding)
        table, problems = read(file, "number", "name")
        assert table.rows.to_dict("list") == {"name": ["é", "NA"], "number": ["01", ""], "more": ["a, b", "x"]}
        assert table.rows.index.tolist() == [2, 4] and table.place(4) == "table.csv line 4"
        assert not problems

    def test_a_record_may_go_over_several_lines(self, tmp_path: Path) -> None:
        table, problems = read(write(tmp_path, 'a,b\n"1\n2 ""x""",3\n4,5\n'), "a")
        assert table.rows["a"].tolist() == ['1\n2 "x"', "4"]
        assert table.rows.index.tolist() == [2, 4] and not problems

    def test_lines_that_do_not_parse_are_all_named(self, tmp_path: Path) -> None:
        text = 'a,b\n1,2\n"x"y,2\n3\n"one\ntwo"s,4\n5,6,7\n8,9\n'
        table, problems = read(write(tmp_path, text), "a", "b")
        assert table.rows.to_numpy().tolist() == [["1", "2"], ["8", "9"]]
        assert [problem.split(":")[0] for problem in problems] == [
            "table.csv line 3", "table.csv lines 5 to 6", "table.csv line 4", "table.csv line 7",
        ]  # fmt: skip
        assert "broken quotation" in problems[0]
        assert problems[2:] == ["table.csv line 4: 1 field, expected 2", "table.csv line 7: 3 fields, expected 2"]

    @pytest.mark.parametrize("rest", [3, 50_000])
    def test_a_quotation_that_never_ends(self, tmp_path: Path, rest: int) -> None:
        table, problems = read(write(tmp_path, 'a,b\n1,2\n"3,4\n' + "5,6\n" * rest), "a")
        assert table.rows["a"].tolist() == ["1"]
        assert problems == ["table.csv line 3: a quotation mark is opened here and never closed; the rest was not read"]

    def test_without_a_header_line(self, tmp_path: Path) -> None:
        assert read(write(tmp_path, "x.jpg,1\ny.jpg,2"), "name", "class", header=False)[0].rows["class"].tolist() == [
            "1",
            "2",
        ]
        table, _ = read(write(tmp_path, "Label, NAME\n1,x.jpg"), "name", "class", header=False)
        assert table.rows["name"].tolist() == ["x.jpg"] and table.rows.index.tolist() == [2]

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", r"table\.csv is empty. Expected a table with the columns 'name', 'class'"),
            ("name,number\n1,2", "lacks the column 'class'; its first line has 'name', 'number'"),
            ("<html>\n", "lacks the columns 'name', 'class'; its first line has '<html>'"),
            ("name;class\nx;1", "separated by semicolons, expected commas"),
            ("name\tclass\nx\t1", "separated by tabs"),
            ("name,class,label\nx,1,1", "has the column 'class' twice"),
        ],
    )
    def test_refused(self, tmp_path: Path, text: str, match: str) -> None:
        with pytest.raises(DataError, match=match):
            read(write(tmp_path, text), "name", "class")

    def test_refused_without_a_header_line(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="separated by semicolons"):
            read(write(tmp_path, "x.jpg;1\n"), "name", "class", header=False)

    def test_other_encodings(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"not UTF-8 text: line 2 contains the byte 0xe9. Save it as CSV in UTF-8"):
            read(write(tmp_path, "name,class\né,1", "latin-1"), "name")
        with pytest.raises(DataError, match="line 1 contains the byte 0xff"):
            read(write(tmp_path, "name,class\né,1", "utf-16"), "name")

    def test_first_line(self, tmp_path: Path) -> None:
        assert first_line(write(tmp_path, "name;class\nx;1", "utf-8-sig")) == "name;class\n"
        assert first_line(write(tmp_path, "x" * 20_000, "utf-16")) and first_line(tmp_path / "none.csv") == ""


class TestChecks:
    def test_whole_numbers(self, tmp_path: Path) -> None:
        file = write_rows(
            tmp_path / "t.csv", [["a", "b"], ["1", " 2.0"], ["x", "1.5"], ["", "nan"], ["3", "1e400"], ["4", "5"]]
        )
        findings = DataProblems()
        table = read_csv(file, findings, ["a", "b"]).whole_numbers(["a", "b"], findings)
        assert table.rows.to_numpy().tolist() == [[1, 2], [4, 5]]
        assert table.rows.dtypes.tolist() == [np.int64, np.int64]
        assert findings.problems[0] == "t.csv line 3: a is 'x', expected a whole number"
        assert [problem.split(" is ")[0] for problem in findings.problems[1:]] == [
            "t.csv line 4: a", "t.csv line 3: b", "t.csv line 4: b", "t.csv line 5: b",
        ]  # fmt: skip

    def test_texts_and_repetitions(self, tmp_path: Path) -> None:
        file = write_rows(tmp_path / "t.csv", [["a", "b"], [" x ", "1"], ["", "2"], ["y", "3"], ["x", "4"], ["x", "5"]])
        findings = DataProblems()
        table = read_csv(file, findings, ["a"]).texts(["a"], findings).once("a", findings)
        assert table.rows["b"].tolist() == ["1", "3"]
        assert findings.problems == [
            "t.csv line 3: a is '', expected a text",
            "t.csv line 5: a 'x' is already in line 2",
            "t.csv line 6: a 'x' is already in line 2",
        ]


class TestMat:
    def struct(self, folder: Path, rows: list[tuple[object, ...]]) -> Path:
        """The fields in an order of their own, and one that is not needed."""
        dtype = [(name, object) for name in ("fname", "more", "class", "bbox_x1")]
        savemat(folder / "a.mat", {"annotations": np.array(rows, dtype=dtype)})
        return folder / "a.mat"

    def test_fields_are_read_by_name(self, tmp_path: Path) -> None:
        file = self.struct(tmp_path, [("x.jpg", 0, 3, 10), ("y.jpg", 0, 4, 300)])
        table = read_mat_struct(file, "annotations", FIELDS)
        assert table.rows.to_dict("list") == {"x1": [10, 300], "class": [3, 4], "name": ["x.jpg", "y.jpg"]}
        assert table.place(2) == "a.mat row 2"

    def test_a_single_row(self, tmp_path: Path) -> None:
        table = read_mat_struct(self.struct(tmp_path, [("x.jpg", 0, 3, 10)]), "annotations", FIELDS)
        assert table.rows.to_numpy().tolist() == [[10, 3, "x.jpg"]]

    def test_an_empty_field_is_found_by_the_checks(self, tmp_path: Path) -> None:
        file = self.struct(tmp_path, [("x.jpg", 0, np.zeros((0, 0)), 10), ("y.jpg", 0, 4, np.array([1, 2]))])
        findings = DataProblems()
        table = read_mat_struct(file, "annotations", FIELDS).whole_numbers(["class", "x1"], findings)
        assert table.rows.empty
        assert findings.problems == [
            "a.mat row 1: class is missing, expected a whole number",
            "a.mat row 2: x1 is missing, expected a whole number",
        ]

    def test_columns(self, tmp_path: Path) -> None:
        names = np.array([["x"], ["y"]], dtype=object)
        savemat(tmp_path / "l.mat", {"file_list": names, "labels": np.array([[1], [2]]), "short": np.array([1, 2, 3])})
        table = read_mat_columns(tmp_path / "l.mat", {"file_list": "path", "labels": "class"})
        assert table.rows.to_dict("list") == {"path": ["x", "y"], "class": [1, 2]}
        with pytest.raises(DataError, match=r"equal lengths, found 'file_list' 2, 'short' 3"):
            read_mat_columns(tmp_path / "l.mat", {"file_list": "path", "short": "class"})
        with pytest.raises(DataError, match=r"has no 'class_names', only 'file_list', 'labels', 'short'"):
            read_mat_columns(tmp_path / "l.mat", {"class_names": "name"})
        with pytest.raises(DataError, match=r"must be a struct array with the fields 'a'. It lacks 'a' and has none"):
            read_mat_struct(tmp_path / "l.mat", "labels", {"a": "a"})

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            (
                b"<!DOCTYPE html><html>Not found",
                r"begins with b'<!DOCTYPE html><html>.*dead link may have saved a web page",
            ),
            (b"", r"not a readable \.mat file; it begins with b''"),
            (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", r"format 7\.3 \(HDF5\).*Save it with '-v7'"),
        ],
    )
    def test_no_mat_file(self, tmp_path: Path, data: bytes, match: str) -> None:
        (tmp_path / "x.mat").write_bytes(data)
        with pytest.raises(DataError, match=match):
            read_mat_columns(tmp_path / "x.mat", {"a": "a"})

    def test_cut_off_or_missing(self, tmp_path: Path) -> None:
        data = self.struct(tmp_path, [("x.jpg", 0, 3, 10)] * 20).read_bytes()
        (tmp_path / "x.mat").write_bytes(data[: len(data) // 2])
        with pytest.raises(DataError, match=r"x\.mat is not a readable \.mat file"):
            read_mat_struct(tmp_path / "x.mat", "annotations", FIELDS)
        with pytest.raises(DataError, match=r"y\.mat cannot be read: No such file"):
            read_mat_struct(tmp_path / "y.mat", "annotations", FIELDS)
