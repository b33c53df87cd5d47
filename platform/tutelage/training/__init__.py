"""The training of one network: loop, optimisers, augmentation, knowledge cache, jobs on Ray Train."""
