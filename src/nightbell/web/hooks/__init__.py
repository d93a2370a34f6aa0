"""Requests of providers that answer calls for us: no session, no cookie, a signature instead."""
