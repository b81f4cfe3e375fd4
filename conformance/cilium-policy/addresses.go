package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	cmtypes "github.com/cilium/cilium/pkg/clustermesh/types"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/ipcache"
	ipcachetypes "github.com/cilium/cilium/pkg/ipcache/types"
	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/k8s/synced"
	"github.com/cilium/cilium/pkg/k8s/utils"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/source"
	testidentity "github.com/cilium/cilium/pkg/testutils/identity"
)

// addresses are the identities of prefixes, as the agent's ipcache gives them: of those that policies name, and of those
// of CIDR groups, each with the labels of all prefixes around it.
type addresses map[netip.Prefix]*identity.Identity

func newAddresses(logger *slog.Logger, prefixes []netip.Prefix, groups []*v2.CiliumCIDRGroup, ipv6 bool) (addresses, error) {
	var updates []ipcache.MU
	// An agent of one family knows no prefix of the other.
	add := func(prefix netip.Prefix, resource ipcachetypes.ResourceID, of labels.Labels, isCIDR bool) {
		if prefix.Addr().Is6() == ipv6 {
			updates = append(updates, ipcache.MU{
				Prefix:   cmtypes.NewLocalPrefixCluster(prefix.Masked()),
				Source:   source.Generated,
				Resource: resource,
				Metadata: []ipcache.IPMetadata{of},
				IsCIDR:   isCIDR,
			})
		}
	}
	for _, prefix := range prefixes {
		resource := ipcachetypes.NewResourceID(ipcachetypes.ResourceKindCNP, "default", "all")
		add(prefix, resource, labels.GetCIDRLabels(prefix), true)
	}
	for _, group := range groups {
		resource := ipcachetypes.NewResourceID(ipcachetypes.ResourceKindCIDRGroup, "", group.Name)
		for _, cidr := range group.Spec.ExternalCIDRs {
			prefix, err := netip.ParsePrefix(string(cidr))
			if err != nil {
				// The agent leaves it out, with a line in its log.
				continue
			}
			of := groupLabels(group)
			of.AddWorldLabel(prefix.Addr())
			add(prefix, resource, of, false)
		}
	}
	if len(updates) == 0 {
		return nil, nil
	}
	return allocate(logger, updates)
}

// groupLabels is what the agent's watcher of CIDR groups gives to each of their prefixes.
func groupLabels(group *v2.CiliumCIDRGroup) labels.Labels {
	of := labels.Labels{}
	for key, value := range utils.RemoveCiliumLabels(group.Labels) {
		label := labels.NewLabel(key, value, labels.LabelSourceCIDRGroup)
		of[label.Key] = label
		encoded := labels.EncodedCIDRGroupLabel(label.Key, label.Value, label.Source)
		of[encoded.Key] = encoded
	}
	name := api.LabelForCIDRGroupRef(group.Name)
	of[name.Key] = name
	return of
}

func allocate(logger *slog.Logger, updates []ipcache.MU) (addresses, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	allocator := testidentity.NewMockIdentityAllocator(nil)
	synchronized := make(synced.CacheStatus)
	close(synchronized)
	cache := ipcache.NewIPCache(&ipcache.Configuration{
		Context:           ctx,
		Logger:            logger,
		IdentityAllocator: allocator,
		IdentityUpdater:   &testidentity.IdentityAllocatorOwnerMock{},
		CacheStatus:       synchronized,
	})
	if err := cache.WaitForRevision(ctx, cache.UpsertMetadataBatch(updates...)); err != nil {
		return nil, err
	}
	known := addresses{}
	for _, update := range updates {
		prefix := update.Prefix.AsPrefix()
		found, ok := cache.LookupByPrefix(prefix.String())
		if !ok {
			return nil, fmt.Errorf("%s has no identity", prefix)
		}
		known[prefix] = allocator.LookupIdentityByID(ctx, found.ID)
	}
	return known, cache.Shutdown()
}

// of is the identity of an address: that of the longest prefix around it.
func (a addresses) of(address netip.Addr) *identity.Identity {
	longest, who := -1, identity.LookupReservedIdentity(identity.GetWorldIdentityFromIP(address))
	for prefix, of := range a {
		if prefix.Contains(address) && prefix.Bits() > longest {
			longest, who = prefix.Bits(), of
		}
	}
	return who
}
