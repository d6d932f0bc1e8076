"""One process of a run: `python -m tests.chaos.process '{...orders...}' [fault]`."""

import json
import sys

from .faults import put_in


def main(orders: str, fault: str | None = None) -> None:
    if fault is not None:
        put_in(fault)
    from .workload import Orders, Process  # only now: what it loads has the fault in it

    Process(Orders(**json.loads(orders))).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
