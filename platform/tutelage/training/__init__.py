"""One network taught: loop, optimizers, augmentation, knowledge cache, jobs on Ray Train."""
