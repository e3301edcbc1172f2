"""A shop's background work, as an ordinary Celery project: `celery -A mesolite.frameworks.examples.celery_shop worker`
runs it, and so does `mesolite celery -A mesolite.frameworks.examples.celery_shop`.

orders.py has chains, chords and retries; reports.py what needs much CPU, or eats memory; settings.py all that is configured;
`python -m mesolite.frameworks.examples.celery_shop` orders something.
"""

from .celery_app import app

__all__ = ["app"]
