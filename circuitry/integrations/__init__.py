"""Where circuits meet other tools. Each integration is a module of its own, loaded only where it is used."""
