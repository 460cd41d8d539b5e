//! The agent on its way into the container, and the client of its control socket.
