//! The agent as a container's true PID 1, under a real Engine.

mod cell;
mod faults;
mod reaping;
mod shells;
mod stopping;
mod surroundings;
mod zombies;
