"""What bench/calls.py measures beside Mesolite, a module for each way to call functions in other processes.

Each runs in a process of its own, most under an interpreter with that library installed and nothing of ours (`environment.py`),
and does what it is told on its standard input (`conversation.py`). The table of all is `catalog.py`. What the peers' modules
import is the standard library and that one library.
"""
