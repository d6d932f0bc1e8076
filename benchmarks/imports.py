"""What `import` costs, beyond `import wrapt`: a new interpreter for each sample.

`import wrapt` itself is measured too, from nothing: milliseconds need a measure of the machine.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from tempfile import TemporaryDirectory

from .contenders import Contender
from .timing import Samples

NAME = "import"
TITLE = "`import`, beyond `import wrapt`"
GOAL = 10.0
MAX_ROUNDS = 21
"""A sample is a process: more of them say nothing new."""


def _milliseconds(module: str, bytecode: str) -> float:
    """The cumulative time of `module` by -X importtime, after wrapt if it is another.

    Args:
        module: what is imported, in an interpreter of its own.
        bytecode: a folder for compiled modules, which the environment might forbid elsewhere.
    """
    statement = f"import wrapt, {module}"
    command = [sys.executable, "-X", "importtime", "-c", statement]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    for line in output.stderr.splitlines():
        _, cumulative, name = line.removeprefix("import time:").split("|")
        if name.strip() == module:
            return int(cumulative) / 1000
    raise RuntimeError(f"-X importtime says nothing of {module}")


def measure(contenders: Sequence[Contender], rounds: int) -> Samples:
    """Milliseconds, by contender, interleaved like every other cell."""
    importing = {who.name: who.module for who in contenders if who.module}
    order = list(importing)
    samples: Samples = {name: [] for name in order}
    with TemporaryDirectory() as bytecode:
        for number in range(min(rounds, MAX_ROUNDS) + 1):
            random.Random(number).shuffle(order)
            for name in order:
                cost = _milliseconds(importing[name], bytecode)
                if number:  # the first has compiled everything
                    samples[name].append(cost)
    return samples
