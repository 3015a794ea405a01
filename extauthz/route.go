package extauthz

import (
	"fmt"
	"slices"
	"strings"
)

// Route is what a kind of request asks for. It adds to the class's demands.
type Route struct {
	Name      string
	Match     []RouteMatch // one of them; none = only by name (holdfast_route)
	Demand    Demand
	Mode      Mode
	Anonymous bool // no credential is looked at
}

// RouteMatch is one way to match a request; all that it names must hold, and
// the zero RouteMatch takes every request.
type RouteMatch struct {
	Hosts   []string // exact, without case, port and one trailing dot
	Paths   []string // /exact or /below/*
	Methods []string // exact
}

// route is a Route made ready to match.
type route struct {
	Route
	match  []match
	byPath bool // some match names paths
}

type match struct {
	hosts   []string
	paths   []pattern
	methods []string
}

// pattern matches one path, or with below everything under it.
type pattern struct {
	path  string // canonical; with below it ends in "/"
	below bool
}

func compileRoute(r Route) (route, error) {
	compiled := route{Route: r}
	for _, m := range r.Match {
		one := match{methods: m.Methods}
		for _, h := range m.Hosts {
			host, ok := canonicalHost(h)
			if !ok || strings.Contains(host, "*") {
				return route{}, fmt.Errorf("host %q is not an exact host name", h)
			}
			one.hosts = append(one.hosts, host)
		}
		for _, p := range m.Paths {
			compiledPath, err := parsePattern(p)
			if err != nil {
				return route{}, err
			}
			one.paths = append(one.paths, compiledPath)
			compiled.byPath = true
		}
		compiled.match = append(compiled.match, one)
	}
	return compiled, nil
}

// parsePattern reads a path pattern: an exact path, or one that ends in /* and
// matches everything below.
func parsePattern(p string) (pattern, error) {
	path, below := strings.CutSuffix(p, "*")
	if strings.Contains(path, "*") || below && !strings.HasSuffix(path, "/") || strings.Contains(path, "?") {
		return pattern{}, fmt.Errorf("path %q: a * may only stand alone after the last /, and the query never counts", p)
	}
	canonical, ok := canonicalPath(path)
	if !ok {
		return pattern{}, fmt.Errorf("path %q is not an absolute path without dot or empty segments, backslash, semicolon or escaped slashes", p)
	}
	return pattern{path: canonical, below: below}, nil
}

func (p *pattern) match(path string) bool {
	if p.below {
		return strings.HasPrefix(path, p.path)
	}
	return path == p.path
}

func (m *match) holds(method, host, path string) bool {
	if len(m.methods) > 0 && !slices.Contains(m.methods, method) {
		return false
	}
	if len(m.hosts) > 0 && !slices.Contains(m.hosts, host) {
		return false
	}
	if len(m.paths) == 0 {
		return true
	}
	for i := range m.paths {
		if m.paths[i].match(path) {
			return true
		}
	}
	return false
}

// route finds the first route that matches, or noRoute.
func (p *Policy) route(method, host, path string) int {
	for i := range p.routes {
		if p.routes[i].matches(method, host, path) {
			return i
		}
	}
	return noRoute
}

func (r *route) matches(method, host, path string) bool {
	for i := range r.match {
		if r.match[i].holds(method, host, path) {
			return true
		}
	}
	return false
}
