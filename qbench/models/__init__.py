"""Float networks, their quantized layers, and the conversion between them."""
