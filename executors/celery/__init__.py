"""What runs a Celery task inside a container: by the task machinery of the Celery that the image has. Standard library only beside it."""
