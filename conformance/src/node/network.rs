//! Pods' namespaces, their cgroup, and the bridge between them.
//!
//! Owns kernel objects; each is removed when its value is dropped. Start at [`Network`].

use std::{
    env, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::process;

/// One node's network: a bridge with an address, a cgroup, and pods.
#[derive(Debug)]
pub struct Network {
    number: u8,
    planned: u8,
    /// Kept for the node's life, whatever a test does with its pods.
    pods: Vec<Arc<Netns>>,
    cgroup: Arc<Cgroup>,
}

/// A child cgroup; programs are attached to it and to nothing else of the machine.
#[derive(Debug)]
struct Cgroup(PathBuf);

/// A network namespace with a name; dropping it removes both.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

/// Where a pod will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of its network namespace.
    pub name: String,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Plan {
    /// File of its network namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// The node's end of its interface.
    #[must_use]
    pub fn host_end(&self) -> String {
        format!("v{}", self.name)
    }
}

/// Where a pod is.
#[derive(Debug)]
pub struct Place {
    cgroup: Arc<Cgroup>,
    netns: Arc<Netns>,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Network {
    /// A bridge of its own, so that nodes of several tests do not meet.
    pub fn new() -> Result<Self> {
        static NODES: AtomicU8 = AtomicU8::new(0);
        must_be_isolated()?;
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let network = Self { number, planned: 0, pods: Vec::new(), cgroup: Arc::new(Cgroup::new(number)?) };
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", network.host()), "dev", &bridge])?;
        ip(&["addr", "add", &format!("{}/64", network.host_v6()), "dev", &bridge, "nodad"])?;
        ip(&["link", "set", &bridge, "up"])?;
        Ok(network)
    }

    fn bridge(&self) -> String {
        format!("br{}", self.number)
    }

    /// The node's own address.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// The node's own IPv6 address.
    #[must_use]
    pub fn host_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, self.number.into(), 0, 0, 0, 0, 0, 1)
    }

    /// Directory of the cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        &self.cgroup.0
    }

    /// A namespace with one interface, joined to the bridge.
    pub fn add(&mut self) -> Result<Place> {
        let plan = self.plan()?;
        self.make(&plan)
    }

    /// Where a pod will be that is not there yet.
    pub fn plan(&mut self) -> Result<Plan> {
        // .1 is the node.
        self.planned = self.planned.checked_add(1).context("this network is full")?;
        let last = self.planned + 1;
        let v4 = Ipv4Addr::new(10, 77, self.number, last);
        let v6 = Ipv6Addr::new(0xfd77, self.number.into(), 0, 0, 0, 0, 0, last.into());
        Ok(Plan { name: format!("n{}p{last}", self.number), v4, v6 })
    }

    /// Makes what was planned; once more, when it was removed.
    pub fn make(&mut self, plan: &Plan) -> Result<Place> {
        let Plan { name, v4, v6 } = plan.clone();
        let netns = Arc::new(Netns::new(&name)?);
        self.pods.push(Arc::clone(&netns));
        let host_end = plan.host_end();
        ip(&["link", "add", &host_end, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["link", "set", &host_end, "master", &self.bridge(), "up"])?;
        ip(&["-n", &name, "addr", "add", &format!("{v4}/24"), "dev", "eth0"])?;
        ip(&["-n", &name, "addr", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "route", "add", "default", "via", &self.host().to_string()])?;
        ip(&["-n", &name, "route", "add", "default", "via", &self.host_v6().to_string()])?;
        Ok(Place { cgroup: Arc::clone(&self.cgroup), netns, v4, v6 })
    }

    /// A namespace that pods reach by way of the node, which forwards packets of at most `mtu` bytes to it: who sends more is
    /// told by the node. The way back is wider.
    pub fn far(&self, mtu: u16) -> Result<Place> {
        let number = self.number;
        let name = format!("n{number}far");
        let netns = Arc::new(Netns::new(&name)?);
        let (v4, v6) = (Ipv4Addr::new(10, 78, number, 2), Ipv6Addr::new(0xfd78, number.into(), 0, 0, 0, 0, 0, 2));
        let near = format!("v{name}");
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["addr", "add", &format!("10.78.{number}.1/24"), "dev", &near])?;
        ip(&["addr", "add", &format!("fd78:{number:x}::1/64"), "dev", &near, "nodad"])?;
        ip(&["link", "set", &near, "up"])?;
        for (address, bits) in [(IpAddr::from(v4), 32), (v6.into(), 128)] {
            ip(&["route", "add", &format!("{address}/{bits}"), "dev", &near, "mtu", "lock", &mtu.to_string()])?;
        }
        ip(&["-n", &name, "addr", "add", &format!("{v4}/24"), "dev", "eth0"])?;
        ip(&["-n", &name, "addr", "add", &format!("{v6}/64"), "dev", "eth0", "nodad"])?;
        ip(&["-n", &name, "link", "set", "eth0", "up"])?;
        ip(&["-n", &name, "route", "add", "default", "via", &format!("10.78.{number}.1")])?;
        ip(&["-n", &name, "route", "add", "default", "via", &format!("fd78:{number:x}::1")])?;
        for pod in &self.pods {
            ip(&["-n", &pod.name, "route", "replace", "default", "via", &format!("fd77:{number:x}::1")])?;
        }
        forward()?;
        Ok(Place { cgroup: Arc::clone(&self.cgroup), netns, v4, v6 })
    }

    /// A program in the node's own namespace, inside the cgroup.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        self.cgroup.command(program.as_ref())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(ip(&["link", "del", &self.bridge()]));
    }
}

