"""The table of a data set: short, the worst first."""

from segadv_monai.data import DataReport, Finding


def report(*findings: Finding) -> DataReport:
    return DataReport(
        root="/set",
        cases={"training": 3, "validation": 1},
        findings=findings,
        hashes={},
        known=2,
        seconds=0.123,
    )


def test_the_worst_stands_first_and_paths_are_short() -> None:
    found = report(
        Finding("notice", "1 of 4 labels are empty."),
        Finding("warning", "/set/a.png is odd."),
        Finding("error", "/set/c.png is broken.", 2),
        Finding("error", "/set/b.png is /set/x.", 1),
    )
    assert found.table().splitlines() == [
        "/set:",
        "  error    c.png is broken.",
        "  error    b.png is x.",
        "  warning  a.png is odd.",
        "  notice   1 of 4 labels are empty.",
    ]


def test_a_long_table_is_cut_and_says_so() -> None:
    found = report(*(Finding("warning", f"{i}") for i in range(50)), Finding("error", "last", 3))
    lines = found.table().splitlines()
    assert len(lines) == 22
    assert lines[1] == "  error    last"
    assert lines[-1] == "  and 31 more"


def test_the_summary_counts() -> None:
    found = report(Finding("warning", "a"), Finding("warning", "b"), Finding("error", "c"))
    assert found.summary() == "3 + 1 cases checked in 0.1 s (2 known from before): 1 fault, 2 warnings"
