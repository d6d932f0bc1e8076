"""`python -m tests.chaos`: run after run under trouble of all kinds, each checked by its history."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..fleet.servers import KINDS, MissingError, binary
from .checker import excerpt
from .records import Called, Held, Read, Seen
from .running import Run, verdict


def kinds_here() -> list[str]:
    found: list[str] = []
    for kind in KINDS:
        try:
            binary(kind)
        except MissingError:
            continue
        found.append(kind)
    return found


def one(seed: int, seconds: float, fault: str | None) -> int:
    """One seed, here; how many violations it has."""
    kinds = kinds_here()
    kind = kinds[seed % len(kinds)]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        history, found = verdict(Run(seed, seconds, Path(directory), kind, fault=fault))
    epochs = Counter(
        line.reason for name in history.limits for line in {line for _, line in history.lines(name)}
    )
    calls, leases = len(history.of(Called)), len(history.of(Held))
    print(
        f"seed {seed} on {kind}: {len(found)} violations in {time.monotonic() - begun:.0f} s; {calls} calls, "
        f"{leases} leased probes, {len(history.of(Seen))} views, {len(history.of(Read))} histories; epochs: "
        + ", ".join(f"{reason} {times}" for reason, times in sorted(epochs.items())),
        flush=True,
    )
    for rule, times in Counter(violation.rule for violation in found).items():
        print(f"  {rule}: {times}")
    for violation in sorted(found, key=lambda violation: violation.rule != "no process complains")[:3]:
        print(f"\n{violation}\n{excerpt(history, violation)}\n", flush=True)
    return len(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--first", type=int, default=1, help="the first of several seeds")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--seconds", type=float, default=10.0, help="of trouble in each")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--fault", help="one that is put into each process: see faults.py")
    given = parser.parse_args()
    if given.seed is not None:
        return min(1, one(given.seed, given.seconds, given.fault))
    seeds = range(given.first, given.first + given.seeds)
    common = ["--seconds", str(given.seconds), *(["--fault", given.fault] if given.fault else [])]

    def in_a_process(seed: int) -> bool:
        command = [sys.executable, "-m", "tests.chaos", "--seed", str(seed), *common]
        return subprocess.run(command, check=False).returncode == 0

    with ThreadPoolExecutor(given.jobs) as pool:
        results = dict(zip(seeds, pool.map(in_a_process, seeds), strict=True))
    failed = [seed for seed, is_well in results.items() if not is_well]
    print(f"{len(results)} seeds, failed: {', '.join(map(str, failed)) or 'none'}")
    return min(1, len(failed))


if __name__ == "__main__":
    sys.exit(main())
