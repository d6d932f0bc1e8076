"""Which policy suits which trouble: a seeded simulation that drives real breakers on a virtual clock.

    python -m benchmarks.policies                       # every scenario and policy, the bars, a table
    python -m benchmarks.policies --only outage --seed 7 --noise 0.02
    python -m benchmarks.policies --markdown --svg docs # the figures of docs/policies.md, and its plots

How it goes, from the ground up:

* `engine` has the clock, and what happens next;
* `world` is a fleet of callers, a dependency made of shards, and a script of faults;
* `contenders` and `scenarios` are two tables: settings by name, and troubles by name;
* `simulation` lets one policy live through one scenario;
* `measures` and `bars` say what came of it, and whether that is good enough;
* `report` and `plots` show it.

Nothing sleeps, and nothing but the seed decides: the same seed gives the same figures. All policies see
the same calls, at the same moments, with the same luck.
"""
