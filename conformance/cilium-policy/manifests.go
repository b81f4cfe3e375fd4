package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"

	envoypolicy "github.com/cilium/cilium/pkg/envoy/policy"
	"github.com/cilium/cilium/pkg/k8s"
	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	networking "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	"github.com/cilium/cilium/pkg/policy/utils"
	v1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// cluster is the name of the only cluster.
const cluster = "default"

// reader makes rules of manifests: first the API server's part (the schema of the CRD), then the agent's, then what Envoy
// would refuse to load.
type reader struct {
	logger  *slog.Logger
	schemas *schemas
}

// read is what a case's manifests say.
type read struct {
	entries types.PolicyEntries
	groups  []*v2.CiliumCIDRGroup
}

// read returns what all documents say, or everything that is wrong, each with its stage in front.
func (r *reader) read(manifests string, services *services) (*read, []string) {
	all := &read{}
	var errs []string
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, errs
		}
		if err != nil {
			return nil, append(errs, "yaml: "+err.Error())
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		if stage, err := r.document(text, services, all); err != nil {
			errs = append(errs, stage+": "+err.Error())
		}
	}
}

func (r *reader) document(text []byte, services *services, all *read) (stage string, err error) {
	var object map[string]any
	if err := sigsyaml.UnmarshalStrict(text, &object); err != nil {
		return "yaml", err
	}
	if object == nil {
		return "", nil
	}
	if object["kind"] == "NetworkPolicy" {
		entries, stage, err := r.kubernetes(text)
		all.entries = append(all.entries, entries...)
		return stage, err
	}
	if err := r.schemas.admit(object); err != nil {
		return "schema", err
	}
	admitted, err := sigsyaml.Marshal(object)
	if err != nil {
		return "decode", err
	}
	if object["kind"] == "CiliumCIDRGroup" {
		group := &v2.CiliumCIDRGroup{}
		if err := sigsyaml.Unmarshal(admitted, group); err != nil {
			return "decode", err
		}
		all.groups = append(all.groups, group)
		return "", nil
	}
	// Cluster-wide policies are such as well to the agent, in no namespace.
	cnp := &v2.CiliumNetworkPolicy{}
	if err := sigsyaml.Unmarshal(admitted, cnp); err != nil {
		return "decode", err
	}
	switch {
	case object["kind"] == "CiliumClusterwideNetworkPolicy":
		cnp.Namespace = ""
	case cnp.Namespace == "":
		// The API server knows it from the request's path.
		cnp.Namespace = "default"
	}
	services.resolve(cnp)
	rules, err := cnp.Parse(r.logger, cluster)
	if err != nil {
		return "agent", err
	}
	all.entries = append(all.entries, utils.RulesToPolicyEntries(rules)...)
	return "envoy", envoyAccepts(r.logger, rules)
}

// kubernetes reads a NetworkPolicy. Of the API server's part, unknown fields and one default are here: all that it says of
// values is in no module.
func (r *reader) kubernetes(text []byte) (types.PolicyEntries, string, error) {
	whole := &v1.NetworkPolicy{}
	if err := sigsyaml.UnmarshalStrict(text, whole); err != nil {
		return nil, "schema", err
	}
	if len(whole.Spec.PolicyTypes) == 0 {
		whole.Spec.PolicyTypes = []v1.PolicyType{v1.PolicyTypeIngress}
		if len(whole.Spec.Egress) > 0 {
			whole.Spec.PolicyTypes = append(whole.Spec.PolicyTypes, v1.PolicyTypeEgress)
		}
	}
	admitted, err := sigsyaml.Marshal(whole)
	if err != nil {
		return nil, "decode", err
	}
	policy := &networking.NetworkPolicy{}
	if err := sigsyaml.Unmarshal(admitted, policy); err != nil {
		return nil, "decode", err
	}
	entries, err := k8s.ParseNetworkPolicy(r.logger, cluster, policy)
	return entries, "agent", err
}

// envoyAccepts applies the checks of Envoy's protobuf messages, and compiles what the agent leaves to Envoy.
func envoyAccepts(logger *slog.Logger, rules api.Rules) error {
	translator := envoypolicy.NewEnvoyL7RulesTranslator(logger, nil)
	check := func(ports api.PortRules) error {
		for _, port := range ports {
			if port.Rules == nil || len(port.Rules.HTTP) == 0 {
				continue
			}
			http, _ := translator.GetEnvoyHTTPRules(port.Rules, "")
			if err := http.ValidateAll(); err != nil {
				return err
			}
			for _, rule := range port.Rules.HTTP {
				if _, err := regexp.Compile(rule.Host); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, rule := range rules {
		for i := range rule.Ingress {
			if err := check(rule.Ingress[i].ToPorts); err != nil {
				return err
			}
		}
		for i := range rule.Egress {
			if err := check(rule.Egress[i].ToPorts); err != nil {
				return err
			}
		}
	}
	return nil
}
