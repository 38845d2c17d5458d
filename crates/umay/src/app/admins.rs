//! The admin listener and the admin socket of a process, through reloads and upgrades.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use anyhow::Context;
use umay_core::model::Model;

use super::control::{Reach, Served};
use super::{Inherited, LAST_WORDS, Plan};
use crate::admin::{self, Admin, AdminState, Socket};

/// The admin listener and the admin socket.
pub(super) struct Admins {
    state: AdminState,
    reach: Reach,
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
    /// Nothing is open yet.
    pub(super) fn new(state: AdminState, reach: Reach) -> Self {
        Self {
            state,
            reach,
            listener: None,
            socket: None,
            former: None,
        }
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
            Some(listener) => Socket::start_at(path, listener, self.reach.control()),
            None => Socket::start(path, self.reach.control()),
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

    /// Tells of this from now on, in the metrics and to who asks on the socket.
    pub(super) fn serve(&self, model: &Arc<Model>, plan: &Plan) {
        plan.is_served(model);
        let served = || Arc::new(Served::of(model, plan));
        self.reach.served.store(self.socket.is_some().then(served));
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
}
