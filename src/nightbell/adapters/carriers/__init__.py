"""Carriers that call us by webhook."""
