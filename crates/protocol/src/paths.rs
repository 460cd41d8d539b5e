//! Where things lie inside the container. Both sides of the bind mounts are agreed on here and nowhere else.

/// The read-only mount that brings the agent and its configuration.
pub const AGENT_DIR: &str = "/opt/powerdev";
/// The agent's executable: the container's entrypoint and its health check.
pub const AGENT_BIN: &str = "/opt/powerdev/bin/powerdev-agent";
/// The services to run: a [`crate::ServiceSet`] as JSON.
pub const SERVICES_FILE: &str = "/opt/powerdev/config/services.json";
/// The project's secrets: one flat JSON object of strings, readable by the container's user alone.
pub const SECRETS_FILE: &str = "/opt/powerdev/config/secrets.json";
/// The writable mount that holds the control socket.
pub const RUN_DIR: &str = "/run/powerdev";
/// The control socket. Permissions of its folder (0700) are its only guard: no port, no token.
pub const SOCKET: &str = "/run/powerdev/agent.sock";
/// The control socket's file name inside [`RUN_DIR`].
pub const SOCKET_NAME: &str = "agent.sock";
/// The variable by which a command or a session is told where to begin, if it can be entered; it doesn't reach the program.
/// No option or field: agents of other releases pass over it.
pub const BEGIN_VARIABLE: &str = "POWERDEV_BEGIN";
/// Home of the user `dev`.
pub const HOME: &str = "/home/dev";
/// Where the services' logs are kept, size-bounded, one file a service.
pub const LOG_DIR: &str = "/home/dev/logs";
/// The variable that marks every process of a service, so that what escapes by `setsid` is still found.
pub const SERVICE_VARIABLE: &str = "POWERDEV_SERVICE";
/// The variable that marks every process of a session likewise: the session's number, which no other ever has.
pub const SESSION_VARIABLE: &str = "POWERDEV_SESSION";
/// The variable that holds the name of the machine that the environment is on, for those who open its pages by that name.
pub const HOST_NAME_VARIABLE: &str = "POWERDEV_HOST_NAME";
