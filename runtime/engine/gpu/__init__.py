"""TensorRT engines on an NVIDIA GPU: what is there, memory and streams, plans, and batches that overlap."""
