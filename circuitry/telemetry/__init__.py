"""What others are told about circuits: one module for each system, imported only by those who use it."""
