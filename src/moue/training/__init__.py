"""Makes trained networks: configuration, augmentation, losses, the one loop, the study. Import its modules by name."""