impl Place {
    /// The node's end of its interface.
    #[must_use]
    pub fn host_end(&self) -> String {
        format!("v{}", self.netns.name)
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Both addresses.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Another namespace, with this one's cgroup and addresses: a part of the pod.
    #[must_use]
    pub fn beside(&self, netns: Netns) -> Self {
        Self { cgroup: Arc::clone(&self.cgroup), netns: Arc::new(netns), v4: self.v4, v6: self.v6 }
    }

    /// Gives its interface one more address, for example `fe80::77/64`.
    pub fn add_address(&self, address: &str) -> Result<()> {
        // An IPv6 one can be used at once, without asking who else has it.
        let quick: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        ip(&[&["-n", &self.netns.name, "addr", "add", address, "dev", "eth0"], quick].concat())?;
        Ok(())
    }

    /// Takes an address away.
    pub fn remove_address(&self, address: &str) -> Result<()> {
        ip(&["-n", &self.netns.name, "addr", "del", address, "dev", "eth0"])?;
        Ok(())
    }

    /// Where this pod finds a link-local address: behind its interface.
    pub fn link_local(&self, address: Ipv6Addr, port: u16) -> Result<SocketAddr> {
        let link = ip(&["-n", &self.netns.name, "-o", "link", "show", "eth0"])?;
        let index = link.split(':').next().and_then(|index| index.parse().ok()).context("an interface has no index")?;
        Ok(SocketAddrV6::new(address, port, 0, index).into())
    }

    /// Sets a variable of its network namespace, for example `net/ipv4/tcp_fastopen`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let mut command = self.command("sh");
        command.args(["-c", "echo \"$1\" > \"/proc/sys/$0\"", name, value]);
        process::output(&mut command).map(|_output| ())
    }

    /// A program in the pod's namespace, but not in the cgroup: no program is attached where it connects.
    #[must_use]
    pub fn unhooked(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns.path().display())).arg(program.as_ref());
        command
    }

    /// A program inside the pod.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.cgroup.command(Path::new("nsenter"));
        command.arg(format!("--net={}", self.netns.path().display())).arg(program.as_ref());
        command
    }
}

impl Netns {
    /// A namespace whose loopback interface is up.
    pub fn new(name: &str) -> Result<Self> {
        ip(&["netns", "add", name])?;
        let netns = Self { name: name.to_owned() };
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// Removes it now.
    pub fn delete(&self) -> Result<()> {
        ip(&["netns", "del", &self.name]).map(|_output| ())
    }

    /// As `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.delete());
    }
}

impl Cgroup {
    fn new(number: u8) -> Result<Self> {
        let parent =
            env::var_os("TEST_CGROUP").context("TEST_CGROUP is not set: run the tests by `cargo xtask test netns`")?;
        let path = Path::new(&parent).join(format!("node-{number}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self(path))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was just killed may need a moment to leave.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Makes the node's own namespace a router.
pub(super) fn forward() -> Result<()> {
    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let file = Path::new("/proc/sys/net").join(file);
        fs::write(&file, "1").with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Nothing here may reach the machine's own network.
fn must_be_isolated() -> Result<()> {
    let outer =
        env::var_os("OUTER_NETNS").context("OUTER_NETNS is not set: run the tests by `cargo xtask test netns`")?;
    if fs::read_link("/proc/self/ns/net").context("the network namespace cannot be read")?.as_os_str() == outer {
        bail!("this is the machine's own network namespace: run the tests by `cargo xtask test netns`");
    }
    Ok(())
}

/// `ip`, of iproute2.
pub fn ip(arguments: &[&str]) -> Result<String> {
    process::output(Command::new("ip").args(arguments))
}
