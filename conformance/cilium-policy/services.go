package main

import (
	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/loadbalancer"
	policy "github.com/cilium/cilium/pkg/policy/k8s"
	"github.com/cilium/cilium/pkg/source"
	"github.com/cilium/statedb"
)

// services are those of one case, in the agent's tables.
type services struct {
	db       *statedb.DB
	services statedb.RWTable[*loadbalancer.Service]
	backends statedb.RWTable[*loadbalancer.Backend]
}

func newServices(described []Service) (*services, error) {
	s := &services{db: statedb.New()}
	var err error
	if s.services, err = loadbalancer.NewServicesTable(loadbalancer.DefaultConfig, s.db); err != nil {
		return nil, err
	}
	if s.backends, err = loadbalancer.NewBackendsTable(s.db); err != nil {
		return nil, err
	}
	txn := s.db.WriteTxn(s.services)
	for _, one := range described {
		namespace, name := one.split()
		service := &loadbalancer.Service{
			Name:     loadbalancer.NewServiceName(namespace, name),
			Source:   source.Kubernetes,
			Labels:   labels.Map2Labels(one.Labels, labels.LabelSourceK8s),
			Selector: one.Selector,
		}
		if _, _, err := s.services.Insert(txn, service); err != nil {
			return nil, err
		}
	}
	txn.Commit()
	return s, nil
}

// resolve puts what services stand for into the rules that name them.
func (s *services) resolve(cnp *v2.CiliumNetworkPolicy) {
	policy.ResolveToServices(s.db.ReadTxn(), s.services, s.backends, cnp)
}
