"""What runs in the worker of a Celery task, put into every agent's bundle: on the Celery of the image, no other dependency."""
