"""Says of items that are no pairs what an operation by key wants."""


def explain_no_pair(error: Exception) -> None:
    """Add to an error of taking a pair apart what was expected; leave those of the user's functions alone.

    To be called where the loop is that takes pairs apart, or by its caller: functions of users are further down.
    """
    trace = error.__traceback__
    depth = 0
    while trace is not None and trace.tb_next is not None:
        trace, depth = trace.tb_next, depth + 1
    if depth <= 1 and "unpack" in str(error):
        error.add_note("an operation by key needs pairs (key, value), and an item of this RDD is none")
