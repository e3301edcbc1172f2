"""Celery applications on Mesolite (docs/celery.md): each task in a container with its own CPU and memory."""
