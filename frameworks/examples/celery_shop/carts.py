"""What nobody asks for: Beat does, every ten seconds."""

from .celery_app import app


@app.task(name="shop.empty_carts", ignore_result=True)
def empty_carts() -> None:
    """Give back what lies in carts that nobody came back to."""
