//! The names of interfaces, which messages have as indices.

use std::{collections::HashMap, sync::Arc};

use socket2::Socket;

use super::Netlink;
use crate::os::interface;

/// Interface names by index. Each is looked up at its first use: a host may have hundreds of interfaces.
pub(super) struct Names {
    known: HashMap<u32, String>,
    /// A socket in the network namespace of the interfaces.
    socket: Option<Arc<Socket>>,
}

impl Names {
    /// Returns these names and no others.
    #[cfg(any(feature = "fuzzing", test))]
    pub(super) fn fixed(names: &[(u32, &str)]) -> Self {
        let known = names.iter().map(|(index, name)| (*index, (*name).to_owned()));
        Self { known: known.collect(), socket: None }
    }

    /// Returns the name of an interface; `if` and the index if there is none.
    pub(super) fn of(&mut self, index: u32) -> String {
        let socket = self.socket.as_ref();
        let look_up = || {
            let found = socket.and_then(|socket| interface::name(socket.as_ref(), index));
            found.unwrap_or_else(|| format!("if{index}"))
        };
        self.known.entry(index).or_insert_with(look_up).clone()
    }
}

impl Netlink {
    /// Returns the names of the interfaces in the network namespace of this socket.
    pub(super) fn names(&self) -> Names {
        Names { known: HashMap::new(), socket: Some(Arc::clone(&self.lookup)) }
    }
}
