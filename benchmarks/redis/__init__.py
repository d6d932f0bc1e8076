"""What one verdict for a fleet costs, and what it is worth: ours and the peers, on one real server.

    python -m benchmarks.redis               # every scene, then ours against the goals
    python -m benchmarks.redis --quick       # the same, smaller: does everything work?
    python -m benchmarks.redis --only outage --only burst
    python -m benchmarks.redis --markdown    # the figures of docs/benchmarks-redis.md

How it measures, and why:

* One server on loopback, started here, for everybody. Its port, and nothing else, is told to the
  contenders; each makes its client as its own documentation does, with that client's defaults.
* Every member of a fleet is a process of its own (`crew.py`). What such a process can do (`worker.py`)
  is written once, and driven with or without an event loop (`colours.py`).
* Whoever hangs is given a limit; then his process is killed, and the table says "> 8 s".
* Whether a call went out is seen by the guarded function alone. What the contender raised only tells a
  rejection from a breakdown.
* What can be timed in rounds is: a circuit with Redis and one without take turns within each round, and
  the median of the rounds' ratios is quoted. In an outage one contender is measured at a time.
* All have the same settings as far as they know them: five failures trip, one probe at a time, one success
  closes. Who judges a rate (nopanic-redis, interlock) judges it over a window of five calls.
"""
