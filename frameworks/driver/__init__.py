"""The scheduler driver: everything about being a framework that does not depend on what the framework does."""
