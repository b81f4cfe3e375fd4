//! Every map, with who writes it and who reads it.
//!
//! A process that starts makes most of them anew and swaps the programs of the pinned links in place; so none of these is
//! ever read by a program that was built for another layout. What is known of open connections cannot be found out again:
//! those maps are marked *shared*, are pinned, and belong to the process before and the next one too, also while both run.

use core::{arch::asm, ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE, bpf_sock,
    },
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash},
    helpers::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};
use redirect_abi::{
    Addr, ConnKey, Flow, FlowKey, FragmentKey, POD_STATES_ENTRIES, POLICY_ENTRIES, Peer, Pod, PolicyKey, PolicyValue,
    ReplyKey, TOLD_ENTRIES, Told, ToldKey, stat,
};

use crate::{connection::Opened, headers::Headers};

const SPARSE: usize = BPF_F_NO_PREALLOC as usize;

/// Network-namespace cookie → where the pod is in `POD_STATES`. Proxy writes, all hooks read. Its entry is what switches a pod
/// on.
///
/// An element of a hash map that is replaced or removed is given to whoever comes next at once, while a program may still read
/// it (kernel 6.1 and newer). What is read for long, or changes often, must therefore not be in one.
#[btf_map]
static PODS: HashMap<u64, u32, 1024, SPARSE> = HashMap::new();

/// Pods. Proxy writes in place, and gives a place to another pod when no program can read it any more.
#[btf_map]
static POD_STATES: Array<Pod, { POD_STATES_ENTRIES as usize }> = Array::new();

/// The pod of a namespace, if it is enrolled. Fields may change while they are read, each as a whole: flags that are older than
/// the policy say that nothing is enforced yet, or more than the policy.
#[inline(always)]
pub fn pod(cookie: u64) -> Option<&'static Pod> {
    // SAFETY: u32 values are replaced whole. The element is another pod's only when no program can read it any more.
    let place = *unsafe { PODS.get(cookie) }?;
    POD_STATES.get(place)
}

/// Whether a pod is enrolled for a namespace.
#[inline(always)]
pub fn is_enrolled(cookie: u64) -> bool {
    PODS.get_ptr(cookie).is_some()
}

/// Every address of an enrolled pod → cookie, for hooks that cannot ask for the cookie. Proxy writes, sk_lookup reads.
#[btf_map]
pub static ADDRESSES: HashMap<Addr, u64, 8192, SPARSE> = HashMap::new();

/// Interface of the node that is the other end of a pod's → the pod's cookie. Proxy writes, the backstop reads.
#[btf_map]
pub static ENDS: HashMap<u32, u64, 4096, SPARSE> = HashMap::new();

/// Exact address → identity, with a sum of the address (`redirect_abi::known`): an element that another address got while it
/// was read is told by it. Proxy writes, verdicts read.
#[btf_map]
pub static IDENTITIES: HashMap<Addr, u64, 131_072, SPARSE> = HashMap::new();

/// IPv4 CIDRs that policies name → identity; addresses in network byte order. Proxy writes, verdicts read after `IDENTITIES`
/// missed. Apart from the others: a lookup walks through up to 14 levels of 10,000, and each compares the whole key.
#[btf_map]
pub static CIDRS4: LpmTrie<u32, u32, 16_384> = LpmTrie::new();

/// The same for IPv6.
#[btf_map]
pub static CIDRS6: LpmTrie<Addr, u32, 16_384> = LpmTrie::new();

/// What is allowed or redirected at one port of one protocol. Proxy writes, verdicts read. Not in the trie below: most entries
/// are such, and are found here at the same cost among however many.
#[btf_map]
pub static POLICY_EXACT: HashMap<PolicyKey, PolicyValue, POLICY_ENTRIES, SPARSE> = HashMap::new();

/// The same at blocks of ports, all ports and all protocols. Proxy writes, verdicts read after `POLICY_EXACT` missed.
#[btf_map]
pub static POLICY_PREFIX: LpmTrie<PolicyKey, PolicyValue, POLICY_ENTRIES> = LpmTrie::new();

/// Redirected connections → where they wanted to go. sock_ops writes before the SYN and removes at the end, sk_lookup and
/// the proxy read. An entry that is evicted before it was accepted makes that connection refused, never passed. Once it
/// was accepted, only two need it: getpeername of an MPTCP client, and a client that binds the same port again. Shared.
#[btf_map]
pub static CONNS: LruHashMap<ConnKey, Peer, 65_536> = LruHashMap::new();

/// Sums of connections that left `CONNS` at their end, and when (seconds since boot): what still comes of them is dropped
/// without a record. sock_ops writes, sk_lookup reads; a mistake here only leaves out the record of a packet that is dropped.
#[btf_map]
pub static ENDED: Array<u64, 4096> = Array::new();

/// The proxy's connections to an application that were not accepted yet → the true client. sock_ops writes before the
/// SYN, from the `SEEN` of the proxy's socket, and moves it to the `SEEN` of the application's. Shared.
#[btf_map]
pub static PEERS: HashMap<ConnKey, Peer, 65_536, SPARSE> = HashMap::new();

/// What was let out or in lately, so that its answers, and errors about it, may go the other way. Backstop and, where there
/// is none, the hooks write; both read. Shared.
#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, 65_536> = LruHashMap::new();

/// Fragmented packets whose first fragment passed. The backstop writes and reads. Shared.
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, u32, 8192> = LruHashMap::new();

