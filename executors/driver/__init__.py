"""The executor driver: everything about being an executor that does not depend on what it executes. Standard library only."""
