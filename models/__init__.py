"""What a model is: dictionary models, losses, metrics, training, weights and their card."""
