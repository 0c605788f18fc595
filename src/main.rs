//! The `lumora` binary.

fn main() -> std::process::ExitCode {
    lumora::run()
}
