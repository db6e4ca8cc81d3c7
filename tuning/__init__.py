"""The search: Keras Tuner's oracles propose configurations, the one training loop scores them."""
