"""Nightbell: a self-hosted phone line for medical practices."""

__version__ = "0.1.0"
