"""The pages. Each view asks a room's service and prints what it is given; no rules live here."""
