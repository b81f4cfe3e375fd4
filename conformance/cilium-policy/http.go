package main

import (
	"fmt"
	"regexp"
	"strings"

	cilium "github.com/cilium/proxy/go/cilium/api"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

var patterns = map[string]*regexp.Regexp{}

// fullMatch is Envoy's: RE2, and the whole value.
func fullMatch(pattern, value string) (bool, error) {
	compiled, ok := patterns[pattern]
	if !ok {
		var err error
		if compiled, err = regexp.Compile("^(?:" + pattern + ")$"); err != nil {
			return false, err
		}
		patterns[pattern] = compiled
	}
	return compiled.MatchString(value), nil
}

// value is what Envoy compares: pseudo-headers, or all values of a header joined with commas.
func (r *Request) value(name string) (string, bool) {
	switch name {
	case ":method":
		return r.Method, true
	case ":path":
		return r.Path, true
	case ":authority", "host":
		// One header to Envoy's header map.
		return r.Host, true
	}
	var values []string
	for _, header := range r.Headers {
		if strings.EqualFold(header[0], name) {
			values = append(values, header[1])
		}
	}
	return strings.Join(values, ","), len(values) > 0
}

// allows says whether any of the rules matches.
func allows(rules *cilium.HttpNetworkPolicyRules, request *Request) (bool, error) {
	for _, rule := range rules.GetHttpRules() {
		if len(rule.GetHeaderMatches()) > 0 {
			return false, fmt.Errorf("headerMatches are not evaluated here")
		}
		all := true
		for _, header := range rule.GetHeaders() {
			holds, err := matches(header, request)
			if err != nil {
				return false, err
			}
			all = all && holds
		}
		if all {
			return true, nil
		}
	}
	return false, nil
}

func matches(header *route.HeaderMatcher, request *Request) (bool, error) {
	if header.GetInvertMatch() {
		return false, fmt.Errorf("%s: inverted matches are not evaluated here", header.GetName())
	}
	value, present := request.value(strings.ToLower(header.GetName()))
	switch specifier := header.GetHeaderMatchSpecifier().(type) {
	case *route.HeaderMatcher_PresentMatch:
		return present == specifier.PresentMatch, nil
	case *route.HeaderMatcher_StringMatch:
		if !present {
			return false, nil
		}
		switch match := specifier.StringMatch.GetMatchPattern().(type) {
		case *matcher.StringMatcher_Exact:
			return value == match.Exact, nil
		case *matcher.StringMatcher_SafeRegex:
			return fullMatch(match.SafeRegex.GetRegex(), value)
		}
	}
	return false, fmt.Errorf("%s: this kind of match is not evaluated here", header.GetName())
}
