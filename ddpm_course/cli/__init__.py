"""The command `ddpm-course`, one module per command."""
