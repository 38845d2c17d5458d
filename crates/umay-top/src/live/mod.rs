//! `umay top`: the live view. State and drawing are pure; this file alone touches the terminal.

mod draw;
mod panels;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use state::{Key, Top};

use crate::reading::Reading;

/// How long keys are waited for; signals are looked at as often.
const TICK: Duration = Duration::from_millis(50);

/// Shows what `ask` gives, every `interval` until the interval is changed, until somebody quits. `place` says which
/// Umay it is. `ask` may block: it has a thread of its own. An error of it is shown, and it is asked again.
///
/// The terminal is as before when this returns, also by a signal, and when something panics.
pub fn run(
    place: &str,
    interval: Duration,
    ask: impl FnMut() -> Result<Value, String> + Send + 'static,
) -> io::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut asker = Asker::start(ask)?;
    let mut top = Top::new(place, interval);
    // Before the terminal is taken, which may succeed in part only.
    let _restored = Restored;
    // Also lets a panic restore the terminal before it is told.
    let mut terminal = ratatui::try_init()?;
    terminal.draw(|frame| draw::draw(&top, frame))?;
    while !top.is_over() && !stop.load(Ordering::Relaxed) {
        let mut changed = false;
        if event::poll(TICK)? {
            changed = match event::read()? {
                Event::Key(pressed) if pressed.kind != KeyEventKind::Release => key(pressed)
                    .is_some_and(|key| {
                        top.press(key);
                        true
                    }),
                Event::Resize(..) => true,
                _ => false,
            };
        }
        changed |= asker.tick(&mut top);
        if changed {
            terminal.draw(|frame| draw::draw(&top, frame))?;
        }
    }
    Ok(())
}

/// Gives the terminal back.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // If that fails there is nobody left to tell.
        let _ = ratatui::try_restore();
    }
}

type Answer = Result<Reading, String>;

/// Asks beside the view, so that a Umay that does not answer cannot hold up a key.
struct Asker {
    questions: mpsc::Sender<()>,
    answers: mpsc::Receiver<Answer>,
    asked: Option<Instant>,
    waiting: bool,
}

impl Asker {
    fn start(mut ask: impl FnMut() -> Result<Value, String> + Send + 'static) -> io::Result<Self> {
        let (questions, asked) = mpsc::channel::<()>();
        let (answer, answers) = mpsc::channel();
        let work = move || {
            while asked.recv().is_ok() {
                let document = ask().map(|document| Reading::new(&document));
                if answer.send(document).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("ask".to_owned()).spawn(work)?;
        Ok(Self {
            questions,
            answers,
            asked: None,
            waiting: false,
        })
    }

    /// Takes an answer, if there is one, and asks, if it is time. True if there is something new to show.
    fn tick(&mut self, top: &mut Top) -> bool {
        let answer = self.answers.try_recv().ok();
        let changed = answer.is_some();
        if let Some(answer) = answer {
            self.waiting = false;
            top.take(answer);
        }
        let due = self
            .asked
            .is_none_or(|asked| asked.elapsed() >= top.interval());
        if due && !self.waiting && !top.is_paused() {
            self.asked = Some(Instant::now());
            self.waiting = self.questions.send(()).is_ok();
        }
        changed
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    let with_control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        // In raw mode no signal comes of it.
        KeyCode::Char('c') if with_control => Key::Interrupt,
        KeyCode::Char(_) if with_control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left | KeyCode::BackTab => Key::Left,
        KeyCode::Right | KeyCode::Tab => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
