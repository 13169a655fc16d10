"""What makes bundles: the simulator, towers and their training, graphs, atlas and evaluation."""
