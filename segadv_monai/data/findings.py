"""What a look at a data set found, and how it is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["DataReport", "Finding", "Severity"]

Severity: TypeAlias = Literal["error", "warning", "notice"]

_ORDER: tuple[Severity, ...] = ("error", "warning", "notice")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Args:
        severity: ``error`` stops a run; ``warning`` may be meant; ``notice`` is a count.
        message: one line that names the file.
        case: number of the case in the order of the data set; None for the set as a whole.
    """

    severity: Severity
    message: str
    case: int | None = None


@dataclass(frozen=True, slots=True)
class DataReport:
    """What is known of a data set after every case was read.

    Args:
        root: the folder of the ``dataset.json``.
        cases: number of cases by section.
        findings: in the order of the data set.
        hashes: SHA-256 of each file by its path, relative to ``root`` where it lies in it.
        known: cases that did not have to be read, because none of their files had changed since they were.
        seconds: how long it took.
    """

    root: str
    cases: Mapping[str, int]
    findings: tuple[Finding, ...]
    hashes: Mapping[str, str]
    known: int
    seconds: float

    def of(self, severity: Severity) -> list[Finding]:
        """Findings of one severity, in the order of the data set.

        Args:
            severity: which.
        """
        return [finding for finding in self.findings if finding.severity == severity]

    def table(self, lines: int = 20) -> str:
        """The findings, the worst first; paths are relative to the data set's folder.

        Args:
            lines: how many at most.
        """
        rows = [finding for severity in _ORDER for finding in self.of(severity)]
        shown = [
            f"  {finding.severity:<9}{finding.message.replace(f'{self.root}/', '')}"
            for finding in rows[:lines]
        ]
        if len(rows) > lines:
            shown.append(f"  and {len(rows) - lines} more")
        return "\n".join([f"{self.root}:", *shown])

    def summary(self) -> str:
        """How much was read, how fast, and how many findings there are."""
        faults, warnings = len(self.of("error")), len(self.of("warning"))
        counts = " + ".join(str(count) for count in self.cases.values())
        known = f" ({self.known} known from before)" if self.known else ""
        return (
            f"{counts} cases checked in {self.seconds:.1f} s{known}: "
            f"{_number(faults, 'fault')}, {_number(warnings, 'warning')}"
        )


def _number(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"
