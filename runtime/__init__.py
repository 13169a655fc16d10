"""What runs on the workstation: slides in, biomarker predictions and their mIF evidence out. Never imports PyTorch."""
