"""The Python executor: runs functions in worker processes of one container. Standard library only, and cloudpickle."""
