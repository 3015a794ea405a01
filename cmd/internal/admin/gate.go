package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// gate knows by which names this listener may be addressed.
type gate struct {
	unix  bool     // a browser can not reach a socket file: any Host will do
	hosts []string // lower case, without port
	port  string
	anyIP bool // the listener takes every address of the machine, whichever they are
}

// newGate derives the names from the configured address and from the
// listener's, which knows the port where the configuration says 0.
func newGate(address string, at net.Addr) *gate {
	if at.Network() == "unix" {
		return &gate{unix: true}
	}
	g := &gate{hosts: []string{"localhost", "127.0.0.1", "::1"}}
	for _, a := range []string{address, at.String()} {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			continue
		}
		g.port = port
		ip, err := netip.ParseAddr(host)
		if host == "" || err == nil && ip.IsUnspecified() {
			// A rebinding attack needs a name; an address in the Host header
			// is always the one that was dialled.
			g.anyIP = true
			continue
		}
		g.hosts = append(g.hosts, strings.ToLower(host))
	}
	return g
}

// admits holds a Host header, or the authority of an Origin, against the names.
func (g *gate) admits(authority string, more []string) bool {
	if g.unix {
		return true
	}
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		// Without a port it is the scheme's own.
		host = strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
		if g.port != "80" && g.port != "443" {
			return false
		}
	} else if port != g.port {
		return false
	}
	host = strings.ToLower(host)
	if slices.Contains(g.hosts, host) {
		return true
	}
	if g.anyIP {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
			return true
		}
	}
	return slices.ContainsFunc(more, func(name string) bool { return strings.EqualFold(name, host) })
}

// pass is the gate's verdict over one request; nil lets it in.
func (g *gate) pass(c *Config, r *http.Request, open bool) error {
	if g == nil || !g.admits(r.Host, c.Hosts) {
		return &problem{Status: http.StatusMisdirectedRequest, Code: "wrong_host",
			Detail: "the Host header does not name this listener; use the address it listens on"}
	}
	if g.foreign(c, r) {
		return &problem{Status: http.StatusForbidden, Code: "cross_origin",
			Detail: "a page of another origin may not call this API"}
	}
	if !plain(r) {
		return &problem{Status: http.StatusBadRequest, Code: "invalid_path",
			Detail: "the path must be written plainly: no escapes, empty or dot segments"}
	}
	if !open && c.Token != nil && !authorized(c, r) {
		challenge := `Bearer realm="holdfast"`
		if len(r.Header.Values("Authorization")) > 0 {
			challenge += `, error="invalid_token"` // RFC 6750, 3
		}
		return &problem{Status: http.StatusUnauthorized, Code: "unauthorized",
			Detail: "send the admin token as Authorization: Bearer",
			header: http.Header{"Www-Authenticate": {challenge}}}
	}
	return nil
}

// foreign tells whether a browser says that another site's page asks. Only
// browsers send these fields, and no page can forge them.
func (g *gate) foreign(c *Config, r *http.Request) bool {
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		if err != nil || u.Scheme != scheme || g.unix || !g.admits(u.Host, c.Hosts) {
			return true
		}
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		switch site {
		case "same-origin", "none":
		case "same-site": // another port of this host: it may look, as from its address bar
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// plain takes a path only in the one spelling that the routes are written in,
// so that nobody in between can read it differently (security.md AD04).
func plain(r *http.Request) bool {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if path == "" || path[0] != '/' || path != r.URL.Path {
		return false
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		if ('a' > c || c > 'z') && ('A' > c || c > 'Z') && ('0' > c || c > '9') && !strings.ContainsRune("/-_.:~", rune(c)) {
			return false
		}
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "." || segment == ".." || segment == "" && path != "/" {
			return false
		}
	}
	return true
}

// authorized compares digests, so that neither content nor length of the token
// shows in the time it takes.
func authorized(c *Config, r *http.Request) bool {
	if c.Token == nil {
		return true
	}
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	want, got := sha256.Sum256(c.Token), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// localOnly tells whether an address can be reached from this machine only.
func localOnly(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}
