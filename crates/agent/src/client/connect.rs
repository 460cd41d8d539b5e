//! `connect`: bytes between our standard streams and the control socket, for a host that can't reach the socket: it
//! runs this through an Engine exec and speaks the socket's protocol over it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;
use std::time::Duration;

use powerdev_protocol::Response;

use super::{ClientError, Connection, Line};

const DEADLINE: Duration = Duration::from_secs(5);

/// First says [`Response::Ok`], so that the host knows that it talks to the agent. Ends when the agent hangs up, and
/// when standard input ends: then the host is gone.
pub fn run(arguments: lexopt::Parser) -> Result<ExitCode, ClientError> {
    Line::read(arguments, &[])?.end()?;
    let broken = ClientError::io;
    let mut agent = Connection::open(DEADLINE)?;
    agent.be_patient()?;
    let (mut socket, _) = agent.into_parts();
    // Not std's own: it would keep what doesn't end with a line.
    let mut output = File::from(rustix::stdio::stdout().try_clone_to_owned().map_err(broken("no standard output"))?);
    let mut input = File::from(rustix::stdio::stdin().try_clone_to_owned().map_err(broken("no standard input"))?);
    let mut line = serde_json::to_vec(&Response::Ok).expect("an answer is plain data");
    line.push(b'\n');
    output.write_all(&line).map_err(broken("can't write to the host"))?;
    let mut to_agent = socket.try_clone().map_err(broken("can't set up the connection"))?;
    std::thread::spawn(move || {
        pass_on(&mut input, &mut to_agent).ok(); // However it ended, there is no more to pass on.
        to_agent.shutdown(Shutdown::Both).ok(); // The agent may have hung up before.
    });
    pass_on(&mut socket, &mut output).map_err(broken("the connection broke"))?;
    Ok(ExitCode::SUCCESS)
}

/// Until there is no more. Not `io::copy`: its splice keeps a pipe locked, and its reader waiting, until more comes.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => to.write_all(&buffer[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
