"""Reading job logs: both formats, plain and gzipped, and what is said about bad ones."""

from __future__ import annotations

import gzip
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
@pytest.mark.parametrize("zipped", [False, True])
def test_both_formats_are_told_apart_by_their_content(tmp_path: Path, text: str, zipped: bool) -> None:
    path = tmp_path / "log"  # no suffix to go by
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert read_trace(path) == JOBS


def test_comments_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("; Universität\n1 5 -1 9\n".encode("latin-1"))
    assert read_trace(path) == [Job(5, 9)]


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("; swf\n1 5 -1\n", 2, "at least 4 fields"),
        ("; swf\n1 soon -1 5\n", 2, "submit time in seconds as field 2, not 'soon'"),
        ("; swf\n1 -1 -1 5\n", 2, "submit time"),
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
    whole = builtin().read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match=r"cannot unzip .*cut"):
        read_trace(tmp_path / "cut")
    (tmp_path / "bent").write_bytes(whole[:20] + b"nonsense" + whole[28:])
    with pytest.raises(ConfigurationError, match=r"cannot (unzip|read) .*bent"):
        read_trace(tmp_path / "bent")


def test_builtin_log_has_every_job_of_the_original_and_its_acknowledgement() -> None:
    jobs = read_trace(builtin())
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
    assert read_trace(target) == JOBS
    text = gzip.decompress(target.read_bytes()).decode()
    assert "# Thanks to all\n" in text
    assert "# Conversion: Somebody 2011\n" in text  # no mail addresses
    assert target.read_bytes()[4:8] == bytes(4)  # no time of making
    assert main([str(tmp_path / "missing"), str(target)]) == 2
    assert main([]) == 2
