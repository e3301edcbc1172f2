"""The resource algebra."""

from .resource import DiskInfo, Range, Reservation, ReservationType, Resource, ResourceType

__all__ = ["DiskInfo", "Range", "Reservation", "ReservationType", "Resource", "ResourceType"]
