//! RLDS / TFRecord reader.
