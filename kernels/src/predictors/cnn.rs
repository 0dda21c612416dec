//! A convolutional network.
