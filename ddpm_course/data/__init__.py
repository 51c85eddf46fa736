"""Data sets held in memory as one tensor of bytes."""
