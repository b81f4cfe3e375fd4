package main

import (
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net/netip"
	"strings"

	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	envoypolicy "github.com/cilium/cilium/pkg/envoy/policy"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	k8s "github.com/cilium/cilium/pkg/k8s/apis/cilium.io"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy"
	testpolicy "github.com/cilium/cilium/pkg/testutils/policy"
	ports "github.com/cilium/cilium/pkg/types"
	"github.com/cilium/cilium/pkg/u8proto"
)

// world is the cluster of one case: who is who, and what was resolved for whom.
type world struct {
	logger   *slog.Logger
	repo     *policy.Repository
	pods     map[string]*pod
	outside  addresses
	named    ports.NamedPortMultiMap
	resolved map[string]*policy.EndpointPolicy
}

type pod struct {
	id    uint64
	who   *identity.Identity
	ports map[string]ports.PortProto
}

func newWorld(logger *slog.Logger, c Case, said *read, ipv6 bool) (*world, error) {
	w := &world{
		logger:   logger,
		pods:     map[string]*pod{},
		resolved: map[string]*policy.EndpointPolicy{},
	}
	known := identity.ListReservedIdentities()
	named := ports.NewNamedPortMultiMap()
	for _, described := range c.Pods {
		pod, err := newPod(described, c.Namespaces, len(w.pods))
		if err != nil {
			return nil, err
		}
		w.pods[described.Name] = pod
		known[pod.who.ID] = pod.who.LabelArray
		named.Update(pod.who.ID, nil, pod.ports)
	}
	w.named = named
	var err error
	if w.outside, err = newAddresses(logger, policy.GetCIDRPrefixes(said.entries), said.groups, ipv6); err != nil {
		return nil, err
	}
	for _, who := range w.outside {
		known[who.ID] = who.LabelArray
	}
	translator := envoypolicy.NewEnvoyL7RulesTranslator(logger, nil)
	manager := identitymanager.NewIDManager(logger)
	w.repo = policy.NewPolicyRepository(logger, known, nil, translator, manager, testpolicy.NewPolicyMetricsNoop())
	w.repo.SetNamedPortsGetter(w)
	w.repo.UpdateIdentities(known, nil)
	w.repo.MustAddPolicyEntries(said.entries)
	return w, nil
}

// newPod gives a pod the labels that the agent would.
func newPod(described Pod, namespaces map[string]map[string]string, index int) (*pod, error) {
	namespace, _, _ := strings.Cut(described.Name, "/")
	set := labels.Map2Labels(described.Labels, labels.LabelSourceK8s)
	add := func(key, value string) {
		set[key] = labels.NewLabel(key, value, labels.LabelSourceK8s)
	}
	for key, value := range namespaces[namespace] {
		add(k8s.PodNamespaceMetaLabels+"."+key, value)
	}
	add(k8s.PodNamespaceMetaLabels+".kubernetes.io/metadata.name", namespace)
	add(k8s.PodNamespaceLabel, namespace)
	add(k8s.PolicyLabelCluster, cluster)
	named := map[string]ports.PortProto{}
	for _, port := range described.Ports {
		protocol, err := u8proto.ParseProtocol(port.Protocol)
		if err != nil {
			return nil, err
		}
		named[port.Name] = ports.PortProto{Port: port.Port, Proto: protocol}
	}
	who := identity.NewIdentity(identity.NumericIdentity(1000+index), set)
	return &pod{id: uint64(index + 1), who: who, ports: named}, nil
}

// GetNamedPorts makes the world tell egress policies what the names of peers' ports mean.
func (w *world) GetNamedPorts() ports.NamedPortMultiMap {
	return w.named
}

// peer is the identity of a pod's name, of a reserved identity's, or of an address.
func (w *world) peer(name string) (*identity.Identity, error) {
	if pod, ok := w.pods[name]; ok {
		return pod.who, nil
	}
	if reserved := identity.GetReservedID(name); reserved != identity.IdentityUnknown {
		return identity.LookupReservedIdentity(reserved), nil
	}
	address, err := netip.ParseAddr(name)
	if err != nil {
		return nil, fmt.Errorf("%s is neither a pod nor an address", name)
	}
	return w.outside.of(address), nil
}

