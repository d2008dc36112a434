"""``segadv_monai check``: what is wrong with a bundle or with configs, one line each."""

import argparse
import sys
from pathlib import Path

from segadv_monai.bundle import Finding, check, check_bundle, judge
from segadv_monai.protocols import ConfigError

__all__ = ["add_check"]


def add_check(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command.

    Args:
        verbs: of the command.
    """
    text = "check bundles, or config files that are merged in this order; modules that they name are imported"
    verb = verbs.add_parser("check", help="what is wrong with a bundle or its configs", description=text)
    verb.add_argument("paths", nargs="+", type=Path, metavar="BUNDLE_OR_CONFIG")
    verb.add_argument("--run-id", help="the id that is meant to be run")
    verb.add_argument("--schema", type=Path, metavar="FILE", help="the Model Zoo's schema of metadata.json")
    verb.add_argument("--static", action="store_true", help="judge a foreign bundle: nothing is imported")
    verb.set_defaults(action=_check)


def _check(given: argparse.Namespace) -> int:
    missing = [path for path in [*given.paths, given.schema] if path and not path.exists()]
    if missing:
        raise ConfigError(f"{missing[0]} is not there: give folders of bundles, or config files.")
    folders = [path for path in given.paths if path.is_dir()]
    if folders and len(folders) != len(given.paths):
        raise ConfigError("bundles and config files are mixed: check one kind at a time.")
    if given.static:
        return max(_judge(path) for path in given.paths)
    if folders:
        return max([_check_folder(folder, given) for folder in folders])
    findings = check(given.paths, run_id=given.run_id, schema=given.schema)
    names = " + ".join(str(path) for path in given.paths)
    return _told(findings, f"{names}: no findings")


def _check_folder(folder: Path, given: argparse.Namespace) -> int:
    count, findings = check_bundle(folder, run_id=given.run_id, schema=given.schema)
    return _told(findings, f"{folder}: {count} {'config' if count == 1 else 'configs'}, no findings")


def _told(findings: list[Finding], otherwise: str) -> int:
    for finding in findings:
        warning = "warning: " if finding.severity == "warning" else ""
        sys.stdout.write(f"{warning}{finding}\n")
    if not findings:
        sys.stdout.write(f"{otherwise}\n")
    return int(any(finding.severity == "error" for finding in findings))


def _judge(path: Path) -> int:
    judgement = judge(path)
    for finding in judgement.findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{path}: {judgement.verdict}\n")
    return int(judgement.exit_code)
