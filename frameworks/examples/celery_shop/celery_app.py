"""The application."""

from typing import Any

from celery import Celery

app: Any = Celery("celery_shop")
app.config_from_object("mesolite.frameworks.examples.celery_shop.settings")
