"""Local speech recognition: weights that are checked, a child without keys or network, an adapter."""
