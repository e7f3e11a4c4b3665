//! Every bound: reached, answered, counted.
