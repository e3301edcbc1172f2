"""The agent's ends of the sockets by which executors speak to it."""
