"""The report on a context's jobs: one summary of the history, shown in the terminal, as JSON, or as a page."""