/// Sums of the flows for which a pod lately wanted to send a reset or an acknowledgement that nothing is known of: the next
/// packet from outside that belongs to one makes it known. The backstop writes and reads; a mistake here only makes a flow
/// known that exists.
#[btf_map]
pub static WANTED: Array<u32, 1024> = Array::new();

/// Grows with each change of what policies or addresses mean: flows that were judged before are judged anew. Proxy writes,
/// when no program that judged by the state before is running any more; flows read.
#[btf_map]
pub static GENERATION: Array<u32, 1> = Array::new();

/// Room for headers that are read, see `headers::blank`.
#[btf_map]
pub static SCRATCH: PerCpuArray<Headers, 3> = PerCpuArray::new();

/// When which refusal was handed over last, and how many equal ones were not. All hooks write; the proxy reads, and removes
/// what is over. Nothing is evicted: a count would be lost.
#[btf_map]
pub static TOLD: HashMap<ToldKey, Told, TOLD_ENTRIES> = HashMap::new();

/// UDP that went out, so that its answers may come in. sendmsg writes, sk_lookup reads. Shared.
#[btf_map]
pub static REPLIES: LruHashMap<ReplyKey, u32, 65_536> = LruHashMap::new();

/// The proxy's listeners: cookie, or'd with `LISTENER_EGRESS` for the outgoing one. Proxy writes, sk_lookup reads.
#[btf_map]
pub static LISTENERS: SockHash<u64, 4096> = SockHash::new();

/// Refusals. All hooks write, the proxy reads.
#[btf_map]
pub static EVENTS: RingBuf<(), { 1 << 19 }> = RingBuf::new();

/// Connections that policy allows without the proxy, when they begin and end. sock_ops writes, the proxy reads.
#[btf_map]
pub static CONNECTIONS: RingBuf<(), { 1 << 18 }> = RingBuf::new();

/// Namespaces that no pod is enrolled for. sock_create writes, the proxy reads.
#[btf_map]
pub static STRANGERS: RingBuf<(), { 1 << 16 }> = RingBuf::new();

/// Whether pods are waited for: 0 = no. Proxy writes, sock_create reads.
#[btf_map]
pub static AWAITED: Array<u32, 1> = Array::new();

/// Namespaces that were told, and when (nanoseconds since boot). sock_create writes and reads.
#[btf_map]
pub static TOLD_STRANGERS: LruHashMap<u64, u64, 4096> = LruHashMap::new();

/// Namespaces whose packets are not held any more: a pod is enrolled, and what was begun before is judged. Proxy writes,
/// hold reads.
#[btf_map]
pub static RELEASED: HashMap<u64, u32, 2048, SPARSE> = HashMap::new();

/// Counters, see `redirect_abi::stat`.
#[btf_map]
pub static STATS: PerCpuArray<u64, { stat::COUNT as usize }> = PerCpuArray::new();

/// Marks the proxy's own sockets, and TCP sockets of pods that were judged. Proxy writes by file descriptor, which nobody in
/// a pod can, connect and sock_ops write what they allowed; children of a marked listener inherit it. Shared.
#[btf_map]
pub static OWN: Storage<u32, { (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize }> = Storage::new();

/// What an application's socket is told as its peer: the original destination of a redirected connect, the true client
/// of an accepted connection. connect and sock_ops write, getpeername reads. The proxy writes it for its own sockets, to
/// have it announced. Shared.
#[btf_map]
pub static SEEN: Storage<Peer, { BPF_F_NO_PREALLOC as usize }> = Storage::new();

/// What is known of a connection in `CONNECTIONS` while it lasts. connect and sock_ops write, sock_ops reads.
#[btf_map]
pub static OPENED: Storage<Opened, { BPF_F_NO_PREALLOC as usize }> = Storage::new();

/// Socket storage with flags of our choice (aya's own has them fixed).
#[repr(C)]
pub struct Storage<T, const FLAGS: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: never dereferenced; the struct only describes a map to the loader.
unsafe impl<T, const FLAGS: usize> Sync for Storage<T, FLAGS> {}

impl<T, const FLAGS: usize> Storage<T, FLAGS> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    #[inline(always)]
    fn raw(&self, sock: *mut bpf_sock, flags: u64) -> Option<&'static mut T> {
        let map: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: the verifier proves that `sock` is a socket; the helper returns null or a value of this map.
        unsafe { bpf_sk_storage_get(map, sock.cast(), ptr::null_mut(), flags).cast::<T>().as_mut() }
    }

    #[inline(always)]
    pub fn get(&self, sock: *mut bpf_sock) -> Option<&'static mut T> {
        self.raw(sock, 0)
    }

    #[inline(always)]
    pub fn get_or_create(&self, sock: *mut bpf_sock) -> Option<&'static mut T> {
        self.raw(sock, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    pub fn remove(&self, sock: *mut bpf_sock) {
        let map: *mut c_void = ptr::from_ref(self).cast_mut().cast();
        // SAFETY: as in `raw`. Nothing to remove is not an error.
        unsafe { bpf_sk_storage_delete(map, sock.cast()) };
    }
}

/// Adds one to a value that several processors may add to at the same time.
#[inline(always)]
pub fn add_one(value: &mut u64) {
    // SAFETY: an aligned u64 of a map's value. There is no such operation in `core` for this target.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {one}", p = in(reg) value, one = in(reg) 1_u64, options(nostack)) };
}

/// Adds one to a counter.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(value) = STATS.get_ptr_mut(index) {
        // SAFETY: per-CPU slot, and programs of one CPU do not interrupt each other here.
        unsafe { *value += 1 };
    }
}
