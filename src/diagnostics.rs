//! How an error ends the process, and what is said about it: found by one walk along its causes.

use std::error::Error;

use powerdev_protocol::ExitCode;

use crate::backup::BackupError;
use crate::control::AgentError;
use crate::engine::{EndpointError, EngineError, LoginError};
use crate::failure::{Diagnosis, Diagnostic, Failure};
use crate::files::FileError;
use crate::image::PullError;

/// Reads an error. The outermost cause that means something to the user decides.
pub fn diagnose(error: &anyhow::Error) -> Diagnosis {
    let found = error.chain().find_map(diagnostic);
    Diagnosis {
        message: crate::failure::chain(error.as_ref()),
        hint: found.and_then(Diagnostic::hint),
        code: found.map_or(ExitCode::Failed, Diagnostic::exit_code),
    }
}

/// The errors that mean something to the user: each implements [`Diagnostic`] and has its line here.
fn diagnostic<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a dyn Diagnostic> {
    fn known<'a, T: Diagnostic + 'static>(cause: &'a (dyn Error + 'static)) -> Option<&'a dyn Diagnostic> {
        cause.downcast_ref::<T>().map(|found| found as &dyn Diagnostic)
    }
    known::<Failure>(cause)
        .or_else(|| known::<FileError>(cause))
        .or_else(|| known::<EngineError>(cause))
        .or_else(|| known::<AgentError>(cause))
        .or_else(|| known::<BackupError>(cause))
        .or_else(|| known::<PullError>(cause))
        .or_else(|| known::<LoginError>(cause))
        .or_else(|| known::<EndpointError>(cause))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_outermost_cause_that_means_something_decides() {
        let inner = AgentError::HungUp;
        let plain: anyhow::Error = anyhow::Error::new(inner).context("while looking");
        let diagnosis = diagnose(&plain);
        assert_eq!((diagnosis.code, diagnosis.hint.is_some()), (ExitCode::NotRunning, true));
        assert_eq!(diagnosis.message, "while looking: the agent hung up");

        let outer = Failure::usage("no").hint("yes").source(AgentError::HungUp);
        let diagnosis = diagnose(&anyhow::Result::<()>::Err(outer.into()).context("first").expect_err("it is one"));
        assert_eq!((diagnosis.code, diagnosis.hint.as_deref()), (ExitCode::Usage, Some("yes")));

        let unknown = diagnose(&anyhow::anyhow!("nobody knows"));
        assert_eq!((unknown.code, unknown.hint), (ExitCode::Failed, None));
    }
}
