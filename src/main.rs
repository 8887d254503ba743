//! The program `phoenix-nvidia`.

fn main() {}
