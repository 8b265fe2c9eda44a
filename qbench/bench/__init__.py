"""What a training step costs: exact counts first, clocks only where counts cannot tell."""
