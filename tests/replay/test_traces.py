"""Reading job logs: both formats, plain and packed, and the errors for bad ones."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from dueq.core.errors import ConfigurationError
from dueq.replay.compact import compact, digest, main
from dueq.replay.traces import Job, builtin, read_trace

SWF = """\
; Computer: Example 1
; Conversion: Somebody (some@body.example) 2011

    1        5     -1   1451  128     -1    -1   -1     -1    -1 -1   1   1  -1 -1 -1 -1 -1
    2        0     -1     -1  128     -1    -1   -1     -1    -1 -1   1   1  -1 -1 -1 -1 -1
3 7.5 -1 2 ; short, but all that is needed
"""
CSV = "# a comment\n\ndue_s,duration_s\n5,1451\n0, 0 # as it was\n7.5,2\n"
JOBS = [Job(0, 0), Job(5, 1451), Job(7.5, 2)]

# of the log as the archive has it, by dueq.replay.compact.digest
NASA_JOBS = 18_239
NASA_SHA256 = "6cf5de1fbe6d59f930c7519e252604d23f2b290f45b11c39b9fd6c848b864216"


@pytest.mark.parametrize("text", [SWF, CSV, CSV.replace("due_s,duration_s\n", ""), CSV.removeprefix("# a comment\n")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_both_formats_are_told_apart_by_their_content(
    tmp_path: Path, text: str, pack: Callable[[bytes], bytes], mark: bytes
) -> None:
    path = tmp_path / "log"  # no suffix to go by
    path.write_bytes(pack(mark + text.encode()))
    assert read_trace(path).jobs == JOBS


RECORD = "1 0 5 10 4 -1 -1 4 20 -1 1 1 1 -1 1 -1 -1 -1"


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        (f"# a hash first\n; Version: 2.2\n{RECORD}\n", [Job(0, 10)]),
        (f"; V\n{RECORD} # what it was\n", [Job(0, 10)]),
        ("; a semicolon first\ndue_s,duration_s\n0,5\n", [Job(0, 5)]),
    ],
)
def test_both_kinds_of_comment_in_either_format(tmp_path: Path, text: str, jobs: list[Job]) -> None:
    (tmp_path / "log").write_text(text)
    assert read_trace(tmp_path / "log").jobs == jobs


@pytest.mark.parametrize("inside", ["\f", "\v", "\x1c", "\x1e", "\x85", "\u2028"])
def test_only_real_line_ends_end_a_line(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "log"
    path.write_text(f"; {inside}Version 2\n1{inside} 0 5 10\n", "utf-8")
    assert read_trace(path).jobs == [Job(0, 10)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_any_system(tmp_path: Path, end: str) -> None:
    (tmp_path / "log").write_bytes(SWF.replace("\n", end).encode())
    assert read_trace(tmp_path / "log").jobs == JOBS


def test_spreadsheets_unicode_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(CSV.encode("utf-16"))
    assert read_trace(tmp_path / "log").jobs == JOBS


def test_records_without_a_submit_time_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("; V\n1 -1 5 10\n2 4 5 10\n3 -1 5 -1\n")
    assert read_trace(path) == ([Job(4, 10)], 2)


@pytest.mark.parametrize(("magic", "name"), [(b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstd")])
def test_archives_that_cannot_be_read_are_named(tmp_path: Path, magic: bytes, name: str) -> None:
    (tmp_path / "log").write_bytes(magic + bytes(20))
    with pytest.raises(ConfigurationError, match=f"is a {name} archive: unpack it first"):
        read_trace(tmp_path / "log")


def test_comments_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("; Universität\n1 5 -1 9\n".encode("latin-1"))
    assert read_trace(path).jobs == [Job(5, 9)]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("; swf\n1 5 -1\n", 2, "at least 4 fields"),
        ("; swf\n1 soon -1 5\n", 2, "submit time in seconds, or -1, as field 2, not 'soon'"),
        ("; swf\n1 -2 -1 5\n", 2, "submit time"),
        ("; swf\n1 5 -1 nan\n", 2, "run time in seconds, or -1, as field 4"),
        ("; swf\n1 5 -1 -2\n", 2, "run time"),
        ("1,2\n3\n", 2, "due_s,duration_s"),
        ("1,2\n3,4,5\n", 2, "due_s,duration_s"),
        ("1,2\n\n3,-4\n", 3, "no negative duration"),
        ("1,2\ninf,4\n", 2, "two numbers"),
        ("when,how_long\n1,2\n", 1, "due_s,duration_s"),
        ("\nhello\n", 2, "Standard Workload Format or CSV"),
    ],
)
def test_bad_line_is_named_with_what_was_expected(tmp_path: Path, text: str, line: int, expected: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_trace(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "; nothing\n", "due_s,duration_s\n"])
def test_log_without_jobs(tmp_path: Path, text: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(ConfigurationError, match="has no job"):
        read_trace(tmp_path / "log")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*missing.*No such file"):
        read_trace(tmp_path / "missing")
    text = gzip.decompress(builtin().read_bytes())
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        whole = pack(text)
        for spoilt in (whole[: len(whole) // 2], whole[:20] + b"nonsense" + whole[28:]):
            (tmp_path / "spoilt").write_bytes(spoilt)
            with pytest.raises(ConfigurationError, match=r"cannot unzip .*spoilt"):
                read_trace(tmp_path / "spoilt")


def test_builtin_log_has_every_job_of_the_original_and_its_acknowledgement() -> None:
    jobs = read_trace(builtin()).jobs
    assert len(jobs) == NASA_JOBS
    assert (jobs[0], jobs[-1].due_s) == (Job(0, 1451), 7_948_936)
    assert sum(job.duration_s for job in jobs) == 13_950_781
    assert digest(builtin()) == NASA_SHA256
    head = gzip.decompress(builtin().read_bytes()).decode()[:2000]
    for thanked in ("Parallel Workloads Archive", "Bill Nitzberg", "NASA Ames", "Dror Feitelson"):
        assert thanked in head


def test_compact_form_is_the_same_jobs_in_the_same_bytes(tmp_path: Path) -> None:
    source, target = tmp_path / "log.swf", tmp_path / "log.csv.gz"
    source.write_text(SWF)
    assert main([str(source), str(target), "Thanks to all"]) == 0
    assert target.read_bytes() == compact(source, ["Thanks to all"])
    assert digest(target) == digest(source)
    assert read_trace(target).jobs == JOBS
    text = gzip.decompress(target.read_bytes()).decode()
    assert "# Thanks to all\n" in text
    assert "# Conversion: Somebody 2011\n" in text  # no mail addresses
    assert target.read_bytes()[4:8] == bytes(4)  # no time of making
    assert main([str(tmp_path / "missing"), str(target)]) == 2
    assert main([]) == 2
