//! The `powerdev` binary: everything happens in the library.

fn main() -> std::process::ExitCode {
    powerdev::main()
}
