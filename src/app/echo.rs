//! The echo: every message goes back to its sender, whatever the path.
//!
//! Chooses no subprotocol: one that is offered stays unchosen, which RFC 6455 §4.2.2 allows.

use wsfast::proto::handshake::{Request, Status, Upgrade};
use wsfast::{Accept, Context, Handler, Message, PeerAddr, Refusal};

use crate::app::access::Access;

/// Sends each message back.
#[derive(Debug)]
pub(crate) struct Echo {
    access: Access,
}

impl Echo {
    pub(crate) const fn new(access: Access) -> Self {
        Self { access }
    }
}

impl Handler for Echo {
    type State = ();

    fn on_upgrade(
        &mut self,
        request: &Request<'_>,
        _upgrade: &Upgrade<'_>,
        peer: PeerAddr,
    ) -> Result<Accept<()>, Refusal> {
        self.access.check(request.origin(), request.host()).map_err(|denied| {
            tracing::debug!(%peer, origin = request.origin(), why = ?denied, "origin refused");
            Refusal { status: Status::Forbidden, reason: denied.reason() }
        })?;
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, _state: &mut (), message: Message<'_>, cx: &mut Context<'_>) {
        // A peer that does not take its replies is paused and in the end closed by the server; the echo has no part in it.
        let _sent = cx.send(message.kind(), message.payload());
    }
}
