"""Messages are owned: kombu's Redis transports, made to hold a message until the last word on its task.

`opening.install` makes this process's Redis brokers lead here. What decides is in `book`, `pace` and `records`; what is asked of
Redis in `requests` and `scripts`; `memory` answers the same requests without a Redis.
"""
