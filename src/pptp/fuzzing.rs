//! What the fuzz targets run, and what must hold whatever they are fed; errors say what did not.
