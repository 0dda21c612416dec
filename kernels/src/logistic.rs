//! Online logistic regression.
