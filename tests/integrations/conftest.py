"""Real servers, as in the tests of the shared verdict."""

from __future__ import annotations

from ..fleet.conftest import connect, our_server, server, start_server

__all__ = ["connect", "our_server", "server", "start_server"]
