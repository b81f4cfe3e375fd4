//! The command line asks Hubble's Relay, which asks two nodes of ours: what each of them has, in the order of time.

use anyhow::Result;
use conformance::{
    client::hubble::{Cli, Identity, Relay, Target},
    eventually, missing,
};

use crate::{
    direct::WRONG,
    json,
    served::{Options, Secrets, Served, address, settle},
    stage::{ALL, PAYMENTS, SHOP, Stage, Told, moment},
    table::{self, ROWS, expected},
};

struct Relayed {
    cli: Cli,
    nodes: [Served; 2],
    relay: Relay,
}

impl Relayed {
    /// Nothing where a program is missing.
    fn begin(secrets: Option<&Secrets>) -> Result<Option<Self>> {
        let (Some(cli), true) = (Cli::find(), Relay::is_installed()) else {
            missing("Hubble's CLI or Relay")?;
            return Ok(None);
        };
        let (first, second) = (address(), address());
        let options = Options { others: &[(SHOP, second)], secrets, ..Options::default() };
        let one = Served::start(PAYMENTS, first, &options)?;
        let other = Served::start(SHOP, second, &Options { others: &[], ..options })?;
        let (Some(one), Some(other)) = (one, other) else {
            missing("gRPC's interoperability client and server")?;
            return Ok(None);
        };
        let nodes = [one.acted()?, other.acted()?];
        let identity = secrets.map(|secrets| Identity { authority: &secrets.authority, own: &secrets.relay });
        let relay = Relay::start(address(), address(), &nodes[0].socket(), identity.as_ref())?;
        Ok(Some(Self { cli, nodes, relay }))
    }

    fn stages(&self) -> [&Stage; 2] {
        [&self.nodes[0].stage, &self.nodes[1].stage]
    }

    fn judge(&mut self, target: &Target) -> Result<()> {
        self.status(target)?;
        settle(&self.cli, target, 2 * ALL.len())?;
        table::ask(&self.cli, target, &self.stages(), ROWS)?;
        let one = self.cli.run(target, &["observe", "--node-name", "cluster1/node-b", "--last", "1"])?;
        assert_eq!(one.lines(), expected(&[&self.nodes[1].stage], &["boom-502"])?, "{one:#?}");
        self.json(target)?;
        for (arguments, wrong) in WRONG {
            let words: Vec<&str> = ["observe"].into_iter().chain(arguments.split(' ')).collect();
            let said = self.cli.run(target, &words)?;
            // Relay goes on without the nodes that failed, in any order.
            let wanted = [&wrong.replace('"', "\\\""), "cluster1/node-a", "cluster1/node-b"];
            assert!(said.out.is_empty() && wanted.iter().all(|word| said.err.contains(*word)), "{said:#?}");
        }
        self.follow(target)
    }

    fn status(&self, target: &Target) -> Result<()> {
        let said = eventually("the Relay knows both nodes", || {
            let said = self.cli.run(target, &["status"])?;
            Ok(said.out.contains("Connected Nodes: 2/2").then_some(said))
        });
        let said = said.map_err(|error| error.context(self.relay.log()))?;
        assert!(said.is_well(), "{said:#?}");
        assert!(said.lines()[1].starts_with(&format!("Current/Max Flows: {}/", 2 * ALL.len())), "{said:#?}");
        let nodes = self.cli.run(target, &["list", "nodes"])?;
        let rows: Vec<Vec<&str>> = nodes.lines().iter().map(|line| line.split_whitespace().take(2).collect()).collect();
        let connected = [["NAME", "STATUS"], ["cluster1/node-a", "Connected"], ["cluster1/node-b", "Connected"]];
        assert_eq!(rows, connected, "{nodes:#?}");
        let namespaces = self.cli.run(target, &["list", "namespaces"])?;
        assert_eq!(namespaces.lines(), ["NAMESPACE", "payments", "shop"]);
        Ok(())
    }

    fn json(&self, target: &Target) -> Result<()> {
        let said = self.cli.run(target, &["observe", "--all", "-o", "json"])?;
        let mut own: Vec<&Told> = self.stages().iter().flat_map(|stage| &stage.told).collect();
        own.sort_by_key(|told| moment(&told.flow));
        json::is_of_file(&said, &own)
    }

    fn follow(&mut self, target: &Target) -> Result<()> {
        let mut following = self.cli.follow(target, &["observe", "-f", "--last", "1"])?;
        assert_eq!(following.wait_lines(2)?, expected(&self.stages(), &["boom-502"])?);
        for served in &mut self.nodes {
            served.stage.get("later", "later-200", 8080, "/v1/later", "200")?;
        }
        let later = expected(&self.stages(), &["boom-502", "later", "later-200"])?;
        assert_eq!(following.wait_lines(later.len())?, later);
        let said = following.interrupt()?;
        assert!(said.exit == Some(0) && said.err.is_empty(), "{said:#?}");
        Ok(())
    }
}

#[test]
fn two_nodes() -> Result<()> {
    let Some(mut relayed) = Relayed::begin(None)? else { return Ok(()) };
    let target = Target::tcp(relayed.relay.address());
    relayed.judge(&target)
}

#[test]
fn two_nodes_by_mutual_tls() -> Result<()> {
    let secrets = Secrets::new()?;
    let Some(mut relayed) = Relayed::begin(Some(&secrets))? else { return Ok(()) };
    let name = "ui.hubble-relay.cilium.io";
    let target = Target::tls(relayed.relay.address(), name, &secrets.authority, Some(&secrets.relay));
    relayed.judge(&target)
}
