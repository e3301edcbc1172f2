"""One application with all that Celery promises, run by a plain worker and by Mesolite, and asked the same by tests.

Its tasks say what they see through Redis lists and counters (`board.py`), never through time.
"""

from .making import make_app

__all__ = ["make_app"]
