package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/cilium/cilium/pkg/k8s/apis/cilium.io/client"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
)

// schemas are those of Cilium's kinds, by apiVersion and kind.
type schemas struct {
	known map[[2]string]known
}

type known struct {
	structure *schema.Structural
	validator validation.SchemaCreateValidator
}

func newSchemas(logger *slog.Logger) (*schemas, error) {
	schemas := &schemas{known: map[[2]string]known{}}
	for _, name := range []string{client.CNPCRDName, client.CCNPCRDName, client.CCGCRDName} {
		crd := client.GetPregeneratedCRD(logger, name)
		for _, version := range crd.Spec.Versions {
			var internal apiextensions.JSONSchemaProps
			if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(
				version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
				return nil, err
			}
			structure, err := schema.NewStructural(&internal)
			if err != nil {
				return nil, err
			}
			validator, _, err := validation.NewSchemaValidator(&internal)
			if err != nil {
				return nil, err
			}
			schemas.known[[2]string{crd.Spec.Group + "/" + version.Name, crd.Spec.Names.Kind}] = known{structure, validator}
		}
	}
	return schemas, nil
}

// admit does what the API server does: fields that the schema does not know it would drop, but tells of them first, and
// kubectl refuses then.
func (s *schemas) admit(object map[string]any) error {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	known, ok := s.known[[2]string{version, kind}]
	if !ok {
		return fmt.Errorf("no kind %q of %q", kind, version)
	}
	options := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
	if paths := pruning.PruneWithOptions(object, known.structure, true, options); len(paths) > 0 {
		return fmt.Errorf("unknown fields: %s", strings.Join(paths, ", "))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, known.structure)
	defaulting.Default(object, known.structure)
	return validation.ValidateCustomResource(nil, object, known.validator).ToAggregate()
}
