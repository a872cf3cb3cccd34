//! What the tests of crash points share.

pub mod act;
pub mod scene;
