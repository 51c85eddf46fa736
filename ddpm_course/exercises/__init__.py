"""Exercises of the notebooks: one module each, with solutions and checks side by side."""
