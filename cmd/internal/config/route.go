package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

// maxRoutes keeps the time to compare all routes with each other short.
const maxRoutes = 1000

func (c *Config) checkRoutes() {
	if len(c.Routes) > maxRoutes {
		c.say(index("routes", maxRoutes), "%d routes: there may be at most %d", len(c.Routes), maxRoutes)
		return
	}
	first := map[string]int{}
	for i := range c.Routes {
		r, path := &c.Routes[i], index("routes", i)
		c.checkName("route", path, r.Name, first, i)
		for j := range r.Match {
			c.checkRouteMatch(index(path+".match", j), &r.Match[j])
		}
		c.checkDemands(path+".require", &r.Require)
		if r.Anonymous && !reflect.ValueOf(r.Require).IsZero() {
			c.say(path+".require", "%s is anonymous and requires something: without a credential nothing can be required", label("route", path, r.Name))
		}
		c.checkShadowed(path, i)
	}
}

// checkShadowed refuses a route of which each match is covered by one of an earlier
// route: it would be reached by name only, which is not what a match says.
func (c *Config) checkShadowed(path string, i int) {
	r := &c.Routes[i]
	if len(r.Match) == 0 || !c.file.Clean(path+".match") {
		return
	}
	by := ""
	for j := range r.Match {
		k := slices.IndexFunc(c.Routes[:i], func(earlier Route) bool {
			return slices.ContainsFunc(earlier.Match, func(m RouteMatch) bool { return routeCovers(&m, &r.Match[j]) })
		})
		if k < 0 || !c.file.Clean(index("routes", k)+".match") {
			return
		}
		by = label("route", index("routes", k), c.Routes[k].Name)
	}
	c.say(path+".match", "%s can never match: %s before it takes every request that it would; put it first or narrow the other", label("route", path, r.Name), by)
}

func (c *Config) checkRouteMatch(path string, m *RouteMatch) {
	if len(m.Hosts)+len(m.Paths)+len(m.Methods) == 0 && c.file.Clean(path) {
		c.say(path, "%s names neither hosts, paths nor methods: for every request write paths: [/, /*]", path)
	}
	for i, host := range m.Hosts {
		p := c.element(path+".hosts", i)
		if why := badHost(host); why != "" {
			c.say(p, "%s is %s: %s", p, strict.Quote(host), why)
		}
	}
	for i, pattern := range m.Paths {
		p := c.element(path+".paths", i)
		if why := badPath(pattern); why != "" {
			c.say(p, "%s is %s: %s", p, strict.Quote(pattern), why)
		}
	}
	for i, method := range m.Methods {
		p := c.element(path+".methods", i)
		if why := badMethod(method); why != "" {
			c.say(p, "%s is %s: %s", p, strict.Quote(method), why)
		}
	}
}

func badHost(host string) string {
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		if ip, err := netip.ParseAddr(inside); ok && err == nil && ip.Is6() && ip.Zone() == "" {
			return ""
		}
		return "an IPv6 address is written [2001:db8::1], without a port"
	}
	switch {
	case host == "":
		return "it must be a host name"
	case strings.Contains(host, "*"):
		return "a host has no wildcards: list the names"
	case strings.Contains(host, "/"):
		return "a host has no scheme and no path"
	case strings.Contains(host, ":"):
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			return "an IPv6 address is written in brackets"
		}
		return "a host has no port: ports do not count"
	case strings.ContainsFunc(host, func(c rune) bool { return c > 0x7f }):
		return "write an international name in its ASCII form (xn--)"
	case !isHostName(host):
		return "it must be a host name"
	}
	return ""
}

// badPath says what is wrong with a path pattern. A pattern must be a path
// that a request can have: one that is ambiguous never gets as far as routes.
func badPath(pattern string) string {
	path, below := strings.CutSuffix(pattern, "/*")
	switch {
	case !strings.HasPrefix(pattern, "/"):
		return "a path begins with /"
	case strings.Contains(path, "*"):
		return "a * may only stand alone after the last /"
	case strings.Contains(path, "?"):
		return "the query never counts: leave it out"
	case strings.ContainsAny(path, `\;#`):
		return `\, ; and # make a path ambiguous`
	case strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return "a path has no spaces and control characters"
	case strings.Contains(path, "//") || below && strings.HasSuffix(path, "/"):
		return "an empty segment (//) makes a path ambiguous"
	}
	if why := badEscape(path); why != "" {
		return why
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "a dot segment makes a path ambiguous"
		}
	}
	return ""
}

// badEscape takes percent-escapes of bytes that mean nothing in a path.
func badEscape(path string) string {
	for i := strings.IndexByte(path, '%'); i >= 0 && i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if len(path) < i+3 || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return "a % must be followed by two hexadecimal digits"
		}
		switch escape := strings.ToLower(path[i+1 : i+3]); {
		case escape == "2f" || escape == "5c" || escape == "25" || escape == "2e":
			return "%" + path[i+1:i+3] + " makes a path ambiguous"
		case escape < "20" || escape == "7f":
			return "a path has no control characters"
		case escape >= "80":
			return "write a character beyond ASCII as it is, not in escapes"
		}
	}
	return ""
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// badMethod: methods compare exactly (RFC 9110, 9.1), so a lower-case one
// would match nothing that clients send.
func badMethod(method string) string {
	switch {
	case method == "" || strings.ContainsFunc(method, func(c rune) bool { return c >= 0x7f || !isTokenByte(byte(c)) }):
		return "it must be an HTTP method such as POST"
	case method == "*":
		return "leave methods out to match them all"
	case method != strings.ToUpper(method):
		return "methods are written in upper case: " + strings.ToUpper(method)
	}
	return ""
}

// isTokenByte is tchar of RFC 9110, 5.6.2.
func isTokenByte(c byte) bool {
	return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// routeCovers tells whether every request that later matches was matched by
// earlier before. It errs to "no": a refusal must be right.
func routeCovers(earlier, later *RouteMatch) bool {
	host := func(s string) string { return strings.TrimSuffix(strings.ToLower(s), ".") }
	same := func(s string) string { return s }
	return coversBy(earlier.Hosts, later.Hosts, host, nil) &&
		coversBy(earlier.Methods, later.Methods, same, nil) &&
		(len(earlier.Paths) == 0 || len(later.Paths) > 0 && !slices.ContainsFunc(later.Paths, func(p string) bool {
			return !slices.ContainsFunc(earlier.Paths, func(e string) bool { return pathCovers(e, p) })
		}))
}

// pathCovers tells whether one pattern matches all that another one matches.
func pathCovers(earlier, later string) bool {
	if earlier == later {
		return true
	}
	below, ok := strings.CutSuffix(earlier, "*")
	return ok && strings.HasPrefix(later, below) && len(later) > len(below)
}
