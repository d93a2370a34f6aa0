"""Decoding of uploaded sound and speaking of texts, each in a child that can reach nothing."""
