"""The museum: one exhibit for each bug seen in a circuit breaker. See README.md."""
