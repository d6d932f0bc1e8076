"""Servers, and raw members of a fleet, for the tests of a fleet under chaos."""

from ..fleet.conftest import connect, make_fleet, our_server, server, start_server

__all__ = ["connect", "make_fleet", "our_server", "server", "start_server"]
