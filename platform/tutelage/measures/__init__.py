"""What is measured of a network: one file a measure, each with a `MEASURE`."""
