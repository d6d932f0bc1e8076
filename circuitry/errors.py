"""What circuitry raises.

Every rejection is a `CircuitOpenError`, so one `except` catches them all. A rejection is the
most frequent thing an open circuit does, hence its shape: the facts are the exception's own
`args`, read through properties. There is no `__init__` to run, the message is only made when
somebody prints it, and pickle needs no help.
"""

from __future__ import annotations


class CircuitBreakerError(Exception):
    """The base of everything circuitry raises itself."""


class ConfigurationError(CircuitBreakerError, ValueError):
    """A setting is wrong; the message names the field, the value and what is allowed."""


class CircuitOpenError(CircuitBreakerError):
    """The circuit rejected the call: the protected function was not run.

    Raised by `open`, `half_open` (as `TooManyCallsError`) and `forced_open` circuits, and by
    `closed` ones that shed a share of their calls. A new object for each rejection; it pickles
    unchanged.

    Args:
        circuit_name: the circuit that rejected.
        state: its state at that moment.
        retry_after: seconds (>= 0) after which a call may be admitted.
        last_failure: what opened the circuit, as text; None if nothing did.
    """

    args: tuple[str, str, float, str | None]

    @property
    def circuit_name(self) -> str:
        """The name of the circuit that rejected the call."""
        return self.args[0]

    @property
    def state(self) -> str:
        """The circuit's state when it rejected: a `CircuitState`."""
        return self.args[1]

    @property
    def retry_after(self) -> float:
        """Seconds, >= 0: until the deadline of an open circuit, until the first probe's slot
        can lapse in half_open, and `timeout_duration` as a hint when the circuit is forced. 0
        where a closed circuit sheds calls: the next may be admitted.
        """
        return self.args[2]

    @property
    def last_failure(self) -> str | None:
        """What opened the circuit, such as `"TimeoutError: read timed out"`, or None."""
        return self.args[3]

    def __str__(self) -> str:
        if self.state == "closed":
            return f"circuit {self.circuit_name!r} is closed and sheds a share of its calls: this was one"
        cause = f"; last failure: {self.last_failure}" if self.last_failure else ""
        return f"circuit {self.circuit_name!r} is {self.state}, retry after {self.retry_after:.3g} s{cause}"


class TooManyCallsError(CircuitOpenError):
    """The circuit is half-open and all its probes are in flight."""
