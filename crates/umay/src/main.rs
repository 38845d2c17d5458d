//! The `umay` binary; see [`umay::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match umay::cli::main() {
        Ok(code) => code,
        Err(error) => {
            // Before the event log is set up there is only this.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("error: {error:#}\n").as_bytes(),
            );
            ExitCode::FAILURE
        }
    }
}
