package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	envoypolicy "github.com/cilium/cilium/pkg/envoy/policy"
	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io/client"
	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2/validator"
	"github.com/cilium/cilium/pkg/policy/api"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// cluster is the name of the only cluster.
const cluster = "default"

// reader makes rules of manifests: first the API server's part (the schema of the CRD), then the agent's, then what Envoy
// would refuse to load.
type reader struct {
	logger    *slog.Logger
	validator *validator.NPValidator
	structure *schema.Structural
}

func newReader(logger *slog.Logger) (*reader, error) {
	validator, err := validator.NewNPValidator(logger)
	if err != nil {
		return nil, err
	}
	crd := client.GetPregeneratedCRD(logger, client.CNPCRDName)
	var internal apiextensions.JSONSchemaProps
	if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
		crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	structure, err := schema.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	return &reader{logger, validator, structure}, nil
}

// rules returns the rules of all documents, or everything that is wrong, each with its stage in front.
func (r *reader) rules(manifests string) (api.Rules, []string) {
	var rules api.Rules
	var errs []string
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return rules, errs
		}
		if err != nil {
			return nil, append(errs, "yaml: "+err.Error())
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		some, stage, err := r.document(text)
		if err != nil {
			errs = append(errs, stage+": "+err.Error())
		}
		rules = append(rules, some...)
	}
}

func (r *reader) document(text []byte) (rules api.Rules, stage string, err error) {
	var object map[string]any
	if err := sigsyaml.UnmarshalStrict(text, &object); err != nil {
		return nil, "yaml", err
	}
	if object == nil {
		return nil, "", nil
	}
	// As the API server does before it looks at the schema. Fields that it does not know it would drop, but tells of
	// them first, and kubectl refuses then.
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	if paths := pruning.PruneWithOptions(object, r.structure, true, options); len(paths) > 0 {
		return nil, "schema", fmt.Errorf("unknown fields: %s", strings.Join(paths, ", "))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, r.structure)
	defaulting.Default(object, r.structure)
	var unknown validator.ErrUnknownFields
	// What the validator takes for unknown is also what is written though it is empty.
	if err := r.validator.ValidateCNP(&unstructured.Unstructured{Object: object}); err != nil && !errors.As(err, &unknown) {
		return nil, "schema", err
	}
	pruned, err := sigsyaml.Marshal(object)
	if err != nil {
		return nil, "decode", err
	}
	cnp := &v2.CiliumNetworkPolicy{}
	if err := sigsyaml.Unmarshal(pruned, cnp); err != nil {
		return nil, "decode", err
	}
	if cnp.Namespace == "" {
		// The API server knows it from the request's path; without one, the agent takes the policy for a cluster-wide one.
		cnp.Namespace = "default"
	}
	rules, err = cnp.Parse(r.logger, cluster)
	if err != nil {
		return nil, "agent", err
	}
	return rules, "envoy", envoyAccepts(r.logger, rules)
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
