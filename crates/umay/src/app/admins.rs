//! The admin listener and the admin socket of a process, through reloads and upgrades, and what is asked for there.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use umay_core::model::Model;

use super::{Inherited, LAST_WORDS};
use crate::admin::{self, Admin, AdminState, Control, Reloaded, Socket};
use crate::keeper::{self, Commands};

/// What can be asked for while it runs.
pub(super) enum Ask {
    /// To read the configuration again.
    Reload,
    /// To let the program's file, as it is now, take over.
    Upgrade,
}

/// The same, with where what came of it is to be told.
pub(super) type Asked = (Ask, oneshot::Sender<Result<String, String>>);

/// The admin listener and the admin socket.
pub(super) struct Admins {
    state: AdminState,
    ask: mpsc::Sender<Asked>,
    commands: Commands,
    listener: Option<Admin>,
    socket: Option<Socket>,
    /// The socket before: somebody may be told yet what came of a reload.
    former: Option<Socket>,
}

/// What was opened for another configuration, and is not used yet. `None` where nothing has changed.
pub(super) struct Opened {
    listener: Option<Option<TcpListener>>,
    socket: Option<Option<Socket>>,
}

impl Admins {
    /// Nothing is open yet. What is asked for comes to the other end.
    pub(super) fn new(state: AdminState, commands: &Commands) -> (Self, mpsc::Receiver<Asked>) {
        let (ask, asks) = mpsc::channel(1);
        let admins = Self {
            state,
            ask,
            commands: Arc::clone(commands),
            listener: None,
            socket: None,
            former: None,
        };
        (admins, asks)
    }

    /// Opens what a model names, for the first time.
    pub(super) fn open(&self, model: &Model, inherited: &mut Inherited) -> anyhow::Result<Opened> {
        let listener = match model.admin {
            Some(bind) => {
                let own = inherited.admin(bind);
                Some(own.map_or_else(|| admin::bind(bind), Ok)?)
            }
            None => None,
        };
        Ok(Opened {
            listener: Some(listener),
            socket: Some(self.open_socket(model, inherited)?),
        })
    }

    /// Opens what a model has that the one before had not.
    pub(super) fn open_other(&self, model: &Model, old: &Model) -> anyhow::Result<Opened> {
        let bind = || model.admin.map(admin::bind).transpose();
        let socket = || self.open_socket(model, &mut Inherited::default());
        Ok(Opened {
            listener: (model.admin != old.admin).then(bind).transpose()?,
            socket: (model.admin_socket != old.admin_socket)
                .then(socket)
                .transpose()?,
        })
    }

    fn open_socket(
        &self,
        model: &Model,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Option<Socket>> {
        let Some(path) = &model.admin_socket else {
            return Ok(None);
        };
        let socket = match inherited.control(path) {
            Some(listener) => Socket::start_at(path, listener, self.control()),
            None => Socket::start(path, self.control()),
        };
        let failed = || format!("cannot listen on admin.socket {}", path.display());
        Ok(Some(socket.with_context(failed)?))
    }

    /// Uses what was opened, in place of what is there.
    pub(super) fn start(&mut self, opened: Opened) -> anyhow::Result<()> {
        if let Some(socket) = opened.socket {
            self.former = std::mem::replace(&mut self.socket, socket);
            if let Some(former) = &mut self.former {
                former.leave(false);
            }
        }
        let Some(listener) = opened.listener else {
            return Ok(());
        };
        let started = listener.map(|listener| {
            let address = listener.local_addr()?;
            let started = Admin::start(listener, self.state.clone())?;
            tracing::info!(addr = %address, "admin");
            Ok::<_, std::io::Error>(started)
        });
        self.listener = started.transpose()?;
        Ok(())
    }

    /// Where the admin listener is, if there is one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(Admin::address)
    }

    /// The sockets of both, for who takes this process's place.
    pub(super) fn sockets(&self) -> (Option<BorrowedFd<'_>>, Option<BorrowedFd<'_>>) {
        let listener = self.listener.as_ref().and_then(Admin::socket);
        (listener, self.socket.as_ref().and_then(Socket::socket))
    }

    /// Another process answers now; it may have been `handed` the admin socket.
    pub(super) fn leave(&mut self, handed: bool) {
        if let Some(listener) = &mut self.listener {
            listener.leave();
        }
        if let Some(socket) = &mut self.socket {
            socket.leave(handed);
        }
    }

    /// Ends the admin socket.
    pub(super) fn stop_socket(&mut self) {
        self.former = None;
        if let Some(socket) = self.socket.take() {
            socket.stop(LAST_WORDS);
        }
    }

    /// Ends the admin listener.
    pub(super) fn stop(self) {
        if let Some(listener) = self.listener {
            listener.stop(LAST_WORDS);
        }
    }

    /// What the socket can do.
    fn control(&self) -> Control {
        let asking = |what: fn() -> Ask| {
            let ask = self.ask.clone();
            move || -> Reloaded {
                let ask = ask.clone();
                Box::pin(async move {
                    let (tell, told) = oneshot::channel();
                    let gone = "Umay is ending".to_owned();
                    if ask.send((what(), tell)).await.is_err() {
                        return Err(gone);
                    }
                    told.await.unwrap_or(Err(gone))
                })
            }
        };
        let commands = Arc::clone(&self.commands);
        Control {
            status: Arc::clone(&self.state.status),
            reload: Arc::new(asking(|| Ask::Reload)),
            upgrade: Arc::new(asking(|| Ask::Upgrade)),
            drain: Arc::new(move |upstream, endpoint, drain| {
                Box::pin(keeper::drain(commands.clone(), upstream, endpoint, drain))
            }),
        }
    }
}
