"""What one guarded call costs: ours, the yardsticks and the peers, in one run.

    python -m benchmarks                     # every cell, a table with goals
    python -m benchmarks --only sync --only key --rounds 201
    python -m benchmarks --markdown          # the figures of docs/benchmarks.md

How it measures, and why:

* A sample is one compiled loop over one contender, ten calls to an iteration, so the
  loop itself is a thirtieth of the cheapest call and the same for everybody. Each
  contender has a loop of its own: CPython specialises bytecode where it stands, and
  a shared loop would be specialised for whoever ran first.
* Every round takes one sample of every contender, in a new random order. A ratio is
  taken within a round, against the yardstick's sample of that round, and the median
  of those ratios is quoted. A ratio of medians wandered from 0.20 to 0.33 for the
  same code, because the machine's speed changes between rounds.
* The garbage collector is frozen and off while samples are taken.
* Every contender is checked before and after: a closed circuit returns the answer, a
  failing call raises the function's own error, an open circuit never does.
"""
