// Command cilium-policy tells what Cilium's own code makes of policies: JSON lines in, one for each case; JSON lines out,
// with what is wrong with the case's manifests or with a verdict for each of its queries.
//
// It is a judge for tests and calls nothing but Cilium's packages for what a policy means: schema, parsing, selectors,
// resolution, the policy map, and the rules as Envoy would be given them. Only Envoy's own part, comparing a request with
// such a rule, is written here (http.go), on Go's RE2.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
)

// Case is one line of the input.
type Case struct {
	Name       string                       `json:"name"`
	Manifests  string                       `json:"manifests"`
	Pods       []Pod                        `json:"pods"`
	Namespaces map[string]map[string]string `json:"namespaces"`
	Services   []Service                    `json:"services"`
	Queries    []Query                      `json:"queries"`
}

// Pod is one endpoint. Its name has its namespace in front: ns/name.
type Pod struct {
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	Addresses []string          `json:"addresses"`
	Ports     []ContainerPort   `json:"ports"`
}

// ContainerPort is one named port of a pod.
type ContainerPort struct {
	Name     string `json:"name"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// Service is one Service. Its name has its namespace in front: ns/name.
type Service struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels"`
	Selector map[string]string `json:"selector"`
}

func (s *Service) split() (namespace, name string) {
	namespace, name, _ = strings.Cut(s.Name, "/")
	return namespace, name
}

// Query is one connection, or one request on it. From and To are pods, addresses, or names of reserved identities. The
// port of ICMP is its type.
type Query struct {
	From      string   `json:"from"`
	To        string   `json:"to"`
	Direction string   `json:"direction"`
	Port      uint16   `json:"port"`
	Protocol  string   `json:"protocol"`
	HTTP      *Request `json:"http"`
}

// Request is one HTTP request; its path includes the query.
type Request struct {
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Host    string      `json:"host"`
	Headers [][2]string `json:"headers"`
}

// Answer is one line of the output.
type Answer struct {
	Name     string   `json:"name"`
	Errors   []string `json:"errors"`
	Verdicts []string `json:"verdicts"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cilium-policy:", err)
		os.Exit(1)
	}
}

func run() error {
	logger := slog.New(slog.DiscardHandler)
	policy.SetPolicyEnabled(option.DefaultEnforcement)
	option.Config.EnableL7Proxy = true
	option.Config.EnableSCTP = true
	option.Config.EnableICMPRules = true
	api.InitEntities(cluster)
	schemas, err := newSchemas(logger)
	if err != nil {
		return err
	}
	reader := &reader{logger, schemas}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for in.Scan() {
		var c Case
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			return fmt.Errorf("not a case: %w", err)
		}
		if err := encoder.Encode(answer(logger, reader, c)); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return out.Flush()
}

func answer(logger *slog.Logger, reader *reader, c Case) Answer {
	verdicts := make([]string, len(c.Queries))
	for _, ipv6 := range []bool{false, true} {
		if errs := ask(logger, reader, c, ipv6, verdicts); len(errs) > 0 {
			return Answer{Name: c.Name, Errors: errs, Verdicts: []string{}}
		}
	}
	return Answer{Name: c.Name, Errors: []string{}, Verdicts: verdicts}
}

// ask fills in the verdicts of the queries of one family of addresses, each under an agent of that family alone: one of
// both families splits what is outside in two, and reserved:world selects neither half.
func ask(logger *slog.Logger, reader *reader, c Case, ipv6 bool, verdicts []string) []string {
	// What prefixes mean to an agent depends on its families when it reads them.
	option.Config.EnableIPv4, option.Config.EnableIPv6 = !ipv6, ipv6
	services, err := newServices(c.Services)
	if err != nil {
		return []string{err.Error()}
	}
	said, errs := reader.read(c.Manifests, services)
	if len(errs) > 0 {
		return errs
	}
	world, err := newWorld(logger, c, said, ipv6)
	if err != nil {
		return []string{err.Error()}
	}
	for i, query := range c.Queries {
		if query.isIPv6() != ipv6 {
			continue
		}
		if verdicts[i], err = world.verdict(query); err != nil {
			return []string{err.Error()}
		}
	}
	return nil
}

// isIPv6 says whether one side is an IPv6 address; pods have both, and the same identity with both.
func (q *Query) isIPv6() bool {
	return strings.Contains(q.From, ":") || strings.Contains(q.To, ":")
}
