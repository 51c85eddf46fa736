"""How good a model is: error of x̂_0, likelihood, distances between sets of images, copying."""
