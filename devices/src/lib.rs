//! Device models and the buses they live on.
