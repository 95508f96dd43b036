"""Inside the network: activations, gradients, filters, feature maps, what classes look like, what a prediction rests on."""
