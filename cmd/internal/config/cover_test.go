package config

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-authz/holdfast/extauthz"
)

// The refusal of a class or route that "can never match" must be right. Both
// tests compare it with what really matches, over all sessions and requests of
// a small world.

func some(t *rapid.T, label string, from ...string) OneOf {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, len(from), rapid.ID).Draw(t, label)
}

func takes(list OneOf, value string) bool { return len(list) == 0 || slices.Contains(list, value) }

func TestClassCovers(t *testing.T) {
	c := &Config{Issuers: []Issuer{
		{Issuer: "i1", TokenTypes: []string{"at+jwt"}},
		{Issuer: "i2", TokenTypes: []string{"JWT", "at+jwt"}},
	}}
	draw := func(t *rapid.T) *ClassMatch {
		m := &ClassMatch{
			Credential: some(t, "credential", "header"),
			Issuers:    some(t, "issuers", "i1", "i2"),
			Clients:    some(t, "clients", "c1", "c2"),
			Types:      some(t, "types", "jwt", "at+jwt"),
		}
		if values := some(t, "claim", "x", "y"); len(values) > 0 {
			m.Claims = Claims{"claim": values}
		}
		return m
	}
	matches := func(m *ClassMatch, issuer, client, typ, claim string) bool {
		if want := m.Claims["claim"]; want != nil && !slices.Contains(want, claim) {
			return false
		}
		return takes(m.Issuers, issuer) && takes(m.Clients, client) && takes(m.Types, typ)
	}
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		earlier, later := draw(t), draw(t)
		if !c.classCovers(earlier, later) {
			return
		}
		covered++
		for _, issuer := range []string{"i1", "i2"} {
			for _, client := range []string{"", "c1", "c2", "c3"} {
				for _, typ := range []string{"jwt", "at+jwt"} {
					for _, claim := range []string{"", "x", "y", "z"} {
						if matches(later, issuer, client, typ, claim) && !matches(earlier, issuer, client, typ, claim) {
							t.Fatalf("%+v is said to cover %+v, but not for %s %s %s %s", earlier, later, issuer, client, typ, claim)
						}
					}
				}
			}
		}
	})
	if covered == 0 {
		t.Error("nothing was covered: the test tests nothing")
	}
}

func TestRouteCovers(t *testing.T) {
	paths := []string{"/", "/*", "/x", "/x/", "/x/*", "/x/y", "/x/y/*", "/xy"}
	draw := func(t *rapid.T) RouteMatch {
		return RouteMatch{
			Hosts:   some(t, "hosts", "a.example", "A.example.", "b.example"),
			Paths:   some(t, "paths", paths...),
			Methods: some(t, "methods", "GET", "POST"),
		}
	}
	host := func(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
	matches := func(m *RouteMatch, h, p, method string) bool {
		hosts := make(OneOf, len(m.Hosts))
		for i := range m.Hosts {
			hosts[i] = host(m.Hosts[i])
		}
		path := len(m.Paths) == 0 || slices.ContainsFunc(m.Paths, func(pattern string) bool {
			// "/x/*" may or may not take "/x/" itself: nothing may depend on it.
			below, ok := strings.CutSuffix(pattern, "*")
			return pattern == p || ok && strings.HasPrefix(p, below) && p != below
		})
		return takes(hosts, h) && path && takes(m.Methods, method)
	}
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		earlier, later := draw(t), draw(t)
		if !routeCovers(&earlier, &later) {
			return
		}
		covered++
		for _, h := range []string{"a.example", "b.example", "c.example"} {
			for _, p := range []string{"/", "/x", "/x/", "/x/y", "/x/y/", "/x/y/z", "/x/z", "/xy", "/z"} {
				for _, method := range []string{"GET", "POST", "PUT"} {
					if matches(&later, h, p, method) && !matches(&earlier, h, p, method) {
						t.Fatalf("%+v is said to cover %+v, but not for %s %s%s", earlier, later, method, h, p)
					}
				}
			}
		}
	})
	if covered == 0 {
		t.Error("nothing was covered: the test tests nothing")
	}
}

// TestPathPatterns: a pattern is accepted here only if extauthz accepts it.
func TestPathPatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := "/" + rapid.StringMatching(`([a/.*%?;é~ ]|%2[0-9a-f]|%[0-7][0-9A-F])*`).Draw(t, "pattern")
		if badPath(pattern) != "" {
			return
		}
		_, err := extauthz.NewPolicy(extauthz.Config{
			FeedMaxAge: 1, Classes: make([]extauthz.Class, 1),
			Routes: []extauthz.Route{{Name: "r", Match: []extauthz.RouteMatch{{Paths: []string{pattern}}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
