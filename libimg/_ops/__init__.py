"""Private mathematics that several components share."""
