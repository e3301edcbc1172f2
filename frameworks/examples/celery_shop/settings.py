"""All that is configured, by environment variables where a deployment differs."""

import json
import os
from typing import Any

broker_url = os.environ.get("SHOP_BROKER_URL", "redis://127.0.0.1:6379/0")
result_backend = os.environ.get("SHOP_RESULT_BACKEND", broker_url)
#: `{"master_name": "mesolite"}` where the addresses are Sentinels'.
broker_transport_options: dict[str, Any] = json.loads(os.environ.get("SHOP_TRANSPORT_OPTIONS", "{}"))
result_backend_transport_options = broker_transport_options
broker_connection_retry_on_startup = True

imports = [f"mesolite.frameworks.examples.celery_shop.{name}" for name in ("orders", "reports", "carts")]
#: Who looks at reports waits for them; nobody waits for thumbnails.
task_routes = {"shop.thumbnail": {"queue": "images"}}
task_track_started = True
result_expires = 3600

#: What Beat sends: `celery -A mesolite.frameworks.examples.celery_shop beat`.
beat_schedule = {"empty old carts": {"task": "shop.empty_carts", "schedule": 10.0, "options": {"expires": 10}}}

#: What a task gets that asks for nothing itself, and the variables by which it finds the shop's servers. Celery ignores it.
mesolite = {
    "cpus": 0.25,
    "mem_mib": 128,
    "env": {name: value for name, value in os.environ.items() if name.startswith("SHOP_")},
}