// endpoint is the policy of one pod, resolved once.
func (w *world) endpoint(name string) (*policy.EndpointPolicy, *pod, error) {
	pod, ok := w.pods[name]
	if !ok {
		return nil, nil, fmt.Errorf("%s is not a pod", name)
	}
	if resolved, ok := w.resolved[name]; ok {
		return resolved, pod, nil
	}
	selected, _, err := w.repo.ComputeSelectorPolicy(pod.who)
	if err != nil {
		return nil, nil, fmt.Errorf("resolve: %w", err)
	}
	redirects := map[string]uint16{policy.FallbackRedirectID: math.MaxUint16}
	resolved := selected.DistillPolicy(w.logger, pod, redirects)
	if err := resolved.Ready(); err != nil {
		return nil, nil, fmt.Errorf("resolve: %w", err)
	}
	w.resolved[name] = resolved
	return resolved, pod, nil
}

// verdict is what becomes of a connection, or of a request on it.
func (w *world) verdict(query Query) (string, error) {
	ingress := query.Direction == "ingress"
	subject, other, key := query.From, query.To, policy.EgressKey()
	if ingress {
		subject, other, key = query.To, query.From, policy.IngressKey()
	}
	endpoint, pod, err := w.endpoint(subject)
	if err != nil {
		return "", err
	}
	peer, err := w.peer(other)
	if err != nil {
		return "", err
	}
	protocol, err := u8proto.ParseProtocol(query.Protocol)
	if err != nil {
		return "", err
	}
	entry, _, found := endpoint.Lookup(key.WithIdentity(peer.ID).WithPortProto(protocol, query.Port))
	switch {
	case !found || entry.IsDeny():
		return "denied", nil
	case entry.ProxyPort == 0:
		return "allowed", nil
	case query.HTTP == nil:
		return "redirect", nil
	}
	direction := &endpoint.SelectorPolicy.L4Policy.Egress
	if ingress {
		direction = &endpoint.SelectorPolicy.L4Policy.Ingress
	}
	allowed, err := w.proxied(direction.Filters(), pod, peer.ID, query)
	if err != nil {
		return "", err
	}
	if allowed {
		return "redirect-allowed", nil
	}
	return "redirect-denied", nil
}

// proxied is the verdict of the proxy: what allows the peer on the port at all, or one of its rules.
func (w *world) proxied(filters iter.Seq[*policy.L4Filter], owner *pod, peer identity.NumericIdentity, query Query) (bool, error) {
	for filter := range filters {
		if !w.covers(filter, owner, peer, query.Port) {
			continue
		}
		for selector, rules := range filter.PerSelectorPolicies {
			// What is denied never came here: the policy map knows it.
			if rules.IsDeny() || !selector.IsWildcard() && !selector.Selects(peer) {
				continue
			}
			if rules == nil || len(rules.HTTP) == 0 {
				return true, nil
			}
			http := rules.EnvoyHTTPRules()
			if http == nil {
				http, _ = w.repo.GetEnvoyHTTPRules(&rules.L7Rules, "")
			}
			if holds, err := allows(http, query.HTTP); holds || err != nil {
				return holds, err
			}
		}
	}
	return false, nil
}

// covers says whether a filter is about a TCP port.
func (w *world) covers(filter *policy.L4Filter, owner *pod, peer identity.NumericIdentity, port uint16) bool {
	if filter.U8Proto != u8proto.TCP && filter.U8Proto != u8proto.ANY {
		return false
	}
	switch {
	case filter.PortName == "" && filter.EndPort > filter.Port:
		return filter.Port <= port && port <= filter.EndPort
	case filter.PortName == "":
		return filter.Port == 0 || filter.Port == port
	case filter.Ingress:
		return owner.GetIngressNamedPort(filter.PortName, filter.U8Proto) == port
	}
	only := func(yield func(identity.NumericIdentity) bool) { yield(peer) }
	for _, number := range w.named.GetNamedPorts(filter.PortName, filter.U8Proto, only) {
		if number == port {
			return true
		}
	}
	return false
}

var _ policy.PolicyOwner = &pod{}

// GetID is the number of the endpoint.
func (p *pod) GetID() uint64 { return p.id }

// GetIngressNamedPort is the number of one of the pod's own ports.
func (p *pod) GetIngressNamedPort(name string, protocol u8proto.U8proto) uint16 {
	if port, ok := p.ports[name]; ok && port.Proto == protocol {
		return port.Port
	}
	return 0
}

// PolicyDebug logs nothing.
func (p *pod) PolicyDebug(string, ...any) {}

// IsHost is for the node's own endpoint.
func (p *pod) IsHost() bool { return false }

// PreviousMapStateSizes has no map before this one.
func (p *pod) PreviousMapStateSizes() policy.MapStateSizes { return policy.MapStateSizes{} }

// RegenerateIfAlive has nothing to make anew.
func (p *pod) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)
	return done
}
