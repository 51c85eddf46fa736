"""From a low-resolution image to one 4× larger in each dimension."""
