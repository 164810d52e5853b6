"""``liquid doctor``: whether this machine computes what it should."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from .. import options, together
from ..printer import print_fields, print_json
from ..terminal import Status, one_line


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Check that this machine computes what it should. Compiles every kernel and compares it
    with plain MLX, draws with the bundled model and compares with stored codes, and times it.
    The report is made to be pasted; what cannot be checked here is listed as skipped.
    Started on several machines by mlx.launch it also times their links."""
    from liquid_mlx.doctor import Finding, Subject, examine, machine  # MLX: help does without
    from liquid_mlx.hub import DEMO, resolve

    findings = []
    with Status(quiet) as status:
        team = together.start(status)
        status.start("doctor")
        for finding, total in examine(Subject(resolve(DEMO), team=team)):
            findings.append(finding)
            status.progress(f"{finding.group}: {finding.name}", len(findings), total, "checks")
    wrong = [asdict(finding) for finding in findings if finding.state == "failed"]
    for rank, others in enumerate(team.gather(wrong)):
        for one in others if rank else ():
            findings.append(Finding(**{**one, "name": f"rank {rank}, {one['name']}"}))
    if not team.first:
        raise typer.Exit(bool(wrong))
    about = machine()
    counts = {
        state: sum(finding.state == state for finding in findings)
        for state in ("passed", "failed", "skipped")
    }
    if as_json:
        report = {**about, **counts, "checks": [asdict(finding) for finding in findings]}
        print_json(report, indent=2)
    else:
        print_fields(about)
        for group in dict.fromkeys(finding.group for finding in findings):
            print(f"\n{group}")
            for finding in findings:
                if finding.group == group:
                    print(f"  {finding.state:9}{finding.name}: {one_line(finding.detail)}")
        print("\n" + ", ".join(f"{number} {state}" for state, number in counts.items()))
    if counts["failed"]:
        raise typer.Exit(1)
