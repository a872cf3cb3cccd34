//! Gives the shared library its soname.

fn main() {
    // Before 1.0 every minor version may change the interface.
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let minor = env!("CARGO_PKG_VERSION_MINOR");
    let version = if major == "0" { format!("0.{minor}") } else { major.to_owned() };
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libqadataswap.so.{version}");
    println!("cargo:rerun-if-changed=build.rs");
}
