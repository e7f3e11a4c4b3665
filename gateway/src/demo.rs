//! A shop to look at: v1, v1 once more as the baseline, a v2 that is a little wrong and slow on one route, and customers.
//!
//! All of them live on one thread of their own and on loopback ports the kernel chose. They know of the gateway between them
//! only its address.

mod shop;
mod customers;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::oneshot;

use crate::sample;
use shop::Version;

/// The shop before it opens.
#[derive(Debug)]
pub(crate) struct Demo {
    v1: SocketAddr,
    v2: SocketAddr,
    baseline: SocketAddr,
    opens: oneshot::Sender<SocketAddr>,
}

/// Starts the services; `gone` is called if they ever end.
pub(crate) fn start(gone: impl FnOnce() + Send + 'static) -> io::Result<Demo> {
    let bind = || {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok::<_, io::Error>((listener.local_addr()?, listener))
    };
    let ((v1, first), (v2, second), (baseline, third)) = (bind()?, bind()?, bind()?);
    let (opens, opened) = oneshot::channel();
    sample::apart("umbra-demo", gone, async move {
        tokio::try_join!(
            sample::serve(first, shop::shop(Version::V1)),
            sample::serve(second, shop::shop(Version::V2)),
            sample::serve(third, shop::shop(Version::V1)),
            customers::come(opened),
        )
        .map(drop)
    })?;
    Ok(Demo { v1, v2, baseline, opens })
}

impl Demo {
    /// The gateway before the shop, as a file would say it.
    pub(crate) fn as_file(&self, listen: SocketAddr, admin: SocketAddr) -> String {
        let Self { v1, v2, baseline, .. } = self;
        // A service that answers one request after the other is not asked several at once on a connection: they would wait for
        // each other, and that would count as v2's time.
        let copies = "connections_max = 32, pipeline_max = 1";
        let mut text = format!(
            "[[listener]]\nbind = \"{listen}\"\n\n[admin]\nbind = \"{admin}\"\n\n[workers]\ncount = 1\npin = false\n\n[limits]\nconnections_max = 256\n\n\
             [upstream.v1]\nendpoints = [\"{v1}\"]\n\n[upstream.v2]\nendpoints = [\"{v2}\"]\n\n\
             [upstream.baseline]\nendpoints = [\"{baseline}\"]\n"
        );
        for route in shop::ROUTES {
            text.push_str(&format!(
                "\n[[route]]\nname = \"{route}\"\npath_prefix = \"/{route}/\"\nprimary = \"v1\"\nmirrors = [\n    \
                 {{ upstream = \"v2\", compare = {{}}, {copies} }},\n    \
                 {{ upstream = \"baseline\", role = \"baseline\", {copies} }},\n]\n"
            ));
        }
        text
    }

    /// Lets customers in, through the gateway at `gateway`; returns a text with the next things to try.
    pub(crate) fn open(self, gateway: SocketAddr, admin: Option<SocketAddr>) -> String {
        // Where the thread has ended, the process ends too.
        let _ = self.opens.send(gateway);
        let mut text = format!(
            "\nA shop: v2 forgets the discount of every fifth cart and takes long over each. Customers never see it.\n\
             \x20 requests     curl http://{gateway}/cart/5\n"
        );
        if let Some(admin) = admin {
            text.push_str(&format!(
                "\x20 dashboard    http://{admin}/\n\
                 \x20 verdict      gateway verdict --admin {admin}\n\
                 \x20 differences  gateway diffs --admin {admin}\n\
                 \x20 one screen   gateway status --watch --admin {admin}\n"
            ));
        }
        text.push_str("  the end      Ctrl-C\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_configuration_is_sound_and_has_a_baseline_on_every_route() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let demo = Demo { v1: at(1), v2: at(2), baseline: at(3), opens: oneshot::channel().0 };
        let checked = config::parse("demo", &demo.as_file(at(0), at(0))).unwrap();
        assert_eq!(checked.warnings, []);
        assert_eq!(checked.config.routes.len(), shop::ROUTES.len());
        for route in &checked.config.routes {
            let roles: Vec<bool> = route.mirrors.iter().map(|mirror| mirror.compare.is_some()).collect();
            assert_eq!(roles, [true, true], "{}", route.name);
        }
    }
}
