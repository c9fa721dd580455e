//! The window and command line of Gazelab.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line; without a subcommand it opens the window |
//! | [`workbench`] | the window: applies commands, lays out panes |
//! | [`command`] | every wish a person can have; menus, shortcuts and palette come from it |
//! | [`state`] | what panes read |
//! | [`panes`] | one file per pane |
//! | [`inspector`] | threads that decode frames, run the model and measure datasets |
//! | [`paint`] | attention to pixels |
//! | [`opening`] | from a path to what it is |
//! | [`capture_file`] | which frames the captures of a file belong to |
//! | [`worker`] | named threads that tell when they fail |

pub mod assets;
pub mod capture_file;
pub mod cli;
pub mod command;
pub mod dialogs;
pub mod figure_job;
pub mod ground;
pub mod icons;
pub mod inspector;
pub mod jobs;
pub mod loader;
pub mod log;
pub mod modals;
pub mod opening;
pub mod paint;
pub mod palette;
pub mod panes;
pub mod runs;
pub mod settings;
pub mod state;
pub mod theme;
pub mod toasts;
pub mod top_bar;
pub mod undo;
pub mod walk;
pub mod welcome;
pub mod widgets;
pub mod window;
pub mod workbench;
pub mod worker;
