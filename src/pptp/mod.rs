//! Pure RFC 2637: control connection and call machines, enhanced GRE.
