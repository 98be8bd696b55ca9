"""Learns clothed, animatable, detailed 3D people from static body-registered scans."""

__version__ = "0.1.0"
