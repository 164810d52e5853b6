"""How fast the machines that ``mlx.launch`` started this on are joined."""

from __future__ import annotations

from liquid_mlx.distributed.links import measure
from liquid_mlx.doctor.checks import Check, SkippedError, Subject


def links(subject: Subject) -> list[Check]:
    """An all-sum's latency and bandwidth; all processes make this check together."""

    def all_sum() -> str:
        if subject.team.group is None:
            raise SkippedError("one process: start several with `mlx.launch ... -- liquid doctor`")
        found = measure(subject.team.group)
        return (
            f"{found.ranks} processes, {found.latency * 1e6:.0f} us of a step "
            f"({found.alone * 1e6:.0f} alone), {found.bandwidth / 1e9:.2f} GB/s"
        )

    return [Check("links", "all-sum", all_sum)]
