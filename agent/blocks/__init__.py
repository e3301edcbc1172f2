"""The agent's block store: large arguments and results of a framework's calls, on the agent's disk instead of in Redis."""
