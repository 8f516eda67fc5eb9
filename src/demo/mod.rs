//! The throw-away world of `pptpctl demo`: two network namespaces and the server side of the machines.
